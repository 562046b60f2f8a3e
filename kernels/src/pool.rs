//! Pooling over space: 3x3 maximum with stride 2 and padding 1, global average, global maximum.

use crate::lanes::{SERIAL, blocks, each_image, load, on_block, put, store};
use crate::window::{Window, taken, window_bytes};
use crate::{Grad, Isa, Kernel, Mode, Shape, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// `shape` is x's throughout.
pub trait PoolKernels: Sized {
    /// `y[n,i,j,c]` = max over the window of `x[n, 2i-1..=2i+1, 2j-1..=2j+1, c]` inside the map. `index` gets the
    /// position 0..9 in the window of the first maximum in row-major order, one byte an output.
    fn max_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self], index: &mut [u8]);
    /// Adds each dy to the x it came from.
    fn max_pool_backward(isa: Isa, shape: Shape, index: &[u8], dy: &[Self], dx: Grad<'_, Self>);
    /// `y[n,c]` = mean over h, w.
    fn global_avg_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]);
    /// dx = dy / (h w).
    fn global_avg_backward(isa: Isa, shape: Shape, dy: &[Self], dx: Grad<'_, Self>);
    /// `y[n,c]` = max over h, w.
    fn global_max_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]);
    /// dy goes to the first pixel in row-major order that equals the maximum `y`.
    fn global_max_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>);
}

impl PoolKernels for f32 {
    fn max_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self], index: &mut [u8]) {
        let (out, from, to) = (shape.halved(), shape.image_len(), shape.halved().image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(y.len(), out.len(), "y is not {out}");
        assert_eq!(index.len(), out.len(), "index is not {out}");
        let image = |(n, (y, index)): (usize, (&mut [f32], &mut [u8]))| {
            isa.run(MaxPool { shape, x: &x[n * from..][..from], y, index });
        };
        if shape.len() <= SERIAL {
            y.chunks_mut(to).zip(index.chunks_mut(to)).enumerate().for_each(image);
        } else {
            y.par_chunks_mut(to).zip(index.par_chunks_mut(to)).enumerate().for_each(image);
        }
    }

    fn max_pool_backward(isa: Isa, shape: Shape, index: &[u8], dy: &[Self], dx: Grad<'_, Self>) {
        let (out, from, to) = (shape.halved(), shape.halved().image_len(), shape.image_len());
        assert_eq!(index.len(), out.len(), "index is not {out}");
        assert_eq!(dy.len(), out.len(), "dy is not {out}");
        assert_eq!(dx.to.len(), shape.len(), "dx is not {shape}");
        let mode = dx.mode;
        each_image(to, shape.len(), dx.to, |n, dx| {
            let at = n * from..(n + 1) * from;
            isa.run(MaxPoolBackward { shape, index: &index[at.clone()], dy: &dy[at], dx, mode });
        });
    }

    fn global_avg_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        global_forward(isa, shape, x, y, Global::Average);
    }

    fn global_avg_backward(isa: Isa, shape: Shape, dy: &[Self], dx: Grad<'_, Self>) {
        let (c, mode) = (shape.c, dx.mode);
        assert_eq!(dy.len(), shape.n * c, "dy is not [{}, {c}]", shape.n);
        assert_eq!(dx.to.len(), shape.len(), "dx is not {shape}");
        each_image(shape.image_len(), shape.len(), dx.to, |n, dx| {
            isa.run(GlobalAvgBackward { c, dy: &dy[n * c..][..c], dx, mode });
        });
    }

    fn global_max_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        global_forward(isa, shape, x, y, Global::Maximum);
    }

    fn global_max_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        let (c, image, mode) = (shape.c, shape.image_len(), dx.mode);
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(y.len(), shape.n * c, "y is not [{}, {c}]", shape.n);
        assert_eq!(dy.len(), shape.n * c, "dy is not [{}, {c}]", shape.n);
        assert_eq!(dx.to.len(), shape.len(), "dx is not {shape}");
        each_image(image, shape.len(), dx.to, |n, dx| {
            let (x, row) = (&x[n * image..][..image], n * c..(n + 1) * c);
            isa.run(GlobalMaxBackward { c, x, y: &y[row.clone()], dy: &dy[row], dx, mode });
        });
    }
}

struct MaxPool<'a> {
    shape: Shape,
    x: &'a [f32],
    y: &'a mut [f32],
    index: &'a mut [u8],
}

impl Kernel for MaxPool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, x, y, index } = self;
        let (out, c) = (shape.halved(), shape.c);
        let mut outputs = y.chunks_exact_mut(c).zip(index.chunks_exact_mut(c));
        for i in 0..out.h {
            for (j, (y, index)) in (0..out.w).zip(outputs.by_ref()) {
                for block in blocks(c, 4) {
                    let (y, index) = (&mut y[block.clone()], &mut index[block.clone()]);
                    let window = Window { shape, i, j };
                    on_block!(block, 4, max_pool_block(s, window, x, block, y, index));
                }
            }
        }
    }
}

#[inline(always)]
fn max_pool_block<S: Simd, const N: usize>(
    s: S,
    window: Window,
    x: &[f32],
    block: Range<usize>,
    y: &mut [f32],
    index: &mut [u8],
) {
    let best = window.maximum::<S, N>(s, x, &block, |x| x, index);
    store(s, best, y);
}

struct MaxPoolBackward<'a> {
    shape: Shape,
    index: &'a [u8],
    dy: &'a [f32],
    dx: &'a mut [f32],
    mode: Mode,
}

impl Kernel for MaxPoolBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, index, dy, dx, mode } = self;
        let (out, c) = (shape.halved(), shape.c);
        // The image stays in L2 between this and the additions.
        if mode == Mode::Set {
            dx.fill(0.0);
        }
        let mut outputs = dy.chunks_exact(c).zip(index.chunks_exact(c));
        for i in 0..out.h {
            for (j, (dy, index)) in (0..out.w).zip(outputs.by_ref()) {
                for block in blocks(c, 4) {
                    let (dy, index) = (&dy[block.clone()], &index[block.clone()]);
                    let window = Window { shape, i, j };
                    on_block!(block, 4, max_pool_backward_block(s, window, block, dy, index, dx));
                }
            }
        }
    }
}

/// Adds to every pixel of the window the lanes of dy whose index names it: no branch and no scatter.
#[inline(always)]
fn max_pool_backward_block<S: Simd, const N: usize>(
    s: S,
    window: Window,
    block: Range<usize>,
    dy: &[f32],
    index: &[u8],
    dx: &mut [f32],
) {
    let at = window_bytes::<S, N>(s, index);
    let mut left = load::<S, N>(s, dy);
    window.each(|tap, pixel| {
        let taken = taken(s, tap, &at, &mut left);
        put(s, taken, &mut dx[pixel * window.shape.c..][block.clone()], Mode::Add);
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Global {
    Average,
    Maximum,
}

fn global_forward(isa: Isa, shape: Shape, x: &[f32], y: &mut [f32], what: Global) {
    let (c, image) = (shape.c, shape.image_len());
    assert_eq!(x.len(), shape.len(), "x is not {shape}");
    assert_eq!(y.len(), shape.n * c, "y is not [{}, {c}]", shape.n);
    each_image(c, shape.len(), y, |n, y| isa.run(GlobalPool { c, x: &x[n * image..][..image], y, what }));
}

struct GlobalPool<'a> {
    c: usize,
    x: &'a [f32],
    y: &'a mut [f32],
    what: Global,
}

impl Kernel for GlobalPool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, y, what } = self;
        for block in blocks(c, 4) {
            let y = &mut y[block.clone()];
            on_block!(block, 4, global_block(s, c, x, block, what, y));
        }
    }
}

#[inline(always)]
fn global_block<S: Simd, const N: usize>(
    s: S,
    c: usize,
    x: &[f32],
    block: Range<usize>,
    what: Global,
    y: &mut [f32],
) {
    let inverse = s.splat(c as f32 / x.len() as f32);
    let mut result = load::<S, N>(s, &x[block.clone()]);
    for pixel in x.chunks_exact(c).skip(1) {
        let x = load::<S, N>(s, &pixel[block.clone()]);
        for k in 0..N {
            result[k] = match what {
                Global::Average => s.add(result[k], x[k]),
                Global::Maximum => s.max(result[k], x[k]),
            };
        }
    }
    if what == Global::Average {
        for result in &mut result {
            *result = s.mul(*result, inverse);
        }
    }
    store(s, result, y);
}

struct GlobalAvgBackward<'a> {
    c: usize,
    dy: &'a [f32],
    dx: &'a mut [f32],
    mode: Mode,
}

impl Kernel for GlobalAvgBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, dy, dx, mode } = self;
        for block in blocks(c, 4) {
            on_block!(block, 4, global_avg_backward_block(s, c, dy, block, dx, mode));
        }
    }
}

#[inline(always)]
fn global_avg_backward_block<S: Simd, const N: usize>(
    s: S,
    c: usize,
    dy: &[f32],
    block: Range<usize>,
    dx: &mut [f32],
    mode: Mode,
) {
    let inverse = s.splat(c as f32 / dx.len() as f32);
    let mut share = load::<S, N>(s, &dy[block.clone()]);
    for share in &mut share {
        *share = s.mul(*share, inverse);
    }
    for pixel in dx.chunks_exact_mut(c) {
        put(s, share, &mut pixel[block.clone()], mode);
    }
}

struct GlobalMaxBackward<'a> {
    c: usize,
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    mode: Mode,
}

impl Kernel for GlobalMaxBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, y, dy, dx, mode } = self;
        for block in blocks(c, 4) {
            let (y, dy) = (&y[block.clone()], &dy[block.clone()]);
            on_block!(block, 4, global_max_backward_block(s, c, x, block, (y, dy), dx, mode));
        }
    }
}

#[inline(always)]
fn global_max_backward_block<S: Simd, const N: usize>(
    s: S,
    c: usize,
    x: &[f32],
    block: Range<usize>,
    (y, dy): (&[f32], &[f32]),
    dx: &mut [f32],
    mode: Mode,
) {
    let y = load::<S, N>(s, y);
    // What no pixel has taken yet.
    let mut left = load::<S, N>(s, dy);
    for (x, dx) in x.chunks_exact(c).zip(dx.chunks_exact_mut(c)) {
        let x = load::<S, N>(s, &x[block.clone()]);
        let mut taken = [s.zero(); N];
        for k in 0..N {
            taken[k] = s.select_gt(y[k], x[k], s.zero(), left[k]);
            left[k] = s.select_gt(y[k], x[k], left[k], s.zero());
        }
        put(s, taken, &mut dx[block.clone()], mode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_maxima_wins() {
        // One channel, 3x3, all equal: each window's first position inside the map, by hand.
        let shape = Shape::new(1, 3, 3, 1);
        for isa in Isa::available() {
            let (mut y, mut index) = ([f32::NAN; 4], [99; 4]);
            f32::max_pool_forward(isa, shape, &[2.0; 9], &mut y, &mut index);
            assert_eq!((y, index), ([2.0; 4], [4, 3, 1, 0]));
            let mut dx = [f32::NAN; 9];
            f32::max_pool_backward(isa, shape, &index, &[1.0, 10.0, 100.0, 1000.0], Grad::set(&mut dx));
            // Windows start at pixels (0,0), (0,1), (1,0) and (1,1).
            assert_eq!(dx, [1.0, 10.0, 0.0, 100.0, 1000.0, 0.0, 0.0, 0.0, 0.0]);

            let (mut y, mut dx) = ([f32::NAN], [f32::NAN; 9]);
            let x = [1.0, 3.0, 2.0, 3.0, 0.0, 3.0, 1.0, 1.0, 1.0];
            f32::global_max_forward(isa, shape, &x, &mut y);
            f32::global_max_backward(isa, shape, &x, &y, &[5.0], Grad::set(&mut dx));
            assert_eq!((y, dx), ([3.0], [0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
        }
    }

    #[test]
    fn negative_maxima_survive_the_border() {
        let shape = Shape::new(1, 1, 1, 9);
        for isa in Isa::available() {
            let (mut y, mut index) = ([f32::NAN; 9], [99; 9]);
            f32::max_pool_forward(isa, shape, &[-3.0; 9], &mut y, &mut index);
            assert_eq!((y, index), ([-3.0; 9], [4; 9]));
        }
    }
}
