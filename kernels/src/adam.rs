//! Adam (Kingma and Ba 2015, algorithm 1) over all parameters in one pass.

use crate::Isa;

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

/// w -= lr * mhat / (sqrt(vhat) + eps).
pub trait AdamKernels: Sized {
    /// Updates w, m and v in place from the gradient g; all of one length.
    fn adam_step(isa: Isa, adam: &Adam, g: &[Self], w: &mut [Self], m: &mut [Self], v: &mut [Self]);
}

impl AdamKernels for f32 {
    fn adam_step(isa: Isa, adam: &Adam, g: &[Self], w: &mut [Self], m: &mut [Self], v: &mut [Self]) {
        unimplemented!()
    }
}
