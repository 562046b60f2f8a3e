//! Convolutions with batch norm at both ends, a few rows at a time while they are in cache: what the reader of a
//! normalised value does ([`Affine`]), the convolution, and the statistics of its result. Backward likewise: the
//! gradient through the norm behind, the convolution's gradients, the sums of the norm in front. Apart, each norm
//! streams three activations through memory forward and five backward.

mod bodies;

use crate::gemm::{for_chunks, worth_threads};
use crate::norm::{Affine, AffineGrad, NormGrad};
use crate::norm::{Apply, Merge, NormGradient, Stats, Sums};
use crate::reduce::{combine, parts};
use crate::rows::{next_rows, row_blocks, take_rows};
use crate::slots::{Slots, slots};
use crate::{Conv, Grad, Isa, Mode, Shape, winograd_pays};
use bodies::{Direct, DwPw, ImageBackward, ImageConv, ImageForward, Pointwise, Winograd};

/// Which convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvLayer {
    /// Standard 3x3, stride 1; one weight `[3, 3, cin, cout]`.
    Conv3x3,
    /// Depthwise 3x3, then pointwise, stride 1; weights `[3, 3, cin]` and `[cin, cout]`.
    DwPw,
    /// 1x1, stride 1 or 2; one weight `[cin, cout]`.
    Pointwise,
}

/// Geometry of a convolution with batch norms around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormConv {
    /// Which convolution.
    pub layer: ConvLayer,
    /// Its geometry.
    pub conv: Conv,
    /// Whether x owes a batch norm.
    pub affine: bool,
}

impl NormConv {
    /// Elements of the two weights; 0 where there is only one.
    pub fn weights(&self) -> [usize; 2] {
        let (cin, cout) = (self.conv.x.c, self.conv.cout);
        match self.layer {
            ConvLayer::Conv3x3 => [9 * cin * cout, 0],
            ConvLayer::DwPw => [9 * cin, cin * cout],
            ConvLayer::Pointwise => [cin * cout, 0],
        }
    }

    /// Whether this is faster than the convolution and the norms apart: not where the weights are so large that
    /// sixteen partial sums of their gradient (over 1 MB) cost more than the norms' passes over small maps.
    pub fn pays(&self) -> bool {
        self.weights().iter().sum::<usize>() <= 140 * 140
    }
}

/// Arguments of [`NormConvKernels::norm_conv_forward`].
#[derive(Debug)]
pub struct NormConvForward<'a, T> {
    /// Input.
    pub x: &'a [T],
    /// The norm that x owes.
    pub affine: Option<Affine<'a, T>>,
    /// Weights; the second is empty where there is only one.
    pub w: [&'a [T]; 2],
    /// Output, overwritten.
    pub y: &'a mut [T],
    /// Mean and biased variance of y over n, h, w, `[2, cout]`, if wanted; overwritten.
    pub stats: Option<&'a mut [T]>,
    /// At least [`NormConvKernels::norm_conv_scratch`]`.0` elements.
    pub scratch: &'a mut [T],
}

/// Arguments of [`NormConvKernels::norm_conv_backward`].
#[derive(Debug)]
pub struct NormConvBackward<'a, T> {
    /// Forward input.
    pub x: &'a [T],
    /// The norm that x owes.
    pub affine: Option<Affine<'a, T>>,
    /// Weights.
    pub w: [&'a [T]; 2],
    /// Forward output.
    pub y: &'a [T],
    /// Gradient behind the output's norm.
    pub dz: &'a [T],
    /// How the output's own gradient follows.
    pub norm: NormGrad<'a, T>,
    /// Gradient of the input, if needed.
    pub dx: Option<InputGrad<'a, T>>,
    /// Gradients of the weights; the second is empty where there is only one.
    pub dw: [Grad<'a, T>; 2],
    /// At least [`NormConvKernels::norm_conv_scratch`]`.1` elements.
    pub scratch: &'a mut [T],
}

/// Gradient of an input, with or without a norm to go back through.
#[derive(Debug)]
pub enum InputGrad<'a, T> {
    /// Of x itself.
    Plain(Grad<'a, T>),
    /// Of x behind the norm that it owes.
    Affine(AffineGrad<'a, T>),
}

impl<'a, T> InputGrad<'a, T> {
    /// The gradient, and its sums if wanted.
    pub(crate) fn split(self) -> (Grad<'a, T>, Option<&'a mut [T]>) {
        match self {
            Self::Plain(dx) => (dx, None),
            Self::Affine(AffineGrad { dz, sums }) => (dz, sums),
        }
    }
}

/// y = convolution of ReLU(x * scale + shift), or of x.
pub trait NormConvKernels: Sized {
    /// Scratch elements that forward and backward want.
    fn norm_conv_scratch(layer: &NormConv) -> (usize, usize);
    /// Overwrites y and its statistics: a mean and a sum of squared deviations per image, merged in index order.
    fn norm_conv_forward(isa: Isa, layer: &NormConv, args: NormConvForward<'_, Self>);
    /// Gradients of x and of the weights.
    fn norm_conv_backward(isa: Isa, layer: &NormConv, args: NormConvBackward<'_, Self>);
}

/// Calls `$f::<Body>(body, ..)` with the body of a layer.
macro_rules! with_body {
    ($layer:expr, $f:ident($($arg:expr),*)) => {{
        let layer: &NormConv = $layer;
        let conv = one_image(layer);
        match layer.layer {
            ConvLayer::Conv3x3 if winograd_pays(&conv) => $f(Winograd(conv), $($arg),*),
            ConvLayer::Conv3x3 => $f(Direct(conv), $($arg),*),
            ConvLayer::DwPw => $f(DwPw(conv), $($arg),*),
            ConvLayer::Pointwise => $f(Pointwise(conv), $($arg),*),
        }
    }};
}

impl NormConvKernels for f32 {
    fn norm_conv_scratch(layer: &NormConv) -> (usize, usize) {
        with_body!(layer, scratch(layer))
    }

    fn norm_conv_forward(isa: Isa, layer: &NormConv, args: NormConvForward<'_, Self>) {
        check(layer, args.x, args.affine, args.w);
        assert_eq!(args.y.len(), layer.conv.y().len(), "norm_conv_forward: y");
        with_body!(layer, forward(isa, layer, args));
    }

    fn norm_conv_backward(isa: Isa, layer: &NormConv, args: NormConvBackward<'_, Self>) {
        check(layer, args.x, args.affine, args.w);
        let y = layer.conv.y();
        assert_eq!(args.y.len(), y.len(), "norm_conv_backward: y");
        assert_eq!(args.dz.len(), y.len(), "norm_conv_backward: dz");
        assert_eq!(args.norm.scale.len(), y.c, "norm_conv_backward: norm");
        with_body!(layer, backward(isa, layer, args));
    }
}

fn check(layer: &NormConv, x: &[f32], affine: Option<Affine<'_, f32>>, w: [&[f32]; 2]) {
    assert_eq!(x.len(), layer.conv.x.len(), "norm_conv: x");
    assert_eq!(affine.is_some(), layer.affine, "norm_conv: affine");
    assert_eq!(w.map(<[f32]>::len), layer.weights(), "norm_conv: w");
    if let Some(affine) = affine {
        affine.check(layer.conv.x.c);
    }
}

/// What a body convolves: one image, of only the pixels that a strided convolution reads.
fn one_image(layer: &NormConv) -> Conv {
    let Conv { x, cout, stride } = layer.conv;
    let x = if stride == 2 { x.halved() } else { x };
    Conv { x: Shape { n: 1, ..x }, cout, stride: 1 }
}

/// Elements of a slot's buffers, whole cache lines each.
fn lines<const N: usize>(lens: [usize; N]) -> [usize; N] {
    lens.map(|len| len.next_multiple_of(16))
}

/// Takes buffers off the front of `scratch`.
fn take<'a, const N: usize>(scratch: &mut &'a mut [f32], lens: [usize; N]) -> [&'a mut [f32]; N] {
    lens.map(|len| scratch.split_off_mut(..len).expect("norm_conv: scratch"))
}

/// Forward: the pixels read, their norm applied, the body's own.
fn forward_slot<B: ImageConv>(body: B, layer: &NormConv) -> [usize; 3] {
    let x = one_image(layer).x.len();
    let strided = layer.conv.stride == 2;
    lines([if strided { x } else { 0 }, if layer.affine { x } else { 0 }, body.work()[0]])
}

/// Backward: the same, then dy, and the gradient of what a strided convolution read.
fn backward_slot<B: ImageConv>(body: B, layer: &NormConv) -> [usize; 5] {
    let (x, y) = (one_image(layer).x.len(), layer.conv.y().image_len());
    let strided = if layer.conv.stride == 2 { x } else { 0 };
    lines([strided, if layer.affine { x } else { 0 }, body.work()[1], y, strided])
}

/// Images of a part of the backward pass, and parts.
fn cut(n: usize) -> (usize, usize) {
    let images = n.div_ceil(parts(n));
    (images, n.div_ceil(images))
}

fn scratch<B: ImageConv>(body: B, layer: &NormConv) -> (usize, usize) {
    let (n, x, cout) = (layer.conv.x.n, layer.conv.x, layer.conv.cout);
    let [packed_forward, packed_backward] = lines(body.packed());
    let (_, parts) = cut(n);
    let weights = layer.weights();
    let [measured] = lines([2 * n * cout]);
    let summed = lines([parts * weights[0], parts * weights[1], 2 * n * x.c]).iter().sum::<usize>();
    let forward = slots(n) * forward_slot(body, layer).iter().sum::<usize>();
    let backward = slots(parts) * backward_slot(body, layer).iter().sum::<usize>();
    (packed_forward + measured + forward, packed_backward + summed + backward)
}

/// Multiply-adds twice: whether the pass is worth several threads.
fn parallel(layer: &NormConv) -> bool {
    worth_threads(2 * layer.conv.y().pixels() * layer.weights().iter().sum::<usize>())
}

fn forward<B: ImageConv>(body: B, isa: Isa, layer: &NormConv, args: NormConvForward<'_, f32>) {
    let NormConvForward { x, affine, w, y, stats, mut scratch } = args;
    let (n, y_shape) = (layer.conv.x.n, layer.conv.y());
    let [packed] = take(&mut scratch, [lines(body.packed())[0]]);
    body.pack_forward(isa, w, packed);
    let packed = &*packed;
    let slot = forward_slot(body, layer);
    let len = slot.iter().sum::<usize>();
    let (image_x, image_y) = (layer.conv.x.image_len(), y_shape.image_len());
    let measured = if stats.is_some() { 2 * y_shape.c } else { 0 };
    let [sums] = take(&mut scratch, lines([n * measured]));
    let sums = &mut sums[..n * measured];
    let work = Slots::new(scratch, len);
    let buffers = [(y, image_y), (&mut *sums, measured)];
    for_chunks(0..n, parallel(layer), buffers, &|i, [y, sums]| {
        let x = &x[i * image_x..];
        work.with(|work| Forward { isa, body, layer, slot, x, affine, w, packed, y, sums }.run(work));
    });
    if let Some(stats) = stats {
        isa.run(Merge { c: y_shape.c, count: y_shape.h * y_shape.w, slots: sums, stats });
    }
}

/// Copies the pixels that a strided convolution reads.
#[inline(always)]
fn gather(shape: Shape, x: &[f32], to: &mut [f32]) {
    let rows = x.chunks_exact(shape.w * shape.c).step_by(2);
    let pixels = rows.flat_map(|row| row.chunks_exact(shape.c).step_by(2));
    pixels.zip(to.chunks_exact_mut(shape.c)).for_each(|(from, to)| to.copy_from_slice(from));
}

/// The way back: the pixels between get 0 in mode `Set`.
#[inline(always)]
fn scatter(shape: Shape, from: &[f32], x: &mut [f32], mode: Mode) {
    if mode == Mode::Set {
        x.fill(0.0);
    }
    let rows = x.chunks_exact_mut(shape.w * shape.c).step_by(2);
    let pixels = rows.flat_map(|row| row.chunks_exact_mut(shape.c).step_by(2));
    for (from, to) in from.chunks_exact(shape.c).zip(pixels) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    }
}

/// One image of the forward pass. Every stage is a kernel of its own: inlined into one, the convolutions of some
/// instances lost a third of their speed to spilled registers.
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

fn backward<B: ImageConv>(body: B, isa: Isa, layer: &NormConv, args: NormConvBackward<'_, f32>) {
    let NormConvBackward { x, affine, w, y, dz, norm, dx, dw, mut scratch } = args;
    let (n, cin) = (layer.conv.x.n, layer.conv.x.c);
    let [packed] = take(&mut scratch, [lines(body.packed())[1]]);
    body.pack_backward(isa, w, packed);
    let packed = &*packed;
    let slot = backward_slot(body, layer);
    let len = slot.iter().sum::<usize>();
    let (images, parts) = cut(n);
    let weights = layer.weights();
    let [dw0, dw1, sums_slots] =
        take(&mut scratch, lines([parts * weights[0], parts * weights[1], 2 * n * cin]));
    let (dw0, dw1) = (&mut dw0[..parts * weights[0]], &mut dw1[..parts * weights[1]]);
    let work = Slots::new(scratch, len);
    let (dx, sums) = dx.map(InputGrad::split).unzip();
    let (image_x, image_y) = (layer.conv.x.image_len(), layer.conv.y().image_len());
    assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == n * image_x), "norm_conv_backward: dx");
    let dx_mode = dx.as_ref().map(|dx| dx.mode);
    let (dx, dx_image): (&mut [f32], _) = dx.map_or((&mut [], 0), |dx| (dx.to, image_x));
    let sums = sums.flatten();
    let summed = if sums.is_some() { 2 * cin } else { 0 };
    let sums_slots = &mut sums_slots[..n * summed];
    let buffers = [
        (dx, images * dx_image),
        (&mut *sums_slots, images * summed),
        (&mut *dw0, weights[0]),
        (&mut *dw1, weights[1]),
    ];
    for_chunks(0..parts, parallel(layer), buffers, &|part, [dx, sums, dw0, dw1]| {
        let first = part * images;
        let n = images.min(n - first);
        let at = first * image_y..(first + n) * image_y;
        let (x, y, dz) = (&x[first * image_x..], &y[at.start..], &dz[at.start..]);
        let dx = dx_mode.map(|mode| (dx, mode));
        let (read, grads) = (Read { x, affine, w, packed, y, dz, norm }, Grads { dx, sums, dw: [dw0, dw1] });
        work.with(|work| Backward { isa, body, layer, slot, images: n, read, grads }.run(work));
    });
    if let Some(sums) = sums {
        combine(isa, sums_slots, sums, Mode::Set);
    }
    for (grad, sums) in dw.into_iter().zip([dw0, dw1]) {
        if !grad.to.is_empty() {
            combine(isa, sums, grad.to, grad.mode);
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
