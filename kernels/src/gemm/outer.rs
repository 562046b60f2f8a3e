//! Transposed products for weight gradients: dw[ci, co] += sum over pixels of x[pixel, ci] * dy[pixel, co].

use super::{MR, NR, tile::Acc, tile::zeros};
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

/// How many of `rest` input channels the next tile takes: six, but four where that avoids a last tile of one
/// or two rows, which could not fill the FMA pipeline (32 = 6 + 6 + 6 + 6 + 4 + 4).
#[inline(always)]
pub(crate) fn tile_rows(rest: usize) -> usize {
    match rest {
        7 | 8 => 4,
        9 => 5,
        _ => rest.min(MR),
    }
}

/// acc += x[pixel, 0..M] * dy[pixel, 0..16] over a run of pixels.
#[inline(always)]
fn run<S: Simd, const M: usize>(s: S, acc: &mut Acc<S, M>, x: &[f32], dy: &[f32], pixels: Step) {
    for p in 0..pixels.count {
        let a = x[p * pixels.x..].first_chunk::<M>().expect("x run");
        let b = dy[p * pixels.dy..].first_chunk::<NR>().expect("dy run");
        let [b0, b1] = b.as_chunks::<8>().0 else { unreachable!() };
        let (b0, b1) = (s.load(b0), s.load(b1));
        for r in 0..M {
            let a = s.splat(a[r]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
    }
}

/// [`run`] with fewer than 16 columns in dy.
#[inline(always)]
fn run_tail<S: Simd, const M: usize>(
    s: S,
    acc: &mut Acc<S, M>,
    x: &[f32],
    dy: &[f32],
    pixels: Step,
    columns: usize,
) {
    for p in 0..pixels.count {
        let mut b = [0.0; NR];
        b[..columns].copy_from_slice(&dy[p * pixels.dy..][..columns]);
        run(s, acc, &x[p * pixels.x..], &b, Step { count: 1, ..pixels });
    }
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
    columns: usize,
) {
    let mut acc = zeros::<S, M>(s);
    for i in 0..walk.images.count {
        for r in 0..walk.rows.count {
            let x = &x[walk.at.0 + i * walk.images.x + r * walk.rows.x..];
            let dy = &dy[walk.at.1 + i * walk.images.dy + r * walk.rows.dy..];
            if columns == NR {
                run(s, &mut acc, x, dy, walk.pixels);
            } else {
                run_tail(s, &mut acc, x, dy, walk.pixels, columns);
            }
        }
    }
    for r in 0..M {
        super::tile::store_row(s, acc[r], &mut dw[r * stride..][..columns], Mode::Add);
    }
}

/// [`tile_of`] for `rows` input channels.
#[inline(always)]
pub(crate) fn tile<S: Simd>(
    s: S,
    rows: usize,
    walk: &Walk,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    stride: usize,
    columns: usize,
) {
    match rows {
        6 => tile_of::<S, 6>(s, walk, x, dy, dw, stride, columns),
        5 => tile_of::<S, 5>(s, walk, x, dy, dw, stride, columns),
        4 => tile_of::<S, 4>(s, walk, x, dy, dw, stride, columns),
        3 => tile_of::<S, 3>(s, walk, x, dy, dw, stride, columns),
        2 => tile_of::<S, 2>(s, walk, x, dy, dw, stride, columns),
        1 => tile_of::<S, 1>(s, walk, x, dy, dw, stride, columns),
        _ => {}
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
            tile(s, rows, walk, &x[first + ci..], &dy[co..], dw, cout, columns);
            ci += rows;
        }
        co += NR;
    }
}
