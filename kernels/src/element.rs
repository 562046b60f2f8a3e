//! The two number types that the engine runs in.

use crate::*;
use bytemuck::Pod;
use std::fmt::Debug;

/// A number type with all kernels: `f32` on SIMD, `f64` on the oracle.
pub trait Element:
    Copy
    + Default
    + Pod
    + PartialOrd
    + Debug
    + Send
    + Sync
    + 'static
    + Conv3x3Kernels
    + WinogradKernels
    + Conv7x7Kernels
    + PointwiseKernels
    + DwConvKernels
    + DwPwKernels
    + NormKernels
    + AffineKernels
    + NormConvKernels
    + ResidualKernels
    + PoolKernels
    + AttentionKernels
    + ElementwiseKernels
    + FoldedKernels
    + StemKernels
    + LinearKernels
    + LossKernels
    + SvmKernels
    + SoftCrossEntropyKernels
    + AdamKernels
    + SgdKernels
{
    /// Rounds to this type.
    fn from_f64(x: f64) -> Self;
    /// Widens, without loss.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Element for f64 {
    fn from_f64(x: f64) -> Self {
        x
    }
    fn to_f64(self) -> f64 {
        self
    }
}
