//! Kernels of moue: what the engine's operations do to plain slices.
//!
//! Every kernel is a method of a small trait that [`Element`] gathers. It exists twice: for `f32` as one
//! generic SIMD body run on the chosen [`Isa`], and for `f64` as a scalar twin without cleverness (module
//! [`oracle`]), which the parity tests and the gradient checks take as the truth.
//!
//! All activations are contiguous NHWC. The caller owns every buffer, and the `*_scratch` functions tell how much
//! scratch a call wants; scratch and outputs may hold garbage on entry. For `f32`, kernels never allocate, and lengths
//! are asserted once at entry; a twin allocates where that is plainer, and expects lengths that fit. Parallel splits
//! depend on shapes only and partial sums are combined along a fixed tree ([`reduce`]), so results are the same bits at
//! any number of threads.

mod adam;
mod attention;
mod columns;
mod conv3x3;
mod conv7x7;
mod dw_pw;
mod dwconv;
mod element;
mod elementwise;
mod epilogue;
mod folded;
mod gemm;
mod lanes;
mod linear;
mod loss;
mod norm;
mod norm_conv;
pub mod oracle;
pub mod peak;
mod pointwise;
mod pool;
pub mod reduce;
pub mod registry;
mod residual;
mod rows;
mod sgd;
mod shape;
mod simd;
mod slots;
mod soft_cross_entropy;
mod stem;
mod svm;
mod token;
mod window;
mod winograd;

pub use adam::{Adam, AdamKernels};
pub use attention::AttentionKernels;
pub use conv3x3::Conv3x3Kernels;
pub use conv7x7::Conv7x7Kernels;
pub use dw_pw::{DwPwBackward, DwPwKernels};
pub use dwconv::DwConvKernels;
pub use element::Element;
pub use elementwise::ElementwiseKernels;
pub use folded::{Folded, FoldedKernels, FoldedKind};
pub use linear::LinearKernels;
pub use loss::{LossKernels, MarginSoftmax};
pub use norm::{
    Affine, AffineGrad, AffineKernels, BatchNorm, BatchNormBackward, NormChannels, NormGrad, NormKernels,
};
pub use norm_conv::{ConvLayer, InputGrad, NormConv, NormConvBackward, NormConvForward, NormConvKernels};
pub use pointwise::PointwiseKernels;
pub use pool::PoolKernels;
pub use residual::{Branch, ResidualBackward, ResidualKernels};
pub use sgd::{Sgd, SgdKernels};
pub use shape::{Conv, ConvBackward, Grad, Mode, Shape};
pub use simd::Simd;
pub use soft_cross_entropy::SoftCrossEntropyKernels;
pub use stem::StemKernels;
pub use svm::SvmKernels;
pub use token::{Isa, Kernel};
pub use winograd::{WinogradKernels, winograd_pays};
