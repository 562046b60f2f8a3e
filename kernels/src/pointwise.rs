//! 1x1 convolution with stride 1 or 2; also the matrix product of a linear layer.

use crate::{Conv, ConvBackward, Isa};

/// y[n,h,w,o] = sum over c of x[n, s*h, s*w, c] * w[c, o], s the stride. Weights are `[cin, cout]`. A linear
/// layer is the case of a 1x1 map.
pub trait PointwiseKernels: Sized {
    /// Scratch elements that [`Self::pointwise_forward`] wants.
    fn pointwise_forward_scratch(conv: &Conv) -> usize;
    /// Scratch elements that [`Self::pointwise_backward`] wants.
    fn pointwise_backward_scratch(conv: &Conv) -> usize;
    /// Overwrites `y`.
    fn pointwise_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]);
    /// Gradients of x and w. With stride 2 the pixels of dx that no output read get 0 (in mode `Set`).
    fn pointwise_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>);
}

impl PointwiseKernels for f32 {
    fn pointwise_forward_scratch(conv: &Conv) -> usize {
        unimplemented!()
    }
    fn pointwise_backward_scratch(conv: &Conv) -> usize {
        unimplemented!()
    }
    fn pointwise_forward(
        isa: Isa,
        conv: &Conv,
        x: &[Self],
        w: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        unimplemented!()
    }
    fn pointwise_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        unimplemented!()
    }
}
