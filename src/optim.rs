//! Optimisers.

use crate::params::Params;
use moue_kernels::{Adam as Constants, AdamKernels, Isa};

/// Adam (Kingma and Ba 2015) with its moments, flat like the parameters.
#[derive(Clone, Debug)]
pub struct Adam {
    constants: Constants,
    m: Vec<f32>,
    v: Vec<f32>,
    isa: Isa,
}

impl Adam {
    /// Decays 0.9 and 0.999, eps 1e-8, as in the paper's section 2.
    pub fn new(params: &Params<f32>, lr: f64, isa: Isa) -> Self {
        let zeros = vec![0.0; params.values.len()];
        let constants = Constants { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 0 };
        Self { constants, m: zeros.clone(), v: zeros, isa }
    }

    /// Moves the parameters against their gradients.
    pub fn step(&mut self, params: &mut Params<f32>) {
        self.constants.step += 1;
        f32::adam_step(
            self.isa,
            &self.constants,
            &params.grads,
            &mut params.values,
            &mut self.m,
            &mut self.v,
        );
    }

    /// Sets the learning rate.
    pub fn set_lr(&mut self, lr: f64) {
        self.constants.lr = lr;
    }

    /// Steps taken, first moments, second moments: what a checkpoint stores.
    pub fn state(&self) -> (u64, &[f32], &[f32]) {
        (self.constants.step, &self.m, &self.v)
    }

    /// Continues from a checkpoint's state; `false` if the moments have another length.
    #[must_use]
    pub fn restore(&mut self, step: u64, m: &[f32], v: &[f32]) -> bool {
        let fits = m.len() == self.m.len() && v.len() == self.v.len();
        if fits {
            self.constants.step = step;
            self.m.copy_from_slice(m);
            self.v.copy_from_slice(v);
        }
        fits
    }
}
