//! The backward pass.

use super::bodies::{ImageBackward, ImageConv};
use super::{
    InputGrad, NormConv, NormConvBackward, backward_slot, gather, lines, one_image, parallel, scatter, take,
};
use crate::gemm::{for_chunks, grad_buffer};
use crate::norm::{Affine, Apply, NormGrad, NormGradient, Sums};
use crate::reduce::{PAIR, combine, pair, pairs};
use crate::rows::{next_rows, row_blocks, take_rows};
use crate::slots::Slots;
use crate::{Isa, Mode};

pub(super) fn backward<B: ImageConv>(body: B, isa: Isa, layer: &NormConv, args: NormConvBackward<'_, f32>) {
    let NormConvBackward { x, affine, w, y, dz, norm, dx, dw, mut scratch } = args;
    let (n, cin) = (layer.conv.x.n, layer.conv.x.c);
    let [packed] = take(&mut scratch, [lines(body.packed())[1]]);
    body.pack_backward(isa, w, packed);
    let packed = &*packed;
    let slot = backward_slot(body, layer);
    let len = slot.iter().sum::<usize>();
    let parts = pairs(n);
    let weights = layer.weights();
    let [dw0, dw1, sums_slots] =
        take(&mut scratch, lines([parts * weights[0], parts * weights[1], 2 * n * cin]));
    let (dw0, dw1) = (&mut dw0[..parts * weights[0]], &mut dw1[..parts * weights[1]]);
    let work = Slots::new(scratch, len);
    let (dx, sums) = dx.map(InputGrad::split).unzip();
    let (image_x, image_y) = (layer.conv.x.image_len(), layer.conv.y().image_len());
    assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == n * image_x), "norm_conv_backward: dx");
    assert_eq!(dw.each_ref().map(|dw| dw.to.len()), weights, "norm_conv_backward: dw");
    let (dx, dx_mode) = grad_buffer(dx, PAIR * image_x);
    let sums = sums.flatten();
    let summed = if sums.is_some() { 2 * cin } else { 0 };
    assert!(sums.as_ref().is_none_or(|sums| sums.len() == summed), "norm_conv_backward: sums");
    let sums_slots = &mut sums_slots[..n * summed];
    let buffers = [dx, (&mut *sums_slots, PAIR * summed), (&mut *dw0, weights[0]), (&mut *dw1, weights[1])];
    for_chunks(0..parts, parallel(layer), buffers, &|part, [dx, sums, dw0, dw1]| {
        let images = pair(n, part);
        let at = images.start * image_y;
        let (x, y, dz) = (&x[images.start * image_x..], &y[at..], &dz[at..]);
        let dx = dx_mode.map(|mode| (dx, mode));
        let (read, grads) = (Read { x, affine, w, packed, y, dz, norm }, Grads { dx, sums, dw: [dw0, dw1] });
        work.with(|work| Backward { isa, body, layer, slot, images: images.len(), read, grads }.run(work));
    });
    if let Some(sums) = sums {
        combine(isa, sums_slots, 1, sums, Mode::Set);
    }
    for (grad, sums) in dw.into_iter().zip([dw0, dw1]) {
        if !grad.to.is_empty() {
            combine(isa, sums, PAIR, grad.to, grad.mode);
        }
    }
}

/// What the backward pass of some images reads.
#[derive(Clone, Copy)]
struct Read<'a> {
    x: &'a [f32],
    affine: Option<Affine<'a, f32>>,
    w: [&'a [f32]; 2],
    packed: &'a [f32],
    y: &'a [f32],
    dz: &'a [f32],
    norm: NormGrad<'a, f32>,
}

/// What it writes: `sums` `[n, 2, cin]` or nothing, `dw` of this part; both hold garbage.
struct Grads<'a> {
    dx: Option<(&'a mut [f32], Mode)>,
    sums: &'a mut [f32],
    dw: [&'a mut [f32]; 2],
}

/// The backward pass of a part of the batch.
struct Backward<'a, B> {
    isa: Isa,
    body: B,
    layer: &'a NormConv,
    slot: [usize; 5],
    images: usize,
    read: Read<'a>,
    grads: Grads<'a>,
}

impl<B: ImageConv> Backward<'_, B> {
    fn run(self, mut work: &mut [f32]) {
        let Self { isa, body, layer, slot, images, read, grads } = self;
        let Grads { mut dx, sums, dw: [dw0, dw1] } = grads;
        let (shape, whole) = (one_image(layer).x, layer.conv.x);
        let (image_x, image_y) = (whole.image_len(), layer.conv.y().image_len());
        let (x_row, y_row) = (shape.w * shape.c, shape.w * layer.conv.cout);
        let [pixels, z, work, dy, inner] = take(&mut work, slot);
        let (strided, dy) = (layer.conv.stride == 2, &mut dy[..image_y]);
        sums.fill(0.0);
        for i in 0..images {
            let (y, dz) = (&read.y[i * image_y..][..image_y], &read.dz[i * image_y..][..image_y]);
            let mut raw = &read.x[i * image_x..][..image_x];
            let mut dx = dx.as_mut().map(|(dx, mode)| (&mut dx[i * image_x..][..image_x], *mode));
            let sums =
                if sums.is_empty() { &mut [][..] } else { &mut sums[i * 2 * shape.c..][..2 * shape.c] };
            if strided {
                gather(whole, raw, &mut pixels[..shape.len()]);
                raw = &pixels[..shape.len()];
            }
            for (rows, seen) in row_blocks(0..shape.h, shape.h, body.block()) {
                let new = seen.start * y_row..seen.end * y_row;
                let dy_new = &mut dy[new.clone()];
                isa.run(NormGradient { norm: read.norm, y: &y[new.clone()], dz: &dz[new], dy: dy_new });
                let x = match read.affine {
                    None => raw,
                    Some(affine) => {
                        let new = seen.start * x_row..seen.end * x_row;
                        isa.run(Apply { affine, x: &raw[new.clone()], z: &mut z[new] });
                        &z[..shape.len()]
                    }
                };
                let done = body.complete(&rows);
                let done = done.start * x_row..done.end * x_row;
                let (mut to, behind) = match &dx {
                    // One block.
                    Some(_) if strided => (Some((&mut inner[..shape.len()], Mode::Set)), &[][..]),
                    _ => take_rows(&mut dx, done.len()),
                };
                let ahead = [
                    next_rows(&read.y[i * image_y..], y_row, &seen),
                    next_rows(&read.dz[i * image_y..], y_row, &seen),
                    next_rows(&read.x[i * image_x..], x_row, &seen),
                    behind,
                ];
                let first = i == 0 && rows.start == 0;
                let image = ImageBackward { rows, x, w: read.w, packed: read.packed, dy, ahead, first };
                let dx_rows = to.as_mut().map(|(dx, mode)| (&mut **dx, *mode));
                body.backward(isa, image, dx_rows, [&mut *dw0, &mut *dw1], work);
                if let (Some(affine), Some((dz, _)), false, false) =
                    (read.affine, to, strided, sums.is_empty())
                {
                    isa.run(Sums { affine, x: &raw[done], dz, sums });
                }
            }
            if let (true, Some((dx, mode))) = (strided, dx) {
                scatter(whole, &inner[..shape.len()], dx, mode);
                if let (Some(affine), false) = (read.affine, sums.is_empty()) {
                    isa.run(Sums { affine, x: &read.x[i * image_x..][..image_x], dz: dx, sums });
                }
            }
        }
        body.finish(isa, [dw0, dw1], work);
    }
}
