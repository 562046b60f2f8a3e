//! Adam.

use crate::params::Params;
use moue_kernels::{Adam as Constants, Element, Isa};

/// Adam (Kingma and Ba 2015) with its moments, flat like the parameters.
#[derive(Clone, Debug)]
pub struct Adam<T = f32> {
    constants: Constants,
    m: Vec<T>,
    v: Vec<T>,
    isa: Isa,
}

impl<T: Element> Adam<T> {
    /// Decays 0.9 and 0.999, eps 1e-8, as in the paper's section 2.
    pub fn new(params: &Params<T>, lr: f64, isa: Isa) -> Self {
        let zeros = vec![T::default(); params.values.len()];
        let constants = Constants { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 0 };
        Self { constants, m: zeros.clone(), v: zeros, isa }
    }

    /// Moves the parameters against their gradients.
    ///
    /// # Panics
    /// If `params` are others than it was made for.
    pub fn step(&mut self, params: &mut Params<T>) {
        assert_eq!(params.values.len(), self.m.len(), "parameters of another graph");
        self.constants.step += 1;
        T::adam_step(self.isa, &self.constants, &params.grads, &mut params.values, &mut self.m, &mut self.v);
    }

    /// Learning rate.
    pub fn lr(&self) -> f64 {
        self.constants.lr
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.constants.lr = lr;
    }

    /// Steps taken, first moments, second moments: what a checkpoint stores.
    pub fn state(&self) -> (u64, &[T], &[T]) {
        (self.constants.step, &self.m, &self.v)
    }

    /// Continues from a checkpoint's state; `false` if the moments have another length.
    #[must_use]
    pub fn restore(&mut self, step: u64, m: &[T], v: &[T]) -> bool {
        let fits = m.len() == self.m.len() && v.len() == self.v.len();
        if fits {
            self.constants.step = step;
            self.m.copy_from_slice(m);
            self.v.copy_from_slice(v);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Init, Phase, Rng};

    /// From 0, a gradient of 2: a tenth of it, and a thousandth of its square. Checkpoints name them.
    #[test]
    fn state_is_first_and_second_moment() {
        let mut g = Graph::new(Phase::Train);
        let w = g.param("w", &[1, 1], Init::Constant(1.0));
        g.read(w);
        let mut params: Params<f64> = g.init_params(&mut Rng::new(0)).cast();
        params.grads.fill(2.0);
        let mut adam = Adam::new(&params, 0.1, Isa::fastest());
        adam.step(&mut params);
        let (step, m, v) = adam.state();
        assert_eq!(step, 1);
        assert!((m[0] - 0.2).abs() < 1e-12 && (v[0] - 0.004).abs() < 1e-12, "{m:?} {v:?}");
    }
}
