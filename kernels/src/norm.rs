//! Batch normalisation over images and pixels (Ioffe and Szegedy 2015), with an optional ReLU behind it.

use crate::{Grad, Isa, Shape};

/// Geometry and constants of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Shape of x and y.
    pub shape: Shape,
    /// Added to the variance.
    pub eps: f64,
    /// Whether y = max(y, 0) follows.
    pub relu: bool,
    /// Whether the statistics are the batch's (training) or given (evaluation).
    pub train: bool,
}

/// Arguments of [`NormKernels::batch_norm_backward`].
#[derive(Debug)]
pub struct BatchNormBackward<'a, T> {
    /// The forward input.
    pub x: &'a [T],
    /// Scale, `[c]`.
    pub gamma: &'a [T],
    /// Shift, `[c]`.
    pub beta: &'a [T],
    /// Mean and biased variance, `[2, c]`, as the forward pass left or was given them.
    pub stats: &'a [T],
    /// Gradient of the output.
    pub dy: &'a [T],
    /// Gradient of the input, if needed.
    pub dx: Option<Grad<'a, T>>,
    /// Gradient of the scale.
    pub dgamma: Grad<'a, T>,
    /// Gradient of the shift.
    pub dbeta: Grad<'a, T>,
    /// At least [`NormKernels::batch_norm_scratch`] elements.
    pub scratch: &'a mut [T],
}

/// y = (x - mean) / sqrt(var + eps) * gamma + beta per channel, then ReLU if asked for.
pub trait NormKernels: Sized {
    /// Scratch elements that the statistics and the backward pass want.
    fn batch_norm_scratch(shape: Shape) -> usize;
    /// Writes mean and biased variance over n, h, w of each channel to `stats`, `[2, c]`: a mean and a sum of
    /// squared deviations per fixed chunk, merged in index order (Chan et al. 1979), never E[x^2] - E[x]^2.
    fn batch_norm_stats(isa: Isa, shape: Shape, x: &[Self], stats: &mut [Self], scratch: &mut [Self]);
    /// Overwrites `y`, with the mean and variance in `stats`.
    #[allow(clippy::too_many_arguments)]
    fn batch_norm_apply(
        isa: Isa,
        norm: &BatchNorm,
        x: &[Self],
        gamma: &[Self],
        beta: &[Self],
        stats: &[Self],
        y: &mut [Self],
    );
    /// Gradients of x, gamma and beta. In training the statistics depend on x; in evaluation they do not
    /// (`norm.train`). The ReLU's mask is recomputed from x.
    fn batch_norm_backward(isa: Isa, norm: &BatchNorm, args: BatchNormBackward<'_, Self>);
}

impl NormKernels for f32 {
    fn batch_norm_scratch(shape: Shape) -> usize {
        unimplemented!()
    }
    fn batch_norm_stats(isa: Isa, shape: Shape, x: &[Self], stats: &mut [Self], scratch: &mut [Self]) {
        unimplemented!()
    }

    fn batch_norm_apply(
        isa: Isa,
        norm: &BatchNorm,
        x: &[Self],
        gamma: &[Self],
        beta: &[Self],
        stats: &[Self],
        y: &mut [Self],
    ) {
        unimplemented!()
    }
    fn batch_norm_backward(isa: Isa, norm: &BatchNorm, args: BatchNormBackward<'_, Self>) {
        unimplemented!()
    }
}
