//! The forward pass.

use super::bodies::{ImageConv, ImageForward};
use super::{NormConv, NormConvForward, forward_slot, gather, lines, one_image, parallel, take};
use crate::Isa;
use crate::gemm::for_chunks;
use crate::norm::{Affine, Apply, Stats, merge_images};
use crate::rows::{next_rows, row_blocks};
use crate::slots::Slots;

pub(super) fn forward<B: ImageConv>(body: B, isa: Isa, layer: &NormConv, args: NormConvForward<'_, f32>) {
    let NormConvForward { x, affine, w, y, stats, mut scratch } = args;
    let (n, y_shape) = (layer.conv.x.n, layer.conv.y());
    let [packed] = take(&mut scratch, [lines(body.packed())[0]]);
    body.pack_forward(isa, w, packed);
    let packed = &*packed;
    let slot = forward_slot(body, layer);
    let len = slot.iter().sum::<usize>();
    let (image_x, image_y) = (layer.conv.x.image_len(), y_shape.image_len());
    let measured = if stats.is_some() { 2 * y_shape.c } else { 0 };
    assert!(stats.as_ref().is_none_or(|stats| stats.len() == measured), "norm_conv_forward: stats");
    let [sums] = take(&mut scratch, lines([n * measured]));
    let sums = &mut sums[..n * measured];
    let work = Slots::new(scratch, len);
    let buffers = [(y, image_y), (&mut *sums, measured)];
    for_chunks(0..n, parallel(layer), buffers, &|i, [y, sums]| {
        let x = &x[i * image_x..];
        work.with(|work| Forward { isa, body, layer, slot, x, affine, w, packed, y, sums }.run(work));
    });
    if let Some(stats) = stats {
        merge_images(isa, y_shape.h * y_shape.w, sums, stats);
    }
}

/// One image of the forward pass. Every stage is a kernel of its own: with all of them inlined into one a step took
/// 5 % longer.
struct Forward<'a, B> {
    isa: Isa,
    body: B,
    layer: &'a NormConv,
    slot: [usize; 3],
    /// The image and all behind it.
    x: &'a [f32],
    affine: Option<Affine<'a, f32>>,
    w: [&'a [f32]; 2],
    packed: &'a [f32],
    y: &'a mut [f32],
    /// Mean and M2 of y, or nothing.
    sums: &'a mut [f32],
}

impl<B: ImageConv> Forward<'_, B> {
    fn run(self, mut work: &mut [f32]) {
        let Self { isa, body, layer, slot, x, affine, w, packed, mut y, sums } = self;
        let shape = one_image(layer).x;
        let [read, z, work] = take(&mut work, slot);
        let (mut x, rest) = (&x[..layer.conv.x.image_len()], x);
        if layer.conv.stride == 2 {
            gather(layer.conv.x, x, &mut read[..shape.len()]);
            x = &read[..shape.len()];
        }
        let (x_row, y_row) = (shape.w * shape.c, shape.w * layer.conv.cout);
        for (rows, seen) in row_blocks(0..shape.h, shape.h, body.block()) {
            let x = match affine {
                None => x,
                Some(affine) => {
                    let new = seen.start * x_row..seen.end * x_row;
                    isa.run(Apply { affine, x: &x[new.clone()], z: &mut z[new] });
                    &z[..shape.len()]
                }
            };
            let (c, before) = (layer.conv.cout, rows.start * shape.w);
            let y_rows = y.split_off_mut(..rows.len() * y_row).expect("rows of y");
            // A store to a line that is not in cache waits for it, too.
            let ahead = [next_rows(rest, x_row, &seen), &y[..y_rows.len().min(y.len())], &[], &[]];
            body.forward(isa, ImageForward { rows, x, w, packed, ahead }, y_rows, work);
            if !sums.is_empty() {
                isa.run(Stats { c, x: y_rows, before, mean_m2: sums });
            }
        }
    }
}
