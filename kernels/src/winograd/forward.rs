//! The convolution itself: forward, and with flipped weights the gradient of the input.

use super::transform::{
    GROUP, Input, Map, POINTS, SIDE, SIX, Six, TILE, columns, columns_back, lines, lines_back, weights,
};
use crate::epilogue::Epilogue;
use crate::gemm::pack::Panel;
use crate::gemm::tile::{accumulate, zeros};
use crate::gemm::{MR, NR};
use crate::simd::LANES;
use crate::{Conv, Kernel, Simd};
use std::ops::Range;

/// Tiles wanted in a block. With 32 channels their inputs and products at six points are 36 KB; 6, 12 and 48 differ
/// by no more than 5 %.
const BLOCK: usize = 24;

/// Transformed weights, `[point][panel of 16 outputs][inputs, whole groups][16]`, and a row of zeros that stands
/// for the pixels above and below the map.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) points: &'a [f32],
    pub(crate) zero: &'a [f32],
}

impl<'a> Weights<'a> {
    /// Elements of the transformed weights.
    pub(crate) const fn len(cin: usize, cout: usize) -> usize {
        POINTS * cin.next_multiple_of(GROUP) * cout.next_multiple_of(NR)
    }
}

/// Transforms weights `[3, 3, cin, cout]`, or for the gradient of the input those of the convolution that leads
/// back: taps in reverse order, `cin` and `cout` swapped. `inputs` and `outputs` are those of `to`.
pub(crate) struct Transform<'a> {
    pub(crate) w: &'a [f32],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) flipped: bool,
    pub(crate) to: &'a mut [f32],
}

impl Kernel for Transform<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { w, inputs, outputs, flipped, to } = self;
        let k = inputs.next_multiple_of(GROUP);
        let panels = outputs.div_ceil(NR);
        let to = to.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0;
        for (panel, k_at) in (0..panels).flat_map(|p| (0..k).map(move |k| (p, k))) {
            // Eight outputs at a time, at one input.
            for half in 0..2 {
                let first = panel * NR + half * LANES;
                let columns = if k_at < inputs { LANES.min(outputs.saturating_sub(first)) } else { 0 };
                let mut taps = [s.zero(); 9];
                for (t, tap) in taps.iter_mut().enumerate() {
                    let mut lanes = [0.0; LANES];
                    for (j, lane) in lanes[..columns].iter_mut().enumerate() {
                        *lane = if flipped {
                            w[((8 - t) * outputs + first + j) * inputs + k_at]
                        } else {
                            w[(t * inputs + k_at) * outputs + first + j]
                        };
                    }
                    *tap = s.load(&lanes);
                }
                let points = weights(s, taps);
                for (point, v) in points.as_flattened().iter().enumerate() {
                    let [lo, hi] = &mut to[(point * panels + panel) * k + k_at];
                    s.store(*v, if half == 0 { lo } else { hi });
                }
            }
        }
    }
}

/// Rows of tiles in a block.
pub(crate) const fn block_rows(w: usize) -> usize {
    let rows = BLOCK / w.div_ceil(TILE);
    if rows == 0 { 1 } else { rows }
}

/// Scratch elements of a task, for any of the three passes: strips of columns, and a block of tiles at six points,
/// both with the channels of the input and of the output.
pub(crate) const fn work_len(conv: &Conv) -> usize {
    let groups = conv.x.c.div_ceil(GROUP) + conv.cout.div_ceil(GROUP);
    let (row, rows) = (conv.x.w.div_ceil(TILE), block_rows(conv.x.w));
    groups * SIX * (rows * (row * TILE + SIDE - TILE) + (rows * row).next_multiple_of(MR))
}

/// A task's scratch on one side of the products.
pub(crate) struct Side<'a> {
    /// The strip of each row of tiles of a block.
    pub(crate) strips: &'a mut [Six],
    /// The tiles of a block at six points.
    pub(crate) tiles: &'a mut [Six],
}

/// Cuts scratch: the sides with the channels of `a` and of `b`.
#[inline(always)]
pub(crate) fn sides(a: Map, b: Map, work: &mut [f32]) -> [Side<'_>; 2] {
    let rows = block_rows(a.w);
    let strip = rows * (a.tiles() * TILE + SIDE - TILE);
    let block = (rows * a.tiles()).next_multiple_of(MR);
    let all = work.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.as_chunks_mut::<SIDE>().0;
    let (first, second) = all.split_at_mut((strip + block) * a.groups());
    let (strips, tiles) = first.split_at_mut(strip * a.groups());
    let first = Side { strips, tiles };
    let (strips, tiles) = second.split_at_mut(strip * b.groups());
    [first, Side { strips, tiles: &mut tiles[..block * b.groups()] }]
}

/// Rows `rows` of the tiles of one image: `y`, the rows of pixels under them, gets what `e` makes of the
/// sums. `x` is the whole image; `scratch` has [`work_len`] elements.
///
/// A block of tiles at a time: all columns vertically, then for each of the six rows of points everything that is
/// left between those columns and the columns of y, so that no more than six of the 36 points are in the
/// first-level cache at a time. What neighbouring tiles share is transformed once (20 instead of 22 lines a tile).
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands and the part of a convolution")]
pub(crate) fn winograd_rows<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    weights: Weights<'_>,
    y: &mut [f32],
    e: E,
    scratch: &mut [f32],
) {
    let from = Map { h: conv.x.h, w: conv.x.w, c: conv.x.c };
    let to = Map { c: conv.cout, ..from };
    let [inputs, products] = sides(from, to, scratch);
    let step = block_rows(from.w);
    // Elements of a row of tiles in each buffer.
    let (strip, strip_back) =
        (from.groups() * (from.tiles() * TILE + SIDE - TILE), to.groups() * to.tiles() * TILE);
    let (line, line_back) = (from.groups() * from.tiles(), to.groups() * to.tiles());
    let pixels = TILE * to.w * to.c;
    for first in rows.clone().step_by(step) {
        let block = first..rows.end.min(first + step);
        for (row, strip) in block.clone().zip(inputs.strips.chunks_exact_mut(strip)) {
            columns::<S, Input, SIDE>(s, from, row, x, weights.zero, strip);
        }
        for i in 0..SIDE {
            let strips = inputs.strips.chunks_exact(strip).take(block.len());
            for (strip, tiles) in strips.zip(inputs.tiles.chunks_exact_mut(line)) {
                lines::<S, Input, SIDE>(s, from, i, strip, tiles);
            }
            multiply(
                s,
                block.len() * from.tiles(),
                from.groups(),
                to.groups(),
                i,
                inputs.tiles,
                weights,
                products.tiles,
            );
            let strips = products.strips.chunks_exact_mut(strip_back).take(block.len());
            for (strip, tiles) in strips.zip(products.tiles.chunks_exact(line_back)) {
                lines_back(s, to, i, tiles, strip);
            }
        }
        for (row, strip) in block.zip(products.strips.chunks_exact(strip_back)) {
            columns_back(s, to, row, strip, &mut y[(row - rows.start) * pixels..], e);
        }
    }
}

/// The products at row `i` of the points: for each, [tiles x inputs] times [inputs x outputs]. Tiles come six at a
/// time; the last ones beyond `tiles` are garbage that nobody reads.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands and the part of a convolution")]
fn multiply<S: Simd>(
    s: S,
    tiles: usize,
    groups: usize,
    panels: usize,
    i: usize,
    inputs: &[Six],
    weights: Weights<'_>,
    products: &mut [Six],
) {
    let panel_len = groups * GROUP;
    let weights = weights.points.as_chunks::<LANES>().0.as_chunks::<2>().0;
    let weights = weights.chunks_exact(panels * panel_len).skip(i * SIDE);
    for (j, weights) in weights.take(SIDE).enumerate() {
        for (p, panel) in weights.chunks_exact(panel_len).enumerate() {
            let blocks = inputs.chunks_exact(MR * groups).zip(products.chunks_exact_mut(MR * panels));
            for (inputs, products) in blocks.take(tiles.div_ceil(MR)) {
                six(s, j, p, groups, panels, inputs, panel, products);
            }
        }
    }
}

/// Six tiles at point `j` of the row times one panel.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands and the part of a convolution")]
fn six<S: Simd>(
    s: S,
    j: usize,
    p: usize,
    groups: usize,
    panels: usize,
    inputs: &[Six],
    panel: &Panel,
    products: &mut [Six],
) {
    let mut acc = zeros::<S, MR>(s);
    for (g, panel) in panel.chunks_exact(GROUP).enumerate() {
        let mut rows: [&[f32]; MR] = [&[]; MR];
        for r in 0..MR {
            rows[r] = inputs[r * groups + g][j].as_flattened();
        }
        acc = accumulate(s, acc, rows, panel);
    }
    for r in 0..MR {
        let [lo, hi] = &mut products[r * panels + p][j];
        s.store(acc[r][0], lo);
        s.store(acc[r][1], hi);
    }
}
