use crate::*;

impl ElementwiseKernels for f64 {
    fn relu_forward(isa: Isa, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn relu_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn sigmoid_forward(isa: Isa, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn sigmoid_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn add_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn add_backward(isa: Isa, dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn add_relu_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn bias_forward(isa: Isa, x: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn bias_backward(isa: Isa, dy: &[Self], db: Grad<'_, Self>) {
        unimplemented!()
    }
}
