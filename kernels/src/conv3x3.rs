//! Standard 3x3 convolution, stride 1, padding 1.

use crate::{Conv, ConvBackward, Isa};

/// y[n,h,w,o] = sum over taps (i, j) and channels c of x[n, h+i-1, w+j-1, c] * w[i, j, c, o]; outside the map
/// x is 0. Weights are `[3, 3, cin, cout]`.
pub trait Conv3x3Kernels: Sized {
    /// Scratch elements that [`Self::conv3x3_forward`] wants.
    fn conv3x3_forward_scratch(conv: &Conv) -> usize;
    /// Scratch elements that [`Self::conv3x3_backward`] wants.
    fn conv3x3_backward_scratch(conv: &Conv) -> usize;
    /// Overwrites `y`.
    fn conv3x3_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]);
    /// Gradients of x and w.
    fn conv3x3_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>);
}

impl Conv3x3Kernels for f32 {
    fn conv3x3_forward_scratch(conv: &Conv) -> usize {
        unimplemented!()
    }
    fn conv3x3_backward_scratch(conv: &Conv) -> usize {
        unimplemented!()
    }
    fn conv3x3_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]) {
        unimplemented!()
    }
    fn conv3x3_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        unimplemented!()
    }
}
