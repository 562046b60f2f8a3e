//! Convolutions with batch norm at both ends, a few rows at a time while they are in cache: what the reader of a
//! normalised value does ([`Affine`]), the convolution, and the statistics of its result. Backward likewise: the
//! gradient through the norm behind, the convolution's gradients, the sums of the norm in front. Apart, each norm
//! streams three activations through memory forward and five backward.

mod backward;
mod bodies;
mod forward;

use crate::gemm::worth_threads;
use crate::norm::{Affine, AffineGrad, NormGrad};
use crate::reduce::pairs;
use crate::slots::slots;
use crate::{Conv, Grad, Isa, Mode, Shape, winograd_pays};
use backward::backward;
use bodies::{Direct, DwPw, ImageConv, Pointwise, Winograd};
use forward::forward;

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

    /// Whether this is faster than the convolution and the norms apart: not where the weights are so large that the
    /// partial sums of their gradient (sixteen at batch 32, over 1 MB) cost more than the norms' passes over small maps.
    pub fn pays(&self) -> bool {
        self.weights().iter().sum::<usize>() <= 140 * 140
    }
}

/// Arguments of [`NormConvKernels::norm_conv_forward`]; x is `[n, h, w, cin]`, y `[n, h', w', cout]`: [`Conv::y`].
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

/// Arguments of [`NormConvKernels::norm_conv_backward`]; x is `[n, h, w, cin]`, y and dz are `[n, h', w', cout]`.
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
    /// Overwrites y and its statistics: those of each image, merged along the tree over images.
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

fn scratch<B: ImageConv>(body: B, layer: &NormConv) -> (usize, usize) {
    let (n, x, cout) = (layer.conv.x.n, layer.conv.x, layer.conv.cout);
    let [packed_forward, packed_backward] = lines(body.packed());
    let parts = pairs(n);
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
