use crate::*;

impl Conv3x3Kernels for f64 {
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
