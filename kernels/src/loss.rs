//! Cross-entropy of a softmax with additive margin (AM-Softmax, Wang et al. 2018, eq. 6), against targets that may be
//! smoothed (Szegedy et al. 2016, section 7); scale 1, margin 0 and smoothing 0 give the plain softmax.

use crate::reduce::sum;
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
    /// Share of the target that is spread evenly over all classes, 0 to below 1.
    pub smoothing: f64,
}

impl MarginSoftmax {
    /// Target of class `j` of a row with this label: (1 - smoothing) * onehot + smoothing / classes.
    fn target(&self, j: usize, label: u32) -> f64 {
        let onehot = if j == label as usize { 1.0 - self.smoothing } else { 0.0 };
        onehot + self.smoothing / self.classes as f64
    }
}

/// Labels are class indices below `classes`.
pub trait LossKernels: Sized {
    /// `value[0]` = sum over rows (along their tree) of the targets' sum of `-target * log softmax(s * (x - m * onehot))`;
    /// `probabilities` gets that softmax, `[n, classes]` (the largest is subtracted first, so nothing overflows).
    fn margin_softmax_forward(
        isa: Isa,
        loss: &MarginSoftmax,
        logits: &[Self],
        labels: &[u32],
        value: &mut [Self],
        probabilities: &mut [Self],
    );
    /// dx = `dvalue[0]` * s * (probabilities - targets).
    fn margin_softmax_backward(
        isa: Isa,
        loss: &MarginSoftmax,
        probabilities: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    );
}

// A batch has a few hundred logits: scalar loops, and f64 inside so that a scale of 30 costs no digits.
impl LossKernels for f32 {
    fn margin_softmax_forward(
        _: Isa,
        loss: &MarginSoftmax,
        logits: &[Self],
        labels: &[u32],
        value: &mut [Self],
        probabilities: &mut [Self],
    ) {
        let classes = loss.classes;
        assert_lengths(loss, logits.len(), labels, value.len(), "logits");
        assert_eq!(probabilities.len(), logits.len(), "probabilities and logits differ in length");
        value[0] = sum(0..labels.len(), &mut |row| {
            let (label, row) = (labels[row], row * classes..(row + 1) * classes);
            let (logits, probabilities) = (&logits[row.clone()], &mut probabilities[row]);
            let scaled = |j: usize| {
                let margin = if j == label as usize { loss.margin } else { 0.0 };
                loss.scale * (f64::from(logits[j]) - margin)
            };
            let largest = (0..classes).map(scaled).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = (0..classes).map(|j| (scaled(j) - largest).exp()).sum();
            for (j, p) in probabilities.iter_mut().enumerate() {
                *p = ((scaled(j) - largest).exp() / total) as f32;
            }
            // In this order the logarithm is not lost beside a huge logit.
            let missed = (0..classes).map(|j| loss.target(j, label) * (largest - scaled(j))).sum::<f64>();
            (total.ln() + missed) as f32
        });
    }

    fn margin_softmax_backward(
        _: Isa,
        loss: &MarginSoftmax,
        probabilities: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    ) {
        let classes = loss.classes;
        assert_lengths(loss, probabilities.len(), labels, dvalue.len(), "probabilities");
        assert_eq!(dx.to.len(), probabilities.len(), "dx and probabilities differ in length");
        let factor = (f64::from(dvalue[0]) * loss.scale) as f32;
        let mode = dx.mode;
        let rows = probabilities.chunks_exact(classes).zip(dx.to.chunks_exact_mut(classes));
        for ((probabilities, dx), &label) in rows.zip(labels) {
            for (j, (dx, p)) in dx.iter_mut().zip(probabilities).enumerate() {
                let gradient = factor * (p - loss.target(j, label) as f32);
                mode.put(dx, gradient);
            }
        }
    }
}

fn assert_lengths(loss: &MarginSoftmax, rows: usize, labels: &[u32], value: usize, name: &str) {
    let (n, classes) = (labels.len(), loss.classes);
    assert_eq!(rows, n * classes, "{name} are not [{n}, {classes}]");
    assert_eq!(value, 1, "the loss is one number");
    assert!(labels.iter().all(|&label| (label as usize) < classes), "a label is not below {classes}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(loss: MarginSoftmax, logits: &[f32], labels: &[u32]) -> (f32, Vec<f32>, Vec<f32>) {
        let isa = Isa::fastest();
        let (mut value, mut p) = ([f32::NAN], vec![f32::NAN; logits.len()]);
        let mut dx = p.clone();
        f32::margin_softmax_forward(isa, &loss, logits, labels, &mut value, &mut p);
        f32::margin_softmax_backward(isa, &loss, &p, labels, &[1.0], Grad::set(&mut dx));
        (value[0], p, dx)
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[test]
    fn without_margin_it_is_cross_entropy() {
        // exp of (ln 1, ln 2, ln 5) is 1, 2, 5: probabilities 1/8, 2/8, 5/8, loss -ln(2/8).
        let plain = MarginSoftmax { classes: 3, scale: 1.0, margin: 0.0, smoothing: 0.0 };
        let (value, p, dx) = run(plain, &[0.0, 2f32.ln(), 5f32.ln()], &[1]);
        assert!((value - 4f32.ln()).abs() < 1e-6, "{value}");
        assert!(close(&p, &[0.125, 0.25, 0.625]), "{p:?}");
        assert!(close(&dx, &[0.125, -0.75, 0.625]), "{dx:?}");
    }

    #[test]
    fn the_margin_is_taken_from_the_true_class_before_scaling() {
        // s (x - m) = 2 (ln 3 / 2 + 0.5 - 0.5) = ln 3 against 0: probabilities 3/4, 1/4.
        let loss = MarginSoftmax { classes: 2, scale: 2.0, margin: 0.5, smoothing: 0.0 };
        let (value, p, dx) = run(loss, &[3f32.ln() / 2.0 + 0.5, 0.0], &[0]);
        assert!((value - (4f32 / 3.0).ln()).abs() < 1e-6, "{value}");
        assert!(close(&p, &[0.75, 0.25]) && close(&dx, &[-0.5, 0.5]), "{p:?} {dx:?}");
    }

    #[test]
    fn smoothing_spreads_the_target() {
        // Targets 0.1, 0.8, 0.1 against probabilities 1/8, 2/8, 5/8.
        let smooth = MarginSoftmax { classes: 3, scale: 1.0, margin: 0.0, smoothing: 0.3 };
        let (value, _, dx) = run(smooth, &[0.0, 2f32.ln(), 5f32.ln()], &[1]);
        let want = 0.1 * 8f32.ln() + 0.8 * 4f32.ln() + 0.1 * 1.6f32.ln();
        assert!((value - want).abs() < 1e-6, "{value}");
        assert!(close(&dx, &[0.025, -0.55, 0.525]), "{dx:?}");
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let plain = MarginSoftmax { classes: 2, scale: 1.0, margin: 0.0, smoothing: 0.0 };
        let (value, p, dx) = run(plain, &[1e30, -1e30, 3e38, 3e38], &[0, 1]);
        assert!((value - 2f32.ln()).abs() < 1e-6, "{value}");
        assert_eq!((p, dx), (vec![1.0, 0.0, 0.5, 0.5], vec![0.0, 0.0, 0.5, -0.5]));
    }
}
