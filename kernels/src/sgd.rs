//! Stochastic gradient descent with Nesterov momentum over all parameters in one pass.

use crate::lanes::{SERIAL, load, store};
use crate::simd::LANES;
use crate::{Isa, Kernel, Simd};
use rayon::prelude::*;

/// Constants of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Momentum, 0.9.
    pub momentum: f64,
}

/// m = momentum * m + g; w -= lr * (g + momentum * m): Nesterov's momentum (Sutskever et al. 2013, section 2) in the
/// form that PyTorch gives it, in which the weights stand where the gradient is taken.
pub trait SgdKernels: Sized {
    /// Updates w and m in place from the gradient g; all of one length.
    fn sgd_step(isa: Isa, sgd: &Sgd, g: &[Self], w: &mut [Self], m: &mut [Self]);
}

impl SgdKernels for f32 {
    fn sgd_step(isa: Isa, sgd: &Sgd, g: &[Self], w: &mut [Self], m: &mut [Self]) {
        assert_eq!(w.len(), g.len(), "w and g differ in length");
        assert_eq!(m.len(), g.len(), "m and g differ in length");
        let (lr, momentum) = (sgd.lr as f32, sgd.momentum as f32);
        w.par_chunks_mut(SERIAL)
            .zip(m.par_chunks_mut(SERIAL))
            .zip(g.par_chunks(SERIAL))
            .for_each(|((w, m), g)| isa.run(Step { lr, momentum, g, w, m }));
    }
}

struct Step<'a> {
    lr: f32,
    momentum: f32,
    g: &'a [f32],
    w: &'a mut [f32],
    m: &'a mut [f32],
}

impl Kernel for Step<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { lr, momentum, g, w, m } = self;
        let (lr, momentum) = (s.splat(lr), s.splat(momentum));
        for ((w, m), g) in w.chunks_mut(LANES).zip(m.chunks_mut(LANES)).zip(g.chunks(LANES)) {
            let ([g], [w0], [m0]) = (load::<S, 1>(s, g), load::<S, 1>(s, w), load::<S, 1>(s, m));
            let m1 = s.mul_add(m0, momentum, g);
            let w1 = s.sub(w0, s.mul(lr, s.mul_add(m1, momentum, g)));
            store(s, [w1], w);
            store(s, [m1], m);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torch.optim.SGD([w], lr=0.5, momentum=0.5, nesterov=True) with gradients 2 and then 4, by hand: the momentum is
    /// 2 and then 5, the steps 0.5 * (2 + 1) and 0.5 * (4 + 2.5).
    #[test]
    fn two_steps_by_hand() {
        let sgd = Sgd { lr: 0.5, momentum: 0.5 };
        for isa in Isa::available() {
            let (mut w, mut m) = ([8.0; 10], [0.0; 10]);
            f32::sgd_step(isa, &sgd, &[2.0; 10], &mut w, &mut m);
            assert_eq!((w, m), ([6.5; 10], [2.0; 10]));
            f32::sgd_step(isa, &sgd, &[4.0; 10], &mut w, &mut m);
            assert_eq!((w, m), ([3.25; 10], [5.0; 10]));
        }
    }
}
