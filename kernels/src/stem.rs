//! Inference: the input module in one pass over a face.

use crate::conv3x3::{Packed, first};
use crate::epilogue::Bias;
use crate::gemm::for_chunks;
use crate::winograd::{ALIGN, TILE, Weights, aligned, block_rows, winograd_rows, work_len};
use crate::{Conv, Folded, FoldedKind, Isa, Kernel, Mode, Shape, Simd};
use std::ops::Range;

/// Two standard 3x3 convolutions, each with bias and ReLU as [`crate::FoldedKernels`], from one channel:
/// a [`FoldedKind::Conv3x3`] and a [`FoldedKind::Winograd`] layer. The value in between, 295 KB a face in this
/// network, exists only as the few rows that a block of Winograd's tiles reads.
pub trait StemKernels: Sized {
    /// Scratch elements that [`Self::stem_forward`] wants.
    fn stem_scratch(layers: &[Folded; 2]) -> usize;
    /// Overwrites `y`; `prepared` are each layer's weights.
    fn stem_forward(
        isa: Isa,
        layers: &[Folded; 2],
        x: &[Self],
        prepared: [&[Self]; 2],
        y: &mut [Self],
        scratch: &mut [Self],
    );
}

/// Rows of tiles of a task: a fourth of an image, so that a task computes few rows that its neighbour computes too.
const fn task_rows(conv: &Conv) -> usize {
    conv.x.h.div_ceil(TILE).div_ceil(4)
}

/// Tasks of an image.
const fn tasks(conv: &Conv, parallel: bool) -> usize {
    if parallel { conv.x.h.div_ceil(TILE).div_ceil(task_rows(conv)) } else { 1 }
}

/// Elements of the rows that a block of the second layer reads. They begin a tile early, so that the rows of tiles
/// keep their places.
const fn slab_len(conv: &Conv) -> usize {
    let rows = (1 + block_rows(conv.x.w)) * TILE + 1;
    (rows * conv.x.w * conv.x.c).next_multiple_of(ALIGN)
}

/// Some rows of tiles of one face.
struct Stem<'a> {
    convs: [Conv; 2],
    rows: Range<usize>,
    x: &'a [f32],
    panels: &'a [f32],
    weights: Weights<'a>,
    e: [Bias<'a>; 2],
    y: &'a mut [f32],
    slab: &'a mut [f32],
    work: &'a mut [f32],
}

impl Kernel for Stem<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { convs: [before, conv], rows, x, panels, weights, e, y, slab, work } = self;
        let Shape { h, w, c, .. } = conv.x;
        let step = block_rows(w);
        let mut known = 0..0;
        for first_tile in rows.clone().step_by(step) {
            let block = first_tile..rows.end.min(first_tile + step);
            let top = (block.start * TILE).saturating_sub(TILE);
            let wanted = (block.start * TILE).saturating_sub(1)..h.min(block.end * TILE + 1);
            let at = |row: usize| (row - top) * w * c;
            // The last two rows of the block before are the first two of this one.
            let mut fresh = wanted.clone();
            if known.end > wanted.start {
                let old = (wanted.start - (known.start)) * w * c;
                slab.copy_within(old..old + (known.end - wanted.start) * w * c, at(wanted.start));
                fresh.start = known.end;
            }
            let to = &mut slab[at(fresh.start)..at(fresh.end)];
            first::image(s, &before, fresh, x, panels, to, e[0]);
            let here = Conv { x: Shape { h: wanted.end - top, ..conv.x }, ..conv };
            let tile = block.start - top / TILE;
            let y = &mut y[(block.start - rows.start) * TILE * w * conv.cout..];
            winograd_rows(s, &here, tile..tile + block.len(), slab, weights, y, e[1], work);
            known = top..wanted.end;
        }
    }
}

impl StemKernels for f32 {
    fn stem_scratch(layers: &[Folded; 2]) -> usize {
        let conv = &layers[1].conv;
        let parallel = layers[1].parallel();
        let all = if parallel { conv.x.n * tasks(conv, true) } else { 1 };
        ALIGN + all * (slab_len(conv) + work_len(conv))
    }

    fn stem_forward(
        isa: Isa,
        layers: &[Folded; 2],
        x: &[Self],
        prepared: [&[Self]; 2],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        let [before, conv] = layers.map(|layer| layer.conv);
        let kinds = layers.map(|layer| layer.kind);
        assert_eq!(kinds, [FoldedKind::Conv3x3, FoldedKind::Winograd], "layers of a stem");
        assert!(before.x.c == 1 && before.y() == conv.x, "layers of a stem: {layers:?}");
        assert!(before.stride == 1 && conv.stride == 1, "layers of a stem: {layers:?}");
        assert_eq!(x.len(), before.x.len(), "x of {layers:?}");
        assert_eq!(y.len(), conv.y().len(), "y of {layers:?}");
        let parallel = layers[1].parallel();
        let [(bias_1, packed), (bias_2, points)] = [0, 1].map(|i| layers[i].split(prepared[i]));
        let panels = &packed[..Packed::len(1, before.cout) - 1];
        let (points, zero) = points.split_at(Weights::len(conv.x.c, conv.cout));
        let weights = Weights { points, zero };
        let e = [(bias_1, layers[0].relu), (bias_2, layers[1].relu)];
        let e = e.map(|(bias, relu)| Bias::new(bias, Mode::Set, relu));
        let (x_image, y_image) = (before.x.image_len(), conv.y().image_len());
        let run = |image: usize, rows: Range<usize>, y: &mut [f32], scratch: &mut [f32]| {
            let x = &x[image * x_image..][..x_image];
            let (slab, work) = scratch.split_at_mut(slab_len(&conv));
            isa.run(Stem { convs: [before, conv], rows, x, panels, weights, e, y, slab, work });
        };
        let (all, len) = (conv.x.h.div_ceil(TILE), slab_len(&conv) + work_len(&conv));
        let scratch = aligned(scratch);
        if !parallel {
            for (i, y) in y.chunks_exact_mut(y_image).enumerate() {
                run(i, 0..all, y, &mut scratch[..len]);
            }
            return;
        }
        let (rows, tasks) = (task_rows(&conv), tasks(&conv, true));
        // The last task of an image may have fewer rows, so images are cut first.
        let image = tasks * len;
        for_chunks(0..conv.x.n, true, [(y, y_image), (scratch, image)], &|i, [y, scratch]| {
            let chunk = rows * TILE * conv.x.w * conv.cout;
            for_chunks(0..tasks, true, [(y, chunk), (scratch, len)], &|task, [y, scratch]| {
                run(i, task * rows..all.min((task + 1) * rows), y, scratch);
            });
        });
    }
}
