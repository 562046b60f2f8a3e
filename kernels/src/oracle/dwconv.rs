use crate::*;

impl DwConvKernels for f64 {
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
