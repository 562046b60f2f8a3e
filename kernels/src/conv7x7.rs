//! 7x7 convolution from two channels to one, stride 1, padding 3: CBAM's spatial attention (CBAM, eq. 3).
//! Oracle: `oracle/conv7x7.rs`.
//!
//! The maps are small, 3x3 to 48x48, so nearly every pixel may be near a border. A tile with its border of
//! three, zero beyond the map, is copied to the stack first; after that no tap needs a test. A vector is four
//! pixels of two channels.

use crate::gemm::{for_chunks, grad_buffer};
use crate::reduce::{PAIR, combine, pair, pairs};
use crate::{ConvBackward, Isa, Kernel, Mode, Shape, Simd};
use std::ops::Range;

/// `y[n,h,w]` = sum over taps (i, j) and c in 0..2 of `x[n, h+i-3, w+j-3, c]` * `w[i, j, c]`. `x` is
/// `[n, h, w, 2]`, weights `[7, 7, 2]`, y `[n, h, w, 1]`. `shape` is x's.
pub trait Conv7x7Kernels: Sized {
    /// Scratch elements that [`Self::conv7x7_backward`] wants.
    fn conv7x7_backward_scratch(shape: Shape) -> usize;
    /// Overwrites `y`.
    fn conv7x7_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]);
    /// Gradients of x and w.
    fn conv7x7_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>);
}

impl Conv7x7Kernels for f32 {
    fn conv7x7_backward_scratch(shape: Shape) -> usize {
        pairs(shape.n) * WEIGHTS
    }

    fn conv7x7_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]) {
        assert_eq!(shape.c, 2, "channels of {shape}");
        assert_eq!(x.len(), shape.len(), "x of {shape}");
        assert_eq!(w.len(), WEIGHTS, "w of {shape}");
        assert_eq!(y.len(), shape.pixels(), "y of {shape}");
        let buffers = [(y, PAIR * shape.h * shape.w)];
        for_chunks(0..pairs(shape.n), parallel(shape), buffers, &|part, [y]| {
            let images = pair(shape.n, part);
            let x = &x[images.start * shape.image_len()..images.end * shape.image_len()];
            isa.run(Forward { shape, x, w, y });
        });
    }

    fn conv7x7_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, scratch } = args;
        assert_eq!(shape.c, 2, "channels of {shape}");
        assert_eq!(x.len(), shape.len(), "x of {shape}");
        assert_eq!(w.len(), WEIGHTS, "w of {shape}");
        assert_eq!(dy.len(), shape.pixels(), "dy of {shape}");
        assert_eq!(dw.to.len(), WEIGHTS, "dw of {shape}");
        let sums = pairs(shape.n) * WEIGHTS;
        assert!(scratch.len() >= sums, "scratch of {shape}: {} < {sums}", scratch.len());
        assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == shape.len()), "dx of {shape}");
        let sums = &mut scratch[..sums];
        let image = shape.image_len();
        let (dx, dx_mode) = grad_buffer(dx, PAIR * image);
        for_chunks(0..pairs(shape.n), parallel(shape), [dx, (&mut *sums, WEIGHTS)], &|part, [dx, dw]| {
            let images = pair(shape.n, part);
            let x = &x[images.start * image..images.end * image];
            let dy = &dy[images.start * image / 2..images.end * image / 2];
            isa.run(Backward { shape, x, w, dy, dx: dx_mode.map(|mode| (dx, mode)), dw });
        });
        combine(isa, sums, PAIR, dw.to, dw.mode);
    }
}

const WEIGHTS: usize = 98;

/// Whether there are enough pixels for several threads: about 98 multiply-adds a pixel, 5 ns.
const fn parallel(shape: Shape) -> bool {
    shape.pixels() >= 4096
}

/// Whole images.
struct Forward<'a> {
    shape: Shape,
    x: &'a [f32],
    w: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: Shape { h, w, .. }, x, w: weights, y } = self;
        let taps = taps(s, weights, false);
        let mut tile = Tile::new();
        for (x, y) in x.chunks_exact(2 * h * w).zip(y.chunks_exact_mut(h * w)) {
            for (row, col) in tiles(h, w) {
                tile.fill(h, w, row, col, |to, at| to.copy_from_slice(&x[2 * at.start..2 * at.end]));
                tile.each(s, h - row, w - col, &taps, |s, i, j, count, sum| {
                    let a = s.to_array(sum);
                    let pixels = [a[0] + a[1], a[2] + a[3], a[4] + a[5], a[6] + a[7]];
                    y[(row + i) * w + col + j..][..count].copy_from_slice(&pixels[..count]);
                });
            }
        }
    }
}

/// Whole images; `dw` is overwritten.
struct Backward<'a> {
    shape: Shape,
    x: &'a [f32],
    w: &'a [f32],
    dy: &'a [f32],
    dx: Option<(&'a mut [f32], Mode)>,
    dw: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape: Shape { h, w, .. }, x, w: weights, dy, dx, dw } = self;
        let mut tile = Tile::new();
        if let Some((dx, mode)) = dx {
            // dx[c] is the convolution of dy with the weights of c, turned round: both channels at once on dy
            // doubled.
            let taps = taps(s, weights, true);
            for (dy, dx) in dy.chunks_exact(h * w).zip(dx.chunks_exact_mut(2 * h * w)) {
                for (row, col) in tiles(h, w) {
                    tile.fill(h, w, row, col, |to, at| {
                        for (to, d) in to.chunks_exact_mut(2).zip(&dy[at]) {
                            to.fill(*d);
                        }
                    });
                    tile.each(s, h - row, w - col, &taps, |s, i, j, count, sum| {
                        let dx = &mut dx[2 * ((row + i) * w + col + j)..][..2 * count];
                        let a = s.to_array(sum);
                        match mode {
                            Mode::Set => dx.copy_from_slice(&a[..2 * count]),
                            Mode::Add => dx.iter_mut().zip(a).for_each(|(dx, a)| *dx += a),
                        }
                    });
                }
            }
        }
        // Row i of the window of a pixel is 14 floats: eight, and the last eight, of which two are counted twice.
        let mut sums = [[s.zero(); 2]; 7];
        for (x, dy) in x.chunks_exact(2 * h * w).zip(dy.chunks_exact(h * w)) {
            for (row, col) in tiles(h, w) {
                tile.fill(h, w, row, col, |to, at| to.copy_from_slice(&x[2 * at.start..2 * at.end]));
                for i in 0..(h - row).min(HEIGHT) {
                    let dy = &dy[(row + i) * w + col..][..(w - col).min(WIDTH)];
                    for (j, d) in dy.iter().enumerate() {
                        let window: &[f32; 6 * STRIDE + 14] = tile.window(i, j);
                        let d = s.splat(*d);
                        for (k, sums) in sums.iter_mut().enumerate() {
                            let x = &window[k * STRIDE..][..14];
                            sums[0] = s.mul_add(s.load(x[..8].first_chunk().expect("8 of 14")), d, sums[0]);
                            sums[1] = s.mul_add(s.load(x[6..].first_chunk().expect("8 of 14")), d, sums[1]);
                        }
                    }
                }
            }
        }
        for (dw, sums) in dw.chunks_exact_mut(14).zip(sums) {
            dw[..8].copy_from_slice(&s.to_array(sums[0]));
            dw[8..].copy_from_slice(&s.to_array(sums[1])[2..]);
        }
    }
}

/// Each tap's pair of weights four times over.
#[inline(always)]
fn taps<S: Simd>(s: S, w: &[f32], turned: bool) -> [S::V; 49] {
    let mut taps = [s.zero(); 49];
    for (t, tap) in taps.iter_mut().enumerate() {
        let t = if turned { 48 - t } else { t };
        let (a, b) = (w[2 * t], w[2 * t + 1]);
        *tap = s.load(&[a, b, a, b, a, b, a, b]);
    }
    taps
}

/// Output rows and columns of a tile; 48 is the network's widest map.
const HEIGHT: usize = 8;
const WIDTH: usize = 48;
/// Floats of a row of a tile: pixels with three on both sides, two channels.
const STRIDE: usize = 2 * (WIDTH + 6);
/// Output rows and columns that are summed at once.
const BLOCK: usize = 4;

/// First rows and columns of the tiles of a map.
fn tiles(h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..h).step_by(HEIGHT).flat_map(move |row| (0..w).step_by(WIDTH).map(move |col| (row, col)))
}

/// A part of a map with three pixels around it, `[HEIGHT + 6, WIDTH + 6, 2]`, zero beyond the map: 6 KB.
struct Tile([f32; (HEIGHT + 6) * STRIDE]);

impl Tile {
    #[inline(always)]
    fn new() -> Self {
        Self([0.0; (HEIGHT + 6) * STRIDE])
    }

    /// The tile whose first output is at (`row`, `col`) of an h x w map, as far as its outputs inside the map
    /// (in whole blocks) can see. `copy` gets each run of floats inside the map with the pixels that it stands for.
    #[inline(always)]
    fn fill(
        &mut self,
        h: usize,
        w: usize,
        row: usize,
        col: usize,
        mut copy: impl FnMut(&mut [f32], Range<usize>),
    ) {
        let rows = (h - row).min(HEIGHT).next_multiple_of(BLOCK) + 6;
        let seen = 2 * ((w - col).min(WIDTH).next_multiple_of(BLOCK) + 6);
        let cols = col.saturating_sub(3)..(col + WIDTH + 3).min(w);
        let (before, end) = (2 * (cols.start + 3 - col), 2 * (cols.end + 3 - col));
        for (i, to) in self.0.chunks_exact_mut(STRIDE).enumerate().take(rows) {
            let to = &mut to[..seen];
            if (3..h + 3).contains(&(row + i)) {
                let first = (row + i - 3) * w;
                to[..before].fill(0.0);
                copy(&mut to[before..end], first + cols.start..first + cols.end);
                to[end..].fill(0.0);
            } else {
                to.fill(0.0);
            }
        }
    }

    /// What the outputs from (`i`, `j`) on see.
    #[inline(always)]
    fn window<const LEN: usize>(&self, i: usize, j: usize) -> &[f32; LEN] {
        self.0[i * STRIDE + 2 * j..].first_chunk().expect("inside the tile")
    }

    /// Every four outputs of the tile: `put(s, row, column, how many are inside the map, the two channels' sums)`.
    #[inline(always)]
    fn each<S: Simd>(
        &self,
        s: S,
        rows: usize,
        cols: usize,
        taps: &[S::V; 49],
        mut put: impl FnMut(S, usize, usize, usize, S::V),
    ) {
        for i in (0..rows.min(HEIGHT)).step_by(BLOCK) {
            for j in (0..cols.min(WIDTH)).step_by(BLOCK) {
                let window: &[f32; 9 * STRIDE + 20] = self.window(i, j);
                // A weight is loaded once for four rows; even and odd columns apart make the eight chains of sums
                // that two units of latency four need.
                let mut sums = [[s.zero(); 2]; BLOCK];
                for (k, taps) in taps.chunks_exact(7).enumerate() {
                    for (t, tap) in taps.iter().enumerate() {
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let x =
                                window[(r + k) * STRIDE + 2 * t..].first_chunk().expect("inside the tile");
                            sums[t % 2] = s.mul_add(s.load(x), *tap, sums[t % 2]);
                        }
                    }
                }
                for (r, sums) in sums.into_iter().enumerate().take(rows - i) {
                    put(s, i + r, j, (cols - j).min(BLOCK), s.add(sums[0], sums[1]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grad;

    /// Smaller than the window, than a tile, and several tiles both ways.
    const SHAPES: [Shape; 4] = [
        Shape::new(2, 1, 1, 2),
        Shape::new(17, 3, 3, 2),
        Shape::new(1, 12, 12, 2),
        Shape::new(1, 19, 101, 2),
    ];

    #[test]
    fn one_tap_picks_one_channel_of_one_neighbour() {
        for isa in Isa::available() {
            for (shape, tap) in SHAPES.iter().flat_map(|&s| (0..WEIGHTS).map(move |t| (s, t))) {
                let x: Vec<f32> = (0..shape.len()).map(|i| (i + 1) as f32).collect();
                let mut w = vec![0.0; WEIGHTS];
                w[tap] = 1.0;
                let mut y = vec![f32::NAN; shape.pixels()];
                f32::conv7x7_forward(isa, shape, &x, &w, &mut y);
                for (p, &y) in y.iter().enumerate() {
                    let (row, col) = (p / shape.w % shape.h + tap / 14, p % shape.w + tap / 2 % 7);
                    let inside = (3..shape.h + 3).contains(&row) && (3..shape.w + 3).contains(&col);
                    let image = p / (shape.w * shape.h) * shape.image_len();
                    let want = inside.then(|| x[image + 2 * ((row - 3) * shape.w + col - 3) + tap % 2]);
                    assert_eq!(y, want.unwrap_or(0.0), "{shape} tap {tap} pixel {p} {isa:?}");
                }
            }
        }
    }

    /// With ones everywhere y counts the inputs inside the map, dx the outputs, and dw the pixels that have a
    /// neighbour at the tap.
    #[test]
    fn ones_count_neighbours() {
        for isa in Isa::available() {
            for shape in SHAPES {
                let (x, w, dy) = (vec![1.0; shape.len()], [1.0; WEIGHTS], vec![1.0; shape.pixels()]);
                let mut y = vec![f32::NAN; shape.pixels()];
                f32::conv7x7_forward(isa, shape, &x, &w, &mut y);
                let (mut dx, mut dw) = (vec![1000.0; shape.len()], [2000.0; WEIGHTS]);
                let mut scratch = vec![f32::NAN; f32::conv7x7_backward_scratch(shape)];
                let args = ConvBackward {
                    x: &x,
                    w: &w,
                    dy: &dy,
                    dx: Some(Grad::add(&mut dx)),
                    dw: Grad::add(&mut dw),
                    scratch: &mut scratch,
                };
                f32::conv7x7_backward(isa, shape, args);
                let along = |at: usize, size: usize| (at + 4).min(size) - at.saturating_sub(3);
                for (p, &y) in y.iter().enumerate() {
                    let count = along(p / shape.w % shape.h, shape.h) * along(p % shape.w, shape.w);
                    assert_eq!(y, 2.0 * count as f32, "y {shape} {p}");
                    assert_eq!(dx[2 * p..][..2], [1000.0 + count as f32; 2], "dx {shape} {p}");
                }
                for (t, dw) in dw.iter().enumerate() {
                    let with = |tap: usize, size: usize| size.saturating_sub(tap.abs_diff(3));
                    let count = shape.n * with(t / 14, shape.h) * with(t / 2 % 7, shape.w);
                    assert_eq!(*dw, 2000.0 + count as f32, "dw {shape} tap {t}");
                }
            }
        }
    }
}
