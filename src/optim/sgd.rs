//! Stochastic gradient descent.

use crate::params::Params;
use moue_kernels::{Element, Isa, Sgd as Constants};

/// Stochastic gradient descent with Nesterov's momentum (Sutskever et al. 2013, section 2), flat like the parameters.
#[derive(Clone, Debug)]
pub struct Sgd<T = f32> {
    constants: Constants,
    momentum: Vec<T>,
    steps: u64,
    isa: Isa,
}

impl<T: Element> Sgd<T> {
    /// Momentum 0.9.
    pub fn new(params: &Params<T>, lr: f64, isa: Isa) -> Self {
        let momentum = vec![T::default(); params.values.len()];
        Self { constants: Constants { lr, momentum: 0.9 }, momentum, steps: 0, isa }
    }

    /// Moves the parameters against their gradients.
    ///
    /// # Panics
    /// If `params` are others than it was made for.
    pub fn step(&mut self, params: &mut Params<T>) {
        assert_eq!(params.values.len(), self.momentum.len(), "parameters of another graph");
        self.steps += 1;
        T::sgd_step(self.isa, &self.constants, &params.grads, &mut params.values, &mut self.momentum);
    }

    /// Learning rate.
    pub fn lr(&self) -> f64 {
        self.constants.lr
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.constants.lr = lr;
    }

    /// Steps taken and momentum: what a checkpoint stores.
    pub fn state(&self) -> (u64, &[T]) {
        (self.steps, &self.momentum)
    }

    /// Continues from a checkpoint's state; `false` if the momentum has another length.
    #[must_use]
    pub fn restore(&mut self, steps: u64, momentum: &[T]) -> bool {
        let fits = momentum.len() == self.momentum.len();
        if fits {
            self.steps = steps;
            self.momentum.copy_from_slice(momentum);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Init, Phase, Rng};

    /// With a gradient of 1 the momentum is 1 and then 1.9, the steps lr * 1.9 and lr * 2.71.
    #[test]
    fn the_second_step_is_longer() {
        let mut g = Graph::new(Phase::Train);
        g.param("w", &[1, 1], Init::Constant(1.0));
        let mut params: Params<f64> = g.init_params(&mut Rng::new(0)).cast();
        params.grads.fill(1.0);
        let mut sgd = Sgd::new(&params, 0.1, Isa::fastest());
        sgd.step(&mut params);
        sgd.step(&mut params);
        let (steps, momentum) = sgd.state();
        assert!(steps == 2 && (momentum[0] - 1.9).abs() < 1e-12);
        assert!((params.get("w").unwrap()[0] - (1.0 - 0.19 - 0.271)).abs() < 1e-12);
        assert!(!sgd.restore(2, &[0.0]));
    }
}
