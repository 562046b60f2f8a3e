//! Optimisers.

mod adam;
mod sgd;

pub use adam::Adam;
pub use sgd::Sgd;

use crate::params::Params;
use moue_kernels::{Element, Isa};
use serde::{Deserialize, Serialize};

/// Which optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Adam (Kingma and Ba 2015), as in the paper.
    #[default]
    Adam,
    /// Stochastic gradient descent with Nesterov's momentum of 0.9.
    Sgd,
}

/// An optimiser with its state.
#[derive(Clone, Debug)]
pub struct Optimizer<T = f32> {
    rule: Rule<T>,
    /// Weight decay.
    decay: f64,
}

#[derive(Clone, Debug)]
enum Rule<T> {
    Adam(Adam<T>),
    Sgd(Sgd<T>),
}

/// Moments by the name that a checkpoint gives them.
pub(crate) type Moments<'a, T> = Vec<(&'static str, &'a [T])>;

impl Method {
    /// Its usual learning rate: the paper's for Adam.
    pub fn lr(self) -> f64 {
        match self {
            Self::Adam => 1e-3,
            Self::Sgd => 1e-2,
        }
    }

    /// Names of the moments that a checkpoint stores.
    pub(crate) fn moments(self) -> &'static [&'static str] {
        match self {
            Self::Adam => &["adam.m", "adam.v"],
            Self::Sgd => &["sgd.momentum"],
        }
    }
}

impl<T: Element> Optimizer<T> {
    /// The method's usual constants.
    pub fn new(method: Method, params: &Params<T>, lr: f64, isa: Isa) -> Self {
        let rule = match method {
            Method::Adam => Rule::Adam(Adam::new(params, lr, isa)),
            Method::Sgd => Rule::Sgd(Sgd::new(params, lr, isa)),
        };
        Self { rule, decay: 0.0 }
    }

    /// With weight decay decoupled from the gradient, weights but not biases and norms shrinking by lr * decay a step:
    /// AdamW and SGDW (Loshchilov and Hutter 2019, algorithms 1 and 2), scaled by the learning rate as PyTorch scales it.
    #[must_use]
    pub fn with_decay(self, decay: f64) -> Self {
        Self { decay, ..self }
    }

    /// Moves the parameters against their gradients.
    ///
    /// # Panics
    /// If `params` are others than it was made for.
    pub fn step(&mut self, params: &mut Params<T>) {
        if self.decay > 0.0 {
            params.shrink_weights(1.0 - self.lr() * self.decay);
        }
        match &mut self.rule {
            Rule::Adam(adam) => adam.step(params),
            Rule::Sgd(sgd) => sgd.step(params),
        }
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        match &self.rule {
            Rule::Adam(adam) => adam.lr(),
            Rule::Sgd(sgd) => sgd.lr(),
        }
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        match &mut self.rule {
            Rule::Adam(adam) => adam.set_lr(lr),
            Rule::Sgd(sgd) => sgd.set_lr(lr),
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        match &self.rule {
            Rule::Adam(adam) => adam.state().0,
            Rule::Sgd(sgd) => sgd.state().0,
        }
    }

    /// What a checkpoint stores, in the order of [`Method::moments`].
    pub(crate) fn moments(&self) -> Moments<'_, T> {
        let (method, values) = match &self.rule {
            Rule::Adam(adam) => {
                let (_, m, v) = adam.state();
                (Method::Adam, vec![m, v])
            }
            Rule::Sgd(sgd) => (Method::Sgd, vec![sgd.state().1]),
        };
        method.moments().iter().copied().zip(values).collect()
    }

    /// Continues from a checkpoint's steps and moments, in the order of [`Method::moments`]; `false` if they do not
    /// fit.
    #[must_use]
    pub(crate) fn restore(&mut self, steps: u64, moments: &[Vec<T>]) -> bool {
        match (&mut self.rule, moments) {
            (Rule::Adam(adam), [m, v]) => adam.restore(steps, m, v),
            (Rule::Sgd(sgd), [momentum]) => sgd.restore(steps, momentum),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, Init, Phase, Rng};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn params() -> Params<f32> {
        let mut g = Graph::new(Phase::Train);
        g.param("weight", &[1, 2], Init::Constant(8.0));
        g.param("bias", &[2], Init::Constant(8.0));
        g.init_params(&mut Rng::new(0))
    }

    /// Without gradients either stands still, and the weight keeps 1 - lr * decay of itself a step; the bias all.
    #[test]
    fn weights_decay_apart_from_the_gradient() {
        for method in [Method::Adam, Method::Sgd] {
            let mut params = params();
            let mut optimizer = Optimizer::new(method, &params, 0.25, Isa::fastest()).with_decay(0.5);
            optimizer.set_lr(0.5);
            (0..2).for_each(|_| optimizer.step(&mut params));
            assert_eq!(params.get("weight"), Some(&[4.5, 4.5][..]), "{method:?}");
            assert_eq!(params.get("bias"), Some(&[8.0, 8.0][..]), "{method:?}");
        }
    }

    /// Fewer ones, too, which the moments would have a place for.
    #[test]
    fn other_parameters_are_refused() {
        let mut g = Graph::new(Phase::Train);
        g.param("weight", &[1, 2], Init::Constant(8.0));
        let fewer = g.init_params(&mut Rng::new(0));
        for method in [Method::Adam, Method::Sgd] {
            for (made_for, other) in [(params(), fewer.clone()), (fewer.clone(), params())] {
                let mut narrow = Optimizer::new(method, &made_for, 0.25, Isa::fastest());
                let mut wide = Optimizer::new(method, &made_for.cast::<f64>(), 0.25, Isa::fastest());
                let refused = [
                    catch_unwind(AssertUnwindSafe(|| narrow.step(&mut other.clone()))),
                    catch_unwind(AssertUnwindSafe(|| wide.step(&mut other.cast()))),
                ];
                assert!(refused.iter().all(Result::is_err), "{method:?}");
            }
        }
    }

    #[test]
    fn moments_go_back_where_they_came_from() {
        for method in [Method::Adam, Method::Sgd] {
            let mut params = params();
            params.grads.fill(0.5);
            let mut first = Optimizer::new(method, &params, 0.25, Isa::fastest());
            (0..3).for_each(|_| first.step(&mut params));
            let (names, moments): (Vec<_>, Vec<_>) =
                first.moments().into_iter().map(|(name, values)| (name, values.to_vec())).unzip();
            assert_eq!(names, method.moments());
            let mut second = Optimizer::new(method, &params, 0.25, Isa::fastest());
            assert!(second.restore(first.steps(), &moments) && !second.restore(1, &moments[1..]));
            let mut again = params.clone();
            first.step(&mut params);
            second.step(&mut again);
            assert_eq!((first.steps(), &params.values), (second.steps(), &again.values), "{method:?}");
        }
    }
}
