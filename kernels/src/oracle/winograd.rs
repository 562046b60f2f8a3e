use crate::*;

/// The direct convolution: what Winograd's must be equal to.
impl WinogradKernels for f64 {
    fn winograd_forward_scratch(conv: &Conv) -> usize {
        Self::conv3x3_forward_scratch(conv)
    }
    fn winograd_backward_scratch(conv: &Conv) -> usize {
        Self::conv3x3_backward_scratch(conv)
    }

    fn winograd_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]) {
        Self::conv3x3_forward(isa, conv, x, w, y, scratch);
    }

    fn winograd_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        Self::conv3x3_backward(isa, conv, args);
    }
}
