//! 7x7 convolution from two channels to one, stride 1, padding 3: CBAM's spatial attention (CBAM, eq. 3).

use crate::{ConvBackward, Isa, Shape};

/// y[n,h,w] = sum over taps (i, j) and c in 0..2 of x[n, h+i-3, w+j-3, c] * w[i, j, c]. `x` is
/// `[n, h, w, 2]`, weights `[7, 7, 2]`, y `[n, h, w, 1]`. `shape` is x's.
pub trait Conv7x7Kernels: Sized {
    /// Scratch elements that [`Self::conv7x7_backward`] wants.
    fn conv7x7_backward_scratch(shape: Shape) -> usize;
    /// Overwrites `y`.
    fn conv7x7_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]);
    /// Gradients of x and w.
    fn conv7x7_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>);
}

impl Conv7x7Kernels for f32 {
    fn conv7x7_backward_scratch(shape: Shape) -> usize {
        unimplemented!()
    }
    fn conv7x7_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn conv7x7_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>) {
        unimplemented!()
    }
}
