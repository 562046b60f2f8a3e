use crate::*;

impl LinearKernels for f64 {
    fn matmul_nt_forward(isa: Isa, k: usize, a: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }

    fn matmul_nt_backward(
        isa: Isa,
        k: usize,
        a: &[Self],
        b: &[Self],
        dy: &[Self],
        da: Option<Grad<'_, Self>>,
        db: Option<Grad<'_, Self>>,
    ) {
        unimplemented!()
    }
    fn l2_normalize_forward(isa: Isa, k: usize, x: &[Self], y: &mut [Self], norms: &mut [Self]) {
        unimplemented!()
    }
    fn l2_normalize_backward(
        isa: Isa,
        k: usize,
        y: &[Self],
        norms: &[Self],
        dy: &[Self],
        dx: Grad<'_, Self>,
    ) {
        unimplemented!()
    }
}
