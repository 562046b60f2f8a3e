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

/// How many of `rest` input channels the next tile takes: six, or five where fives and sixes use all channels
/// up (32 = 4 * 5 + 2 * 6). Fewer rows than five cannot fill the FMA pipeline.
#[inline(always)]
pub(crate) fn tile_rows(rest: usize) -> usize {
    let fives = (MR - rest % MR) % MR;
    match rest {
        _ if fives > 0 && rest >= 5 * fives => 5,
        MR.. => MR,
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

/// dw[0..M, 0..columns] += x^T * dy over a walk; rows of dw are `stride` apart. With `TAIL`, fewer than 16
/// columns of dy are left.
///
/// One flat loop over all pixels, which steps to the next row or image in a branch that is seldom taken: the
/// accumulators of nested loops did not stay in registers (42 instead of 103 GFLOP/s at 32 -> 32, 48x48). Zipped
/// iterators over chunks divide to learn their length, which costs as much as a short row.
#[inline(always)]
fn tile_of<S: Simd, const M: usize, const TAIL: bool>(
    s: S,
    walk: &Walk,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    stride: usize,
    part: Part,
) {
    let Walk { at, images, rows, pixels } = *walk;
    if images.count * rows.count * pixels.count == 0 {
        return;
    }
    let start = |image: usize, row: usize| {
        let x_at = at.0 + image * images.x + row * rows.x + part.ci;
        let dy_at = at.1 + image * images.dy + row * rows.dy + part.co;
        (&x[x_at..], &dy[dy_at..])
    };
    let (mut image, mut row, mut pixel) = (0, 0, pixels.count);
    let (mut xs, mut dys) = start(0, 0);
    let mut acc: Acc<S, M> = zeros(s);
    loop {
        let a = xs.first_chunk::<M>().expect("channels of x");
        let (b0, b1);
        if TAIL {
            let mut b = [[0.0; 8]; 2];
            b.as_flattened_mut()[..part.columns].copy_from_slice(&dys[..part.columns]);
            (b0, b1) = (s.load(&b[0]), s.load(&b[1]));
        } else {
            let b = dys.first_chunk::<NR>().expect("channels of dy");
            let [lo, hi] = b.as_chunks::<8>().0 else { unreachable!() };
            (b0, b1) = (s.load(lo), s.load(hi));
        }
        for r in 0..M {
            let a = s.splat(a[r]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
        pixel -= 1;
        if pixel > 0 {
            // Slices that shrink, and not a base with an offset: two registers each instead of three.
            (xs, dys) = (&xs[pixels.x..], &dys[pixels.dy..]);
            continue;
        }
        row += 1;
        if row == rows.count {
            (image, row) = (image + 1, 0);
            if image == images.count {
                break;
            }
        }
        pixel = pixels.count;
        (xs, dys) = start(image, row);
    }
    for r in 0..M {
        store_row(s, acc[r], &mut dw[r * stride..][..part.columns], Mode::Add);
    }
}

/// [`tile_of`] for `rows` input channels, a number that [`tile_rows`] gave.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands and the part of a product")]
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
        6 if part.columns == NR => tile_of::<S, 6, false>(s, walk, x, dy, dw, stride, part),
        5 if part.columns == NR => tile_of::<S, 5, false>(s, walk, x, dy, dw, stride, part),
        _ => small_tile(s, rows, walk, x, dy, dw, stride, part),
    }
}

/// [`tile`] for one or two channels, or for fewer than 16 columns; then one channel at a time: only the head and
/// odd widths come here, and compile time counts.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "as for `tile`")]
fn small_tile<S: Simd>(
    s: S,
    rows: usize,
    walk: &Walk,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    stride: usize,
    part: Part,
) {
    if rows == 2 && part.columns == NR {
        tile_of::<S, 2, false>(s, walk, x, dy, dw, stride, part);
        return;
    }
    for r in 0..rows {
        let part = Part { ci: part.ci + r, ..part };
        tile_of::<S, 1, true>(s, walk, x, dy, &mut dw[r * stride..], stride, part);
    }
}

/// [`tile_of`] over a plain run of pixels: chunks and no steps to think of (101 against 91 GFLOP/s at 32 -> 32).
#[inline(always)]
fn run_tile<S: Simd, const M: usize>(
    s: S,
    [x, dy]: [&[f32]; 2],
    pixels: Step,
    dw: &mut [f32],
    stride: usize,
    part: Part,
) {
    let last = pixels.count - 1;
    let mut dys = dy[part.co..][..last * pixels.dy + NR].chunks(pixels.dy);
    let mut acc: Acc<S, M> = zeros(s);
    // Not `zip`, which would divide to learn the number of chunks.
    for x in x[part.ci..][..last * pixels.x + M].chunks(pixels.x) {
        let Some(dy) = dys.next() else { break };
        let a = x.first_chunk::<M>().expect("channels of x");
        let b = dy.first_chunk::<NR>().expect("channels of dy");
        let [b0, b1] = b.as_chunks::<8>().0 else { unreachable!() };
        let (b0, b1) = (s.load(b0), s.load(b1));
        for r in 0..M {
            let a = s.splat(a[r]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
    }
    for r in 0..M {
        store_row(s, acc[r], &mut dw[r * stride..][..part.columns], Mode::Add);
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
    for (rows, part) in tiles(dw.len() / cout, cout) {
        let dw = &mut dw[part.ci * cout + part.co..];
        tile(s, rows, walk, x, dy, dw, cout, Part { ci: first + part.ci, ..part });
    }
}

/// [`product`] over consecutive pixels, of `cin` channels in x.
#[inline(always)]
pub(crate) fn run_product<S: Simd>(
    s: S,
    [x, dy]: [&[f32]; 2],
    cin: usize,
    first: usize,
    dw: &mut [f32],
    cout: usize,
) {
    let pixels = Step { count: dy.len() / cout, x: cin, dy: cout };
    let once = Step { count: 1, x: 0, dy: 0 };
    let walk = Walk { at: (0, 0), images: once, rows: once, pixels };
    for (rows, part) in tiles(dw.len() / cout, cout) {
        let dw = &mut dw[part.ci * cout + part.co..];
        let part = Part { ci: first + part.ci, ..part };
        match rows {
            6 if part.columns == NR => run_tile::<S, 6>(s, [x, dy], pixels, dw, cout, part),
            5 if part.columns == NR => run_tile::<S, 5>(s, [x, dy], pixels, dw, cout, part),
            _ => small_tile(s, rows, &walk, x, dy, dw, cout, part),
        }
    }
}

/// Rows and part of every tile of a `[cin, cout]` gradient, column by column.
#[inline(always)]
fn tiles(cin: usize, cout: usize) -> impl Iterator<Item = (usize, Part)> {
    let mut next = Part { ci: 0, co: 0, columns: NR.min(cout) };
    std::iter::from_fn(move || {
        if next.ci == cin {
            let co = next.co + NR;
            next = Part { ci: 0, co, columns: NR.min(cout.saturating_sub(co)) };
        }
        let rows = tile_rows(cin - next.ci);
        let part = next;
        next.ci += rows;
        (part.co < cout).then_some((rows, part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_use_up_all_channels() {
        for channels in 1..300 {
            let mut rest = channels;
            while rest > 0 {
                rest -= tile_rows(rest);
            }
        }
        for (channels, tiles) in [(32, 6), (64, 11), (128, 22), (256, 43)] {
            let (mut rest, mut count) = (channels, 0);
            while rest > 0 {
                assert!(tile_rows(rest) >= 5, "{rest} of {channels}");
                (rest, count) = (rest - tile_rows(rest), count + 1);
            }
            assert_eq!(count, tiles);
        }
    }
}
