//! Blocks of rows: a kernel of several stages takes a few rows through all of them while they are in cache, and
//! has the next ones fetched meanwhile.

use crate::{Mode, Simd};
use std::ops::Range;

/// Blocks of `block` of the rows `rows` of a map of `h` rows, each with the rows of the input that a 3x3 window sees
/// for the first time in it.
pub(crate) fn row_blocks(
    rows: Range<usize>,
    h: usize,
    block: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let start = rows.start;
    let seen = move |end: usize| if end == start { start } else { h.min(end + 1) };
    rows.clone().step_by(block).map(move |first| {
        let block = first..rows.end.min(first + block);
        (block.clone(), seen(first)..seen(block.end))
    })
}

/// What the next block sees of a stream of rows of `len` elements, if it sees as many rows as `seen`; `stream` may go
/// on into the next image.
pub(crate) fn next_rows<'a>(stream: &'a [f32], len: usize, seen: &Range<usize>) -> &'a [f32] {
    let (at, end) = (seen.end * len, (seen.end + seen.len()) * len);
    &stream[at.min(stream.len())..end.min(stream.len())]
}

/// Takes the first `len` elements off a gradient that is wanted, and says which as many come behind them.
pub(crate) fn take_rows<'a, 'b>(
    dx: &'b mut Option<(&'a mut [f32], Mode)>,
    len: usize,
) -> (Option<(&'a mut [f32], Mode)>, &'b [f32]) {
    let Some((rest, mode)) = dx else { return (None, &[]) };
    let rows = rest.split_off_mut(..len).expect("rows of dx");
    (Some((rows, *mode)), &rest[..len.min(rest.len())])
}

/// Most streams that are fetched at a time.
pub(crate) const STREAMS: usize = 4;

/// Elements of a cache line.
const LINE: usize = 16;

/// Memory that is read soon: up to [`STREAMS`] streams, of which every tile (or other piece of work) fetches its share of
/// lines: a core has only so many requests to memory under way, and would wait for all of them at once.
pub(crate) struct Ahead<'a>([(&'a [f32], usize); STREAMS]);

impl<'a> Ahead<'a> {
    /// Spreads the lines of `streams` over `tiles` tiles.
    #[inline(always)]
    pub(crate) fn new(streams: [&'a [f32]; STREAMS], tiles: usize) -> Self {
        Self(streams.map(|stream| (stream, stream.len().div_ceil(LINE).div_ceil(tiles.max(1)))))
    }

    /// Nothing to fetch.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self([(&[], 0); STREAMS])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_blocks_see_every_row_once_and_in_time() {
        for h in 1..20 {
            for block in 1..=h {
                let (mut done, mut seen_to) = (0, 0);
                for (rows, seen) in row_blocks(0..h, h, block) {
                    assert_eq!((rows.start, seen.start), (done, seen_to), "{h} {block}");
                    (done, seen_to) = (rows.end, seen.end);
                    assert!(seen.end == h.min(rows.end + 1));
                }
                assert_eq!((done, seen_to), (h, h));
            }
        }
    }

    #[test]
    fn the_next_rows_end_with_the_stream() {
        let stream = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(next_rows(&stream, 2, &(0..1)), [2.0, 3.0]);
        assert_eq!(next_rows(&stream, 2, &(1..3)), [6.0]);
        assert_eq!(next_rows(&stream, 2, &(2..9)), []);
    }
}
