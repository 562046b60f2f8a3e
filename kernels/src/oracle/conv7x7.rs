use crate::*;

impl Conv7x7Kernels for f64 {
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
