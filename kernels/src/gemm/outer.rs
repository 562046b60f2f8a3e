//! Transposed products for weight gradients: dw[ci, co] += sum over pixels of x[pixel, ci] * dy[pixel, co].

use super::tile::{Acc, store_row, zeros};
use super::{MR, NR};
use crate::{Mode, Simd};

/// One loop of a [`Walk`]: how often, and how far x and dy move.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) count: usize,
    pub(crate) x: usize,
    pub(crate) dy: usize,
}

/// The pairs of pixels that a weight gradient sums over: three nested loops from a start.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    /// First pixel in x and in dy.
    pub(crate) at: (usize, usize),
    pub(crate) images: Step,
    pub(crate) rows: Step,
    pub(crate) pixels: Step,
}

impl Walk {
    /// A plain run of pixels.
    #[inline(always)]
    pub(crate) fn run(count: usize, x: usize, dy: usize) -> Self {
        let once = Step { count: 1, x: 0, dy: 0 };
        Self { at: (0, 0), images: once, rows: once, pixels: Step { count, x, dy } }
    }
}

/// How many of `rest` input channels the next tile takes: six, but four where that avoids a last tile of two
/// rows, which could not fill the FMA pipeline (32 = 6 + 6 + 6 + 6 + 4 + 4).
#[inline(always)]
pub(crate) fn tile_rows(rest: usize) -> usize {
    match rest {
        8 => 4,
        MR.. => MR,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// The part of the product that a tile computes: channels from `ci` of x and columns from `co` of dy.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) ci: usize,
    pub(crate) co: usize,
    pub(crate) columns: usize,
}

/// acc + x[pixel, ci..ci + M] * dy[pixel, co..co + 16] over a run of pixels.
#[inline(always)]
fn run<S: Simd, const M: usize>(
    s: S,
    mut acc: Acc<S, M>,
    x: &[f32],
    dy: &[f32],
    pixels: Step,
    part: Part,
) -> Acc<S, M> {
    // Chunks of equal length: the checks of `ci` and `co` against them leave the loop.
    let x = x[..pixels.count * pixels.x].chunks_exact(pixels.x);
    let dy = dy[..pixels.count * pixels.dy].chunks_exact(pixels.dy);
    for (x, dy) in x.zip(dy) {
        let a = x[part.ci..].first_chunk::<M>().expect("channels of x");
        let b = dy[part.co..].first_chunk::<NR>().expect("channels of dy");
        let [b0, b1] = b.as_chunks::<8>().0 else { unreachable!() };
        let (b0, b1) = (s.load(b0), s.load(b1));
        for r in 0..M {
            let a = s.splat(a[r]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
    }
    acc
}

/// [`run`] where fewer than 16 columns are left, or where the last pixel of x is not followed by a whole step.
#[inline(always)]
fn run_tail<S: Simd, const M: usize>(
    s: S,
    mut acc: Acc<S, M>,
    x: &[f32],
    dy: &[f32],
    pixels: Step,
    part: Part,
) -> Acc<S, M> {
    for p in 0..pixels.count {
        let (mut a, mut b) = ([0.0; M], [0.0; NR]);
        a.copy_from_slice(&x[p * pixels.x + part.ci..][..M]);
        b[..part.columns].copy_from_slice(&dy[p * pixels.dy + part.co..][..part.columns]);
        acc = run(s, acc, &a, &b, Step { count: 1, x: M, dy: NR }, Part { ci: 0, co: 0, columns: NR });
    }
    acc
}

/// dw[0..M, 0..columns] += x^T * dy over a walk; rows of dw are `stride` apart.
#[inline(always)]
fn tile_of<S: Simd, const M: usize>(
    s: S,
    walk: &Walk,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    stride: usize,
    part: Part,
) {
    let mut acc = zeros::<S, M>(s);
    for i in 0..walk.images.count {
        for r in 0..walk.rows.count {
            let x = &x[walk.at.0 + i * walk.images.x + r * walk.rows.x..];
            let dy = &dy[walk.at.1 + i * walk.images.dy + r * walk.rows.dy..];
            if part.columns == NR && x.len() >= walk.pixels.count * walk.pixels.x {
                acc = run(s, acc, x, dy, walk.pixels, part);
            } else {
                acc = run_tail(s, acc, x, dy, walk.pixels, part);
            }
        }
    }
    for r in 0..M {
        store_row(s, acc[r], &mut dw[r * stride..][..part.columns], Mode::Add);
    }
}

/// [`tile_of`] for `rows` input channels, a number that [`tile_rows`] gave.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(crate) fn tile<S: Simd>(
    s: S,
    rows: usize,
    walk: &Walk,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    stride: usize,
    part: Part,
) {
    match rows {
        6 => tile_of::<S, 6>(s, walk, x, dy, dw, stride, part),
        4 => tile_of::<S, 4>(s, walk, x, dy, dw, stride, part),
        2 => tile_of::<S, 2>(s, walk, x, dy, dw, stride, part),
        _ => tile_of::<S, 1>(s, walk, x, dy, dw, stride, part),
    }
}

/// dw += x^T * dy over a walk for input channels `first..first + dw.len() / cout` and all `cout` output
/// channels.
#[inline(always)]
pub(crate) fn product<S: Simd>(
    s: S,
    walk: &Walk,
    x: &[f32],
    first: usize,
    dy: &[f32],
    dw: &mut [f32],
    cout: usize,
) {
    let cin = dw.len() / cout;
    let mut co = 0;
    while co < cout {
        let columns = NR.min(cout - co);
        let mut ci = 0;
        while ci < cin {
            let rows = tile_rows(cin - ci);
            let dw = &mut dw[ci * cout + co..];
            tile(s, rows, walk, x, dy, dw, cout, Part { ci: first + ci, co, columns });
            ci += rows;
        }
        co += NR;
    }
}
