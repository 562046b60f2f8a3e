use crate::*;

impl PoolKernels for f64 {
    fn max_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self], index: &mut [u8]) {
        unimplemented!()
    }
    fn max_pool_backward(isa: Isa, shape: Shape, index: &[u8], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn global_avg_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn global_avg_backward(isa: Isa, shape: Shape, dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn global_max_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn global_max_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
}
