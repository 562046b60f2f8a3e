//! The convolution itself: forward, and with flipped weights the gradient of the input.

use super::transform::{
    COLUMN, Column, GROUP, Input, Map, POINTS, SIDE, SPECTRUM, Spectrum, TILE, analyse, synthesise, weights,
};
use crate::gemm::pack::Panel;
use crate::gemm::tile::{accumulate, zeros};
use crate::gemm::{MR, NR};
use crate::simd::LANES;
use crate::{Conv, Kernel, Mode, Simd};
use std::ops::Range;

/// Tiles wanted in a block: with 32 channels their 36 points are 114 KB on either side of the products, so that
/// they stay in the second-level cache with the weights (147 KB).
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
            for half in 0..2 {
                let first = panel * NR + half * LANES;
                let columns = if k_at < inputs { LANES.min(outputs.saturating_sub(first)) } else { 0 };
                let mut taps = [s.zero(); 9];
                for t in 0..9 {
                    let mut lanes = [0.0; LANES];
                    for j in 0..columns {
                        lanes[j] = if flipped {
                            w[((8 - t) * outputs + first + j) * inputs + k_at]
                        } else {
                            w[(t * inputs + k_at) * outputs + first + j]
                        };
                    }
                    taps[t] = s.load(&lanes);
                }
                let points = weights(s, taps);
                for i in 0..SIDE {
                    for j in 0..SIDE {
                        s.store(points[i][j], &mut to[((i * SIDE + j) * panels + panel) * k + k_at][half]);
                    }
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

/// Scratch elements of a task: a strip of columns, and a block of tiles before and after the products.
pub(crate) const fn work_len(conv: &Conv) -> usize {
    let tiles = conv.x.w.div_ceil(TILE);
    let strip = (tiles * TILE + SIDE - TILE) * COLUMN;
    let block = (block_rows(conv.x.w) * tiles).next_multiple_of(MR);
    strip + block * (conv.x.c.div_ceil(GROUP) + conv.cout.div_ceil(GROUP)) * SPECTRUM
}

/// The parts of a task's scratch: strip, block with the channels of `from`, block with those of `to`.
#[inline(always)]
pub(crate) fn work<'a>(
    from: Map,
    to: Map,
    work: &'a mut [f32],
) -> (&'a mut [Column], &'a mut [Spectrum], &'a mut [Spectrum]) {
    let tiles = from.tiles();
    let block = (block_rows(from.w) * tiles).next_multiple_of(MR);
    let (strip, work) = work.split_at_mut((tiles * TILE + SIDE - TILE) * COLUMN);
    let (a, b) = work.split_at_mut(block * from.groups() * SPECTRUM);
    let b = &mut b[..block * to.groups() * SPECTRUM];
    (
        strip.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.as_chunks_mut().0,
        a.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.as_chunks_mut().0,
        b.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.as_chunks_mut().0,
    )
}

/// Rows `rows` of the tiles of one image: `y`, the rows of pixels under them, is set or added. `x` is the whole
/// image; `scratch` has [`work_len`] elements.
#[inline(always)]
pub(crate) fn winograd_rows<S: Simd>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    weights: Weights<'_>,
    y: &mut [f32],
    mode: Mode,
    scratch: &mut [f32],
) {
    let from = Map { h: conv.x.h, w: conv.x.w, c: conv.x.c };
    let to = Map { c: conv.cout, ..from };
    let (strip, inputs, products) = work(from, to, scratch);
    let tiles = from.tiles();
    let step = block_rows(from.w);
    let line = TILE * from.w * to.c;
    for first in rows.clone().step_by(step) {
        let block = first..rows.end.min(first + step);
        for (row, inputs) in block.clone().zip(inputs.chunks_exact_mut(tiles * from.groups())) {
            analyse::<S, Input, SIDE>(s, from, row, x, weights.zero, strip, inputs);
        }
        multiply(s, block.len() * tiles, from.groups(), to.groups(), inputs, weights, products);
        for (row, products) in block.zip(products.chunks_exact(tiles * to.groups())) {
            synthesise(s, to, row, products, &mut y[(row - rows.start) * line..], mode);
        }
    }
}

/// The products of all points: for each, [tiles x inputs] times [inputs x outputs]. Tiles come six at a time;
/// the last ones beyond `tiles` are garbage that nobody reads.
#[inline(always)]
fn multiply<S: Simd>(
    s: S,
    tiles: usize,
    groups: usize,
    panels: usize,
    inputs: &[Spectrum],
    weights: Weights<'_>,
    products: &mut [Spectrum],
) {
    let panel_len = groups * GROUP;
    let weights = weights.points.as_chunks::<LANES>().0.as_chunks::<2>().0;
    for (point, weights) in weights.chunks_exact(panels * panel_len).enumerate().take(POINTS) {
        for (p, panel) in weights.chunks_exact(panel_len).enumerate() {
            let blocks = inputs.chunks_exact(MR * groups).zip(products.chunks_exact_mut(MR * panels));
            for (inputs, products) in blocks.take(tiles.div_ceil(MR)) {
                six(s, point, p, groups, panels, inputs, panel, products);
            }
        }
    }
}

/// Six tiles at one point times one panel.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn six<S: Simd>(
    s: S,
    point: usize,
    p: usize,
    groups: usize,
    panels: usize,
    inputs: &[Spectrum],
    panel: &Panel,
    products: &mut [Spectrum],
) {
    let mut acc = zeros::<S, MR>(s);
    for (g, panel) in panel.chunks_exact(GROUP).enumerate() {
        let mut rows: [&[f32]; MR] = [&[]; MR];
        for r in 0..MR {
            rows[r] = inputs[r * groups + g][point].as_flattened();
        }
        acc = accumulate(s, acc, rows, panel);
    }
    for r in 0..MR {
        let [lo, hi] = &mut products[r * panels + p][point];
        s.store(acc[r][0], lo);
        s.store(acc[r][1], hi);
    }
}
