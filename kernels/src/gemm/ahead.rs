//! Memory that is read soon, fetched while products are computed.

use crate::Simd;

/// Elements of a cache line.
const LINE: usize = 16;

/// Up to three streams, of which every tile fetches its share of lines. All at once they would stop the core: it
/// waits when about twenty lines are on their way, and a tile takes as long as two or three lines from memory.
pub(crate) struct Ahead<'a>([(&'a [f32], usize); 3]);

impl<'a> Ahead<'a> {
    /// Spreads the lines of `streams` over `tiles` tiles.
    #[inline(always)]
    pub(crate) fn new(streams: [&'a [f32]; 3], tiles: usize) -> Self {
        Self(streams.map(|stream| (stream, stream.len().div_ceil(LINE).div_ceil(tiles.max(1)))))
    }

    /// Nothing to fetch.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self([(&[], 0); 3])
    }

    /// One tile's share.
    #[inline(always)]
    pub(crate) fn fetch<S: Simd>(&mut self, s: S) {
        for (rest, lines) in &mut self.0 {
            for _ in 0..*lines {
                let Some((line, tail)) = rest.split_first_chunk::<LINE>() else { break };
                s.prefetch(&line[0]);
                *rest = tail;
            }
        }
    }
}
