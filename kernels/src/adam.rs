//! Adam (Kingma and Ba 2015, algorithm 1) over all parameters in one pass.

use crate::lanes::{SERIAL, load, store};
use crate::simd::LANES;
use crate::{Isa, Kernel, Simd};
use rayon::prelude::*;

/// Constants of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment, 0.9.
    pub beta1: f64,
    /// Decay of the second moment, 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment, 1e-8.
    pub eps: f64,
    /// Number of this step, from 1: for the bias correction.
    pub step: u64,
}

/// m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g^2;
/// w -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps): the bias corrections folded into two
/// scalars, as PyTorch does.
pub trait AdamKernels: Sized {
    /// Updates w, m and v in place from the gradient g; all of one length.
    fn adam_step(isa: Isa, adam: &Adam, g: &[Self], w: &mut [Self], m: &mut [Self], v: &mut [Self]);
}

impl AdamKernels for f32 {
    fn adam_step(isa: Isa, adam: &Adam, g: &[Self], w: &mut [Self], m: &mut [Self], v: &mut [Self]) {
        assert_eq!(w.len(), g.len(), "w and g differ in length");
        assert_eq!(m.len(), g.len(), "m and g differ in length");
        assert_eq!(v.len(), g.len(), "v and g differ in length");
        let t = adam.step as f64;
        let constants = Constants {
            beta1: adam.beta1 as f32,
            rest1: (1.0 - adam.beta1) as f32,
            beta2: adam.beta2 as f32,
            rest2: (1.0 - adam.beta2) as f32,
            step: (adam.lr / (1.0 - adam.beta1.powf(t))) as f32,
            root: (1.0 / (1.0 - adam.beta2.powf(t)).sqrt()) as f32,
            eps: adam.eps as f32,
        };
        w.par_chunks_mut(SERIAL)
            .zip(m.par_chunks_mut(SERIAL))
            .zip(v.par_chunks_mut(SERIAL))
            .zip(g.par_chunks(SERIAL))
            .for_each(|(((w, m), v), g)| isa.run(Step { constants, g, w, m, v }));
    }
}

#[derive(Clone, Copy)]
struct Constants {
    beta1: f32,
    /// 1 - beta1, rounded once from f64.
    rest1: f32,
    beta2: f32,
    rest2: f32,
    /// lr / (1 - beta1^t).
    step: f32,
    /// 1 / sqrt(1 - beta2^t).
    root: f32,
    eps: f32,
}

struct Step<'a> {
    constants: Constants,
    g: &'a [f32],
    w: &'a mut [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { constants, g, w, m, v } = self;
        let state = w.chunks_mut(LANES).zip(m.chunks_mut(LANES)).zip(v.chunks_mut(LANES));
        for (((w, m), v), g) in state.zip(g.chunks(LANES)) {
            step_vector(s, &constants, g, w, m, v);
        }
    }
}

#[inline(always)]
fn step_vector<S: Simd>(s: S, k: &Constants, g: &[f32], w: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    let [g] = load::<S, 1>(s, g);
    let ([w0], [m0], [v0]) = (load::<S, 1>(s, w), load::<S, 1>(s, m), load::<S, 1>(s, v));
    let m1 = s.mul_add(m0, s.splat(k.beta1), s.mul(g, s.splat(k.rest1)));
    let v1 = s.mul_add(v0, s.splat(k.beta2), s.mul(s.mul(g, g), s.splat(k.rest2)));
    let root = s.mul_add(s.sqrt(v1), s.splat(k.root), s.splat(k.eps));
    let w1 = s.sub(w0, s.div(s.mul(m1, s.splat(k.step)), root));
    store(s, [w1], w);
    store(s, [m1], m);
    store(s, [v1], v);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_learning_rate() {
        let adam = Adam { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1 };
        for isa in Isa::available() {
            let (mut w, mut m, mut v) = ([1.0; 10], [0.0; 10], [0.0; 10]);
            let g = [5.0, -5.0, 0.01, -0.01, 300.0, 5.0, 5.0, 5.0, -7.0, 0.0];
            f32::adam_step(isa, &adam, &g, &mut w, &mut m, &mut v);
            for (w, g) in w.iter().zip(g) {
                let wanted = if g == 0.0 { 1.0 } else { 1.0 - 0.1 * g.signum() };
                assert!((w - wanted).abs() < 1e-5, "{w} for gradient {g}");
            }
        }
    }
}
