use crate::*;

impl PointwiseKernels for f64 {
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
