//! Depthwise 3x3 convolution, stride 1, padding 1.

use crate::{ConvBackward, Isa, Shape};

/// y[n,h,w,c] = sum over taps (i, j) of x[n, h+i-1, w+j-1, c] * w[i, j, c]. Weights are `[3, 3, c]`; `shape`
/// is that of x and y.
pub trait DwConvKernels: Sized {
    /// Scratch elements that [`Self::dwconv_backward`] wants.
    fn dwconv_backward_scratch(shape: Shape) -> usize;
    /// Overwrites `y`.
    fn dwconv_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]);
    /// Gradients of x and w.
    fn dwconv_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>);
}

impl DwConvKernels for f32 {
    fn dwconv_backward_scratch(shape: Shape) -> usize {
        unimplemented!()
    }
    fn dwconv_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn dwconv_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>) {
        unimplemented!()
    }
}
