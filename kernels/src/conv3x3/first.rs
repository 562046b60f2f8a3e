//! One input channel: the network's first layer. There is nothing to sum over but the taps, so the pixels
//! around a tile are copied to a small patch and all indices are constants.

use crate::gemm::MR;
use crate::gemm::pack::panels;
use crate::gemm::tile::{Columns, store_row, zeros};
use crate::simd::LANES;
use crate::{Conv, Mode, Simd};
use std::ops::Range;

/// What six pixels of a row read: three rows of eight.
type Patch = [[f32; MR + 2]; 3];

/// The patch of output pixels (h, first..), zeros outside the map.
#[inline(always)]
fn patch(conv: &Conv, x: &[f32], h: usize, first: usize) -> Patch {
    let (height, width) = (conv.x.h, conv.x.w);
    let mut patch = Patch::default();
    for (i, to) in patch.iter_mut().enumerate() {
        if (1..=height).contains(&(h + i)) {
            let row = &x[(h + i - 1) * width..][..width];
            if first > 0 && first + MR < width {
                to.copy_from_slice(&row[first - 1..first + MR + 1]);
            } else {
                for (k, to) in to.iter_mut().enumerate() {
                    if (1..=width).contains(&(first + k)) {
                        *to = row[first + k - 1];
                    }
                }
            }
        }
    }
    patch
}

/// Output rows `rows` of one image.
#[inline(always)]
pub(super) fn image<S: Simd>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    mode: Mode,
) {
    let (w, cout) = (conv.x.w, conv.cout);
    for (h, y) in rows.zip(y.chunks_exact_mut(w * cout)) {
        for (first, y) in (0..w).step_by(MR).zip(y.chunks_mut(MR * cout)) {
            let patch = patch(conv, x, h, first);
            for (p, panel) in panels(9, packed).enumerate() {
                let columns = Columns::of_panel(p, cout);
                let panel = panel.first_chunk::<9>().expect("nine taps");
                let mut acc = zeros::<S, MR>(s);
                for (t, w) in panel.iter().enumerate() {
                    let (w0, w1) = (s.load(&w[0]), s.load(&w[1]));
                    for r in 0..MR {
                        let a = s.splat(patch[t / 3][r + t % 3]);
                        acc[r][0] = s.mul_add(a, w0, acc[r][0]);
                        acc[r][1] = s.mul_add(a, w1, acc[r][1]);
                    }
                }
                for (acc, y) in acc.into_iter().zip(y.chunks_exact_mut(cout)) {
                    store_row(s, acc, &mut y[columns.first..columns.end], mode);
                }
            }
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
        for top in (0..h).step_by(ROWS) {
            for co in (0..cout).step_by(LANES) {
                let rows = top..h.min(top + ROWS);
                let sums = eight_channels(s, conv, rows, x, dy, co);
                let columns = LANES.min(cout - co);
                for (dw, tap) in dw.chunks_exact_mut(cout).zip(taps.clone()) {
                    dw[co..co + columns].iter_mut().zip(sums[tap]).for_each(|(dw, sum)| *dw += sum);
                }
            }
        }
    }
}

/// All nine taps of channels `co..co + 8` over some rows of one image: nine accumulators, nine broadcasts and
/// one load of dy a pixel.
#[inline(always)]
fn eight_channels<S: Simd>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    dy: &[f32],
    co: usize,
) -> [[f32; LANES]; 9] {
    let (w, cout) = (conv.x.w, conv.cout);
    let mut acc = [s.zero(); 9];
    for h in rows {
        let dy = &dy[h * w * cout..][..w * cout];
        for (first, dy) in (0..w).step_by(MR).zip(dy.chunks(MR * cout)) {
            let patch = patch(conv, x, h, first);
            // Six times whatever the row holds: `r` is a constant in every copy, so nothing of the patch is checked.
            for r in 0..MR {
                if let Some(dy) = dy.get(r * cout + co..(r + 1) * cout) {
                    let dy = match dy.first_chunk() {
                        Some(dy) => s.load(dy),
                        None => s.load_tail(dy),
                    };
                    for t in 0..9 {
                        acc[t] = s.mul_add(s.splat(patch[t / 3][r + t % 3]), dy, acc[t]);
                    }
                }
            }
        }
    }
    let mut sums = [[0.0; LANES]; 9];
    for t in 0..9 {
        s.store(acc[t], &mut sums[t]);
    }
    sums
}
