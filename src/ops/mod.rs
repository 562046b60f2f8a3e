//! Operations: one file each, with its shape rule, forward, backward and test.
//!
//! To add one: a struct that holds the geometry, [`Operation::spec`] for the plan, [`Run`] for forward and
//! backward in any [`Element`], a method on [`Graph`](crate::Graph) that checks the operands and pushes it, and a
//! gradient check beside it (`crate::gradcheck::assert_suite`). Operations of inference have no backward pass
//! and say so ([`Spec::forward_only`]).

mod add;
mod add_relu;
mod batch_norm;
mod bias;
mod channel_pool;
mod conv3x3;
mod conv7x7;
mod dw_pw;
mod dwconv;
mod flatten;
mod folded;
mod global_avg;
mod global_max;
mod l2_normalize;
mod l2_svm;
mod margin_softmax;
mod matmul_nt;
mod max_pool;
mod norm_conv;
mod normed;
mod pointwise;
mod read;
mod relu;
mod residual;
mod scale_channels;
mod scale_pixels;
mod sigmoid;
mod soft_cross_entropy;

use crate::gradcheck::Suite;
pub use crate::graph::Operands;
use crate::parallel::Batch;
pub(crate) use batch_norm::EPS as NORM_EPS;
pub use batch_norm::NormParams;
use moue_kernels::{ConvBackward, Element, Grad, Isa, Shape};
pub use norm_conv::Operand;
use std::fmt::Debug;

/// Most input variables of an operation.
pub const MAX_INPUTS: usize = 2;
/// Most parameters of an operation.
pub const MAX_PARAMS: usize = 4;
/// Most running buffers of an operation.
pub const MAX_BUFFERS: usize = 2;

/// The gradient checks of every operation.
pub(crate) fn checks(suite: &mut Suite) {
    add::checks(suite);
    add_relu::checks(suite);
    batch_norm::checks(suite);
    bias::checks(suite);
    channel_pool::checks(suite);
    conv3x3::checks(suite);
    conv7x7::checks(suite);
    dw_pw::checks(suite);
    dwconv::checks(suite);
    flatten::checks(suite);
    global_avg::checks(suite);
    global_max::checks(suite);
    l2_normalize::checks(suite);
    l2_svm::checks(suite);
    margin_softmax::checks(suite);
    matmul_nt::checks(suite);
    max_pool::checks(suite);
    norm_conv::checks(suite);
    pointwise::checks(suite);
    read::checks(suite);
    relu::checks(suite);
    residual::checks(suite);
    scale_channels::checks(suite);
    scale_pixels::checks(suite);
    sigmoid::checks(suite);
    soft_cross_entropy::checks(suite);
}

/// What the plan must know of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Name in profiles and messages.
    pub name: &'static str,
    /// Shape of the result.
    pub shape: Shape,
    /// Whether backward reads the inputs.
    pub reads_x: bool,
    /// Whether backward reads the result.
    pub reads_y: bool,
    /// Elements behind the result and behind its gradient: what its readers must know besides (see
    /// [`Operand`]).
    pub extra: usize,
    /// Elements that forward leaves for backward.
    pub aux: usize,
    /// Bytes that forward leaves for backward (pooling indices).
    pub index: usize,
    /// Multiply-adds of the forward pass; only those of convolutions and matrix products count.
    pub macs: u64,
    /// Terms that are summed one after the other on the way of a gradient, each of which may be a rounding in f32: of
    /// an element of the result, of an input's gradient and of a parameter's, the longest sum of each.
    pub terms: usize,
    /// What each parameter's gradient is a sum over.
    pub gradients: [Gradient; MAX_PARAMS],
    /// For inference only: [`Graph::compile`](crate::Graph::compile) refuses it, so that backward is never called.
    pub forward_only: bool,
}

impl Spec {
    /// An operation whose backward reads only the gradient; change what differs.
    pub fn new(name: &'static str, shape: Shape) -> Self {
        Self {
            name,
            shape,
            reads_x: false,
            reads_y: false,
            extra: 0,
            aux: 0,
            index: 0,
            macs: 0,
            terms: 0,
            gradients: [Gradient::Images; MAX_PARAMS],
            forward_only: false,
        }
    }
}

/// What a parameter's gradient is a sum over, where the images at hand are a part of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// The images at hand.
    Images,
    /// What batch norms measure over: `Batch::measured`.
    Measured,
    /// The batch: it follows from gradients that are.
    Batch,
}

/// Scratch elements of the two passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scratch {
    /// In forward.
    pub forward: usize,
    /// In backward.
    pub backward: usize,
}

/// Buffers of a forward pass. All that is written may hold garbage before.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// Instruction set.
    pub isa: Isa,
    /// Inputs; empty beyond those recorded.
    pub x: [&'a [T]; MAX_INPUTS],
    /// Parameters.
    pub w: [&'a [T]; MAX_PARAMS],
    /// Running buffers.
    pub buffers: [&'a mut [T]; MAX_BUFFERS],
    /// Class indices.
    pub labels: &'a [u32],
    /// The batch that the images at hand are a part of.
    pub batch: Batch<'a>,
    /// The result.
    pub y: &'a mut [T],
    /// Left for backward.
    pub aux: &'a mut [T],
    /// Left for backward.
    pub index: &'a mut [u8],
    /// For this call alone.
    pub scratch: &'a mut [T],
}

/// Buffers of a backward pass.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// Instruction set.
    pub isa: Isa,
    /// Inputs, if [`Spec::reads_x`].
    pub x: [&'a [T]; MAX_INPUTS],
    /// Parameters.
    pub w: [&'a [T]; MAX_PARAMS],
    /// Running buffers.
    pub buffers: [&'a [T]; MAX_BUFFERS],
    /// Class indices.
    pub labels: &'a [u32],
    /// The batch that the images at hand are a part of.
    pub batch: Batch<'a>,
    /// The result, if [`Spec::reads_y`].
    pub y: &'a [T],
    /// What forward left.
    pub aux: &'a [T],
    /// What forward left.
    pub index: &'a [u8],
    /// Gradient of the result.
    pub dy: &'a [T],
    /// Gradients of the inputs; `None` where nobody needs one.
    pub dx: [Option<Grad<'a, T>>; MAX_INPUTS],
    /// Whether each of them is complete with this operation: nobody adds to it later.
    pub dx_last: [bool; MAX_INPUTS],
    /// Gradients of the parameters; `None` beyond those recorded.
    pub dw: [Option<Grad<'a, T>>; MAX_PARAMS],
    /// For this call alone.
    pub scratch: &'a mut [T],
}

impl<'a, T> Backward<'a, T> {
    /// The arguments of a convolution: one input, one weight.
    fn into_conv(self) -> ConvBackward<'a, T> {
        let [dx, _] = self.dx;
        let [dw, ..] = self.dw;
        let dw = dw.expect("a convolution has weights");
        ConvBackward { x: self.x[0], w: self.w[0], dy: self.dy, dx, dw, scratch: self.scratch }
    }
}

/// An operation in one number type.
pub trait Run<T> {
    /// Scratch that the calls below want.
    fn scratch(&self) -> Scratch {
        Scratch::default()
    }
    /// Computes `y`.
    fn forward(&self, io: Forward<'_, T>);
    /// Computes every wanted gradient.
    fn backward(&self, io: Backward<'_, T>);
}

/// An operation in both number types.
pub trait Operation: Run<f32> + Run<f64> + Debug + Send + Sync {
    /// What the plan must know.
    fn spec(&self) -> Spec;
}

/// A number type that plans run in.
pub trait Real: Element {
    /// The operation in this type.
    fn runner(op: &dyn Operation) -> &dyn Run<Self>;
}

impl Real for f32 {
    fn runner(op: &dyn Operation) -> &dyn Run<f32> {
        op
    }
}

impl Real for f64 {
    fn runner(op: &dyn Operation) -> &dyn Run<f64> {
        op
    }
}
