//! The gradient of the weights.

use super::forward::{block_rows, sides};
use super::transform::{GROUP, Gradient, Input, Map, POINTS, SIDE, Six, TILE, columns, lines, taps};
use crate::gemm::NR;
use crate::gemm::tile::{Acc, zeros};
use crate::simd::LANES;
use crate::{Conv, Simd};
use std::ops::Range;

/// Elements of the sums: `[point][panel of 16 outputs][inputs, whole groups][16]`.
pub(crate) const fn sums_len(conv: &Conv) -> usize {
    POINTS * conv.x.c.next_multiple_of(GROUP) * conv.cout.next_multiple_of(NR)
}

/// Sums of one point and one panel: for every input, two vectors.
type Sums = [[[f32; LANES]; 2]];

/// Adds what rows `rows` of the tiles of one image contribute to `sums`; with `first` overwrites them. `scratch` has as
/// many elements as the forward pass wants.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands and the part of a gradient")]
pub(crate) fn winograd_dw<S: Simd>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    dy: &[f32],
    zero: &[f32],
    first: bool,
    sums: &mut [f32],
    scratch: &mut [f32],
) {
    let from = Map { h: conv.x.h, w: conv.x.w, c: conv.x.c };
    let to = Map { c: conv.cout, ..from };
    let [inputs, gradients] = sides(from, to, scratch);
    let step = block_rows(from.w);
    let tiles = from.tiles();
    let (strip, strip_dy) = (from.groups() * (tiles * TILE + SIDE - TILE), to.groups() * tiles * TILE);
    let (line, line_dy) = (from.groups() * tiles, to.groups() * tiles);
    let sums = sums.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0;
    for row in rows.clone().step_by(step) {
        let block = row..rows.end.min(row + step);
        let strips = inputs.strips.chunks_exact_mut(strip).zip(gradients.strips.chunks_exact_mut(strip_dy));
        for (row, (strip, strip_dy)) in block.clone().zip(strips) {
            columns::<S, Input, SIDE>(s, from, row, x, zero, strip);
            columns::<S, Gradient, TILE>(s, to, row, dy, zero, strip_dy);
        }
        for (i, sums) in
            sums.chunks_exact_mut(SIDE * to.groups() * from.groups() * GROUP).enumerate().take(SIDE)
        {
            for r in 0..block.len() {
                let tiles = &mut inputs.tiles[r * line..][..line];
                lines::<S, Input, SIDE>(s, from, i, &inputs.strips[r * strip..][..strip], tiles);
                let tiles = &mut gradients.tiles[r * line_dy..][..line_dy];
                lines::<S, Gradient, TILE>(s, to, i, &gradients.strips[r * strip_dy..][..strip_dy], tiles);
            }
            let x = Tiles { groups: from.groups(), all: &inputs.tiles[..block.len() * line] };
            let dy = Tiles { groups: to.groups(), all: &gradients.tiles[..block.len() * line_dy] };
            products(s, x, dy, sums, first && row == rows.start);
        }
    }
}

/// Transformed tiles at six points, `[tiles, groups]`.
#[derive(Clone, Copy)]
struct Tiles<'a> {
    groups: usize,
    all: &'a [Six],
}

/// For each of six points, sums (=|+=) [inputs x tiles] times [tiles x outputs].
#[inline(always)]
fn products<S: Simd>(s: S, inputs: Tiles<'_>, gradients: Tiles<'_>, sums: &mut Sums, set: bool) {
    let panels = sums.chunks_exact_mut(inputs.groups * GROUP);
    for (i, sums) in panels.take(SIDE * gradients.groups).enumerate() {
        let (point, p) = (i / gradients.groups, i % gradients.groups);
        for (g, sums) in sums.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            // 16 = 6 + 6 + 4 rows: twelve, twelve and eight accumulators.
            outer::<S, 6, 0>(s, point, (g, inputs), (p, gradients), sums, set);
            outer::<S, 6, 6>(s, point, (g, inputs), (p, gradients), sums, set);
            outer::<S, 4, 12>(s, point, (g, inputs), (p, gradients), sums, set);
        }
    }
}

/// `M` inputs from `FIRST` of a group by 16 outputs, summed over tiles.
#[inline(always)]
fn outer<S: Simd, const M: usize, const FIRST: usize>(
    s: S,
    point: usize,
    (g, inputs): (usize, Tiles<'_>),
    (p, gradients): (usize, Tiles<'_>),
    sums: &mut Sums,
    set: bool,
) {
    let sums = sums[FIRST..].first_chunk_mut::<M>().expect("rows of a group");
    let mut acc: Acc<S, M> = zeros(s);
    if !set {
        for r in 0..M {
            acc[r] = [s.load(&sums[r][0]), s.load(&sums[r][1])];
        }
    }
    let pairs = inputs.all.chunks_exact(inputs.groups).zip(gradients.all.chunks_exact(gradients.groups));
    for (x, dy) in pairs {
        let x = x[g][point].as_flattened();
        let b = &dy[p][point];
        let (b0, b1) = (s.load(&b[0]), s.load(&b[1]));
        for r in 0..M {
            let a = s.splat(x[FIRST + r]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
    }
    for r in 0..M {
        s.store(acc[r][0], &mut sums[r][0]);
        s.store(acc[r][1], &mut sums[r][1]);
    }
}

/// The gradient itself from the sums over all tiles: overwrites `dw`, `[3, 3, cin, cout]`.
#[inline(always)]
pub(crate) fn finish<S: Simd>(s: S, conv: &Conv, sums: &[f32], dw: &mut [f32]) {
    let (cin, cout) = (conv.x.c, conv.cout);
    let (k, panels) = (cin.next_multiple_of(GROUP), cout.div_ceil(NR));
    let sums = sums.as_chunks::<LANES>().0.as_chunks::<2>().0;
    for c in 0..cin {
        for block in 0..cout.div_ceil(LANES) {
            let (panel, half) = (block / 2, block % 2);
            let mut points = [[s.zero(); SIDE]; SIDE];
            for i in 0..SIDE {
                for j in 0..SIDE {
                    points[i][j] = s.load(&sums[((i * SIDE + j) * panels + panel) * k + c][half]);
                }
            }
            let taps = taps(s, points);
            let first = block * LANES;
            let width = LANES.min(cout - first);
            for t in 0..9 {
                let dw = &mut dw[(t * cin + c) * cout + first..][..width];
                match dw.first_chunk_mut() {
                    Some(dw) => s.store(taps[t / 3][t % 3], dw),
                    None => s.store_tail(taps[t / 3][t % 3], dw),
                }
            }
        }
    }
}
