use crate::*;

impl SgdKernels for f64 {
    fn sgd_step(_: Isa, sgd: &Sgd, g: &[Self], w: &mut [Self], m: &mut [Self]) {
        for i in 0..g.len() {
            m[i] = sgd.momentum * m[i] + g[i];
            w[i] -= sgd.lr * (g[i] + sgd.momentum * m[i]);
        }
    }
}
