//! Cross-entropy of a softmax with additive margin (AM-Softmax, Wang et al. 2018, eq. 6); scale 1 and margin 0
//! give the plain softmax.

use crate::{Grad, Isa};

/// Constants of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarginSoftmax {
    /// Classes, the length of a row.
    pub classes: usize,
    /// s: multiplies the logits.
    pub scale: f64,
    /// m: subtracted from the true class's logit before scaling.
    pub margin: f64,
}

/// Labels are class indices below `classes`.
pub trait LossKernels: Sized {
    /// loss[0] = mean over rows of -log softmax(s * (x - m * onehot))[label]; `probabilities` gets that softmax,
    /// `[n, classes]` (the largest is subtracted first, so nothing overflows).
    fn margin_softmax_forward(
        isa: Isa,
        loss: &MarginSoftmax,
        logits: &[Self],
        labels: &[u32],
        value: &mut [Self],
        probabilities: &mut [Self],
    );
    /// dx = dvalue[0] * s / n * (probabilities - onehot).
    fn margin_softmax_backward(
        isa: Isa,
        loss: &MarginSoftmax,
        probabilities: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    );
}

impl LossKernels for f32 {
    fn margin_softmax_forward(
        isa: Isa,
        loss: &MarginSoftmax,
        logits: &[Self],
        labels: &[u32],
        value: &mut [Self],
        probabilities: &mut [Self],
    ) {
        unimplemented!()
    }
    fn margin_softmax_backward(
        isa: Isa,
        loss: &MarginSoftmax,
        probabilities: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    ) {
        unimplemented!()
    }
}
