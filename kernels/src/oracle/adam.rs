use crate::*;

impl AdamKernels for f64 {
    fn adam_step(_: Isa, adam: &Adam, g: &[Self], w: &mut [Self], m: &mut [Self], v: &mut [Self]) {
        let Adam { lr, beta1, beta2, eps, step } = *adam;
        let t = step as f64;
        for i in 0..g.len() {
            m[i] = beta1 * m[i] + (1.0 - beta1) * g[i];
            v[i] = beta2 * v[i] + (1.0 - beta2) * g[i] * g[i];
            let m_hat = m[i] / (1.0 - beta1.powf(t));
            let v_hat = v[i] / (1.0 - beta2.powf(t));
            w[i] -= lr * m_hat / (v_hat.sqrt() + eps);
        }
    }
}
