//! What the kernels that are not convolutions share: blocks of channels, element-wise maps, and the split over
//! images.

use crate::simd::LANES;
use crate::{Grad, Isa, Kernel, Mode, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// Elements up to which a call stays on one thread: waking another costs microseconds.
pub(crate) const SERIAL: usize = 16 * 1024;

/// Reads `N` vectors; a slice shorter than a vector (only with `N` = 1) is filled up with zeros.
#[inline(always)]
pub(crate) fn load<S: Simd, const N: usize>(s: S, x: &[f32]) -> [S::V; N] {
    let mut v = [s.zero(); N];
    if N == 1 && x.len() < LANES {
        v[0] = s.load_tail(x);
    } else {
        let (chunks, _) = x.as_chunks::<LANES>();
        let chunks = &chunks[..N];
        for i in 0..N {
            v[i] = s.load(&chunks[i]);
        }
    }
    v
}

/// Writes what [`load`] reads.
#[inline(always)]
pub(crate) fn store<S: Simd, const N: usize>(s: S, v: [S::V; N], y: &mut [f32]) {
    if N == 1 && y.len() < LANES {
        s.store_tail(v[0], y);
    } else {
        let (chunks, _) = y.as_chunks_mut::<LANES>();
        let chunks = &mut chunks[..N];
        for i in 0..N {
            s.store(v[i], &mut chunks[i]);
        }
    }
}

/// Overwrites or adds, as `mode` says.
#[inline(always)]
pub(crate) fn put<S: Simd, const N: usize>(s: S, mut v: [S::V; N], y: &mut [f32], mode: Mode) {
    if mode == Mode::Add {
        let old = load::<S, N>(s, y);
        for i in 0..N {
            v[i] = s.add(old[i], v[i]);
        }
    }
    store(s, v, y);
}

/// Cuts `c` channels into blocks of `wide` vectors, then single vectors, then a tail: kernels are written for
/// `N` vectors held in registers, and run with `N = wide` or `N = 1`.
#[inline(always)]
pub(crate) fn blocks(c: usize, wide: usize) -> Blocks {
    Blocks { at: 0, c, wide: wide * LANES }
}

/// See [`blocks`].
pub(crate) struct Blocks {
    at: usize,
    c: usize,
    wide: usize,
}

impl Iterator for Blocks {
    type Item = Range<usize>;
    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        let (at, left) = (self.at, self.c - self.at);
        if left == 0 {
            return None;
        }
        let width = if left >= self.wide { self.wide } else { left.min(LANES) };
        self.at += width;
        Some(at..at + width)
    }
}

/// Calls `$f::<S, $wide>` or `$f::<S, 1>` for a block of [`blocks`]`(_, $wide)`.
macro_rules! on_block {
    ($block:expr, $wide:tt, $f:ident($($arg:expr),* $(,)?)) => {
        if $block.len() == $wide * $crate::simd::LANES {
            $f::<S, $wide>($($arg),*)
        } else {
            $f::<S, 1>($($arg),*)
        }
    };
}
pub(crate) use on_block;

/// Calls `f` with the index and the share of `out` of each image (`image` elements of it), on several threads
/// if the whole job of `work` elements is worth it.
pub(crate) fn each_image<T: Send>(
    image: usize,
    work: usize,
    out: &mut [T],
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if work <= SERIAL {
        out.chunks_mut(image).enumerate().for_each(|(i, out)| f(i, out));
    } else {
        out.par_chunks_mut(image).enumerate().for_each(|(i, out)| f(i, out));
    }
}

/// A function of `I` vectors, applied element by element by [`map`].
pub(crate) trait Map<const I: usize>: Copy + Sync {
    /// The function.
    fn map<S: Simd>(self, s: S, x: [S::V; I]) -> S::V;
}

/// to[i] = or += f(inputs[0][i], inputs[1][i], ..).
pub(crate) fn map<const I: usize, M: Map<I>>(isa: Isa, f: M, inputs: [&[f32]; I], to: Grad<'_, f32>) {
    for (k, x) in inputs.iter().enumerate() {
        assert_eq!(x.len(), to.to.len(), "input {k} and the output differ in length");
    }
    let mode = to.mode;
    each_image(SERIAL, to.to.len(), to.to, |i, to| {
        let range = i * SERIAL..i * SERIAL + to.len();
        isa.run(MapChunk { f, inputs: inputs.map(|x| &x[range.clone()]), to, mode });
    });
}

struct MapChunk<'a, const I: usize, M> {
    f: M,
    inputs: [&'a [f32]; I],
    to: &'a mut [f32],
    mode: Mode,
}

impl<const I: usize, M: Map<I>> Kernel for MapChunk<'_, I, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { f, inputs, to, mode } = self;
        let whole = to.len() / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            map_vector(s, f, &inputs, to, at..at + LANES, mode);
        }
        if whole < to.len() {
            let end = to.len();
            map_vector(s, f, &inputs, to, whole..end, mode);
        }
    }
}

#[inline(always)]
fn map_vector<S: Simd, const I: usize, M: Map<I>>(
    s: S,
    f: M,
    inputs: &[&[f32]; I],
    to: &mut [f32],
    range: Range<usize>,
    mode: Mode,
) {
    let mut x = [s.zero(); I];
    for i in 0..I {
        [x[i]] = load::<S, 1>(s, &inputs[i][range.clone()]);
    }
    put::<S, 1>(s, [f.map(s, x)], &mut to[range], mode);
}
