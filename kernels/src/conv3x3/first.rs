//! One input channel: the network's first layer. There is nothing to sum over but the taps, so the pixels
//! around those of a segment are copied to a small patch, with zeros outside the map.

use crate::epilogue::Epilogue;
use crate::gemm::NR;
use crate::gemm::pack::panels;
use crate::simd::LANES;
use crate::{Conv, Simd};
use std::ops::Range;

/// Pixels of a row that are computed together: few copies, a few hundred bytes.
const SEGMENT: usize = 48;

/// Three rows around some output pixels of a row, and a pixel on either side.
type Around = [[f32; SEGMENT + 2]; 3];

/// What output pixels (h, first..first + count) read, zeros outside the map.
#[inline(always)]
fn around(conv: &Conv, x: &[f32], h: usize, first: usize, count: usize) -> Around {
    let (height, width) = (conv.x.h, conv.x.w);
    let mut around = [[0.0; SEGMENT + 2]; 3];
    let left = usize::from(first == 0);
    for (i, to) in around.iter_mut().enumerate() {
        if (1..=height).contains(&(h + i)) {
            let row = &x[(h + i - 1) * width..][..width];
            let row = &row[first + left - 1..width.min(first + count + 1)];
            to[left..left + row.len()].copy_from_slice(row);
        }
    }
    around
}

/// Output rows `rows` of one image.
#[inline(always)]
pub(crate) fn image<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    e: E,
) {
    let (w, cout) = (conv.x.w, conv.cout);
    for (h, y) in rows.zip(y.chunks_exact_mut(w * cout)) {
        for (first, y) in (0..w).step_by(SEGMENT).zip(y.chunks_mut(SEGMENT * cout)) {
            let around = around(conv, x, h, first, y.len() / cout);
            for (p, panel) in panels(9, packed).enumerate() {
                let panel = panel.first_chunk::<9>().expect("nine taps");
                for half in 0..2 {
                    let columns = p * NR + half * LANES..cout.min(p * NR + (half + 1) * LANES);
                    if !columns.is_empty() {
                        eight_columns(s, &around, panel, half, columns, y, cout, e);
                    }
                }
            }
        }
    }
}

/// Up to eight output channels of a segment: nine weights stay in registers, and a pixel is nine broadcasts and nine
/// multiply-adds. (Tiles of six pixels by 16 channels need fewer broadcasts, but the compiler made them all ahead,
/// kept them in memory and half of the accumulators too: 26 us an image of 48x48 -> 32.)
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands and the part of a convolution")]
fn eight_columns<S: Simd, E: Epilogue>(
    s: S,
    [above, here, below]: &Around,
    panel: &[[[f32; LANES]; 2]; 9],
    half: usize,
    columns: Range<usize>,
    y: &mut [f32],
    cout: usize,
    e: E,
) {
    let mut w = [s.zero(); 9];
    for t in 0..9 {
        w[t] = s.load(&panel[t][half]);
    }
    let start = e.start(s, columns.start);
    let rows = above.windows(3).zip(here.windows(3)).zip(below.windows(3));
    for (((above, here), below), y) in rows.zip(y.chunks_exact_mut(cout)) {
        let mut sum = start;
        for (i, row) in [above, here, below].into_iter().enumerate() {
            for j in 0..3 {
                sum = s.mul_add(s.splat(row[j]), w[3 * i + j], sum);
            }
        }
        let y = &mut y[columns.clone()];
        if let Some(y) = y.first_chunk_mut() {
            let sum = e.finish(s, sum, || s.load(y));
            s.store(sum, y);
        } else {
            let sum = e.finish(s, sum, || s.load_tail(y));
            s.store_tail(sum, y);
        }
    }
}

/// Rows whose dy is read from the first-level cache by every group of eight channels.
const ROWS: usize = 4;

/// Adds the gradient of taps `taps` to `dw`, `[taps, cout]`.
#[inline(always)]
pub(super) fn dw<S: Simd>(s: S, conv: &Conv, taps: Range<usize>, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (h, w, cout) = (conv.x.h, conv.x.w, conv.cout);
    for (x, dy) in x.chunks_exact(h * w).zip(dy.chunks_exact(h * w * cout)) {
        for (top, first) in (0..h).step_by(ROWS).flat_map(|h| (0..w).step_by(SEGMENT).map(move |w| (h, w))) {
            let (rows, count) = (ROWS.min(h - top), SEGMENT.min(w - first));
            let mut arounds = [[[0.0; SEGMENT + 2]; 3]; ROWS];
            for (i, to) in arounds[..rows].iter_mut().enumerate() {
                *to = around(conv, x, top + i, first, count);
            }
            for co in (0..cout).step_by(LANES) {
                let dy = dy[(top * w + first) * cout..].chunks(w * cout);
                let dy = dy.map(|row| &row[..count * cout]);
                let sums = eight_gradients(s, arounds[..rows].iter().zip(dy), co, cout);
                let columns = LANES.min(cout - co);
                for (dw, tap) in dw.chunks_exact_mut(cout).zip(taps.clone()) {
                    dw[co..co + columns].iter_mut().zip(sums[tap]).for_each(|(dw, sum)| *dw += sum);
                }
            }
        }
    }
}

/// All nine taps of channels `co..co + 8` over segments of rows with their dy: nine accumulators, nine broadcasts
/// and one load of dy a pixel.
#[inline(always)]
fn eight_gradients<'a, S: Simd>(
    s: S,
    rows: impl Iterator<Item = (&'a Around, &'a [f32])>,
    co: usize,
    cout: usize,
) -> [[f32; LANES]; 9] {
    let mut acc = [s.zero(); 9];
    for ([above, here, below], dy) in rows {
        let windows = above.windows(3).zip(here.windows(3)).zip(below.windows(3));
        for (((above, here), below), dy) in windows.zip(dy.chunks_exact(cout)) {
            let dy = &dy[co..];
            let dy = match dy.first_chunk() {
                Some(dy) => s.load(dy),
                None => s.load_tail(dy),
            };
            for j in 0..3 {
                acc[j] = s.mul_add(s.splat(above[j]), dy, acc[j]);
                acc[3 + j] = s.mul_add(s.splat(here[j]), dy, acc[3 + j]);
                acc[6 + j] = s.mul_add(s.splat(below[j]), dy, acc[6 + j]);
            }
        }
    }
    let mut sums = [[0.0; LANES]; 9];
    for t in 0..9 {
        s.store(acc[t], &mut sums[t]);
    }
    sums
}
