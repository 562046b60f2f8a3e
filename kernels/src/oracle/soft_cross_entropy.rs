use super::put;
use crate::*;

impl SoftCrossEntropyKernels for f64 {
    fn soft_cross_entropy_forward(
        _: Isa,
        classes: usize,
        logits: &[Self],
        targets: &[Self],
        value: &mut [Self],
        log_probabilities: &mut [Self],
    ) {
        value[0] = 0.0;
        for (i, x) in logits.iter().enumerate() {
            let row = &logits[i / classes * classes..][..classes];
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            log_probabilities[i] = x - log_sum;
            value[0] -= targets[i] * log_probabilities[i];
        }
    }

    fn soft_cross_entropy_backward(
        _: Isa,
        classes: usize,
        log_probabilities: &[Self],
        targets: &[Self],
        dvalue: &[Self],
        mut dx: Grad<'_, Self>,
    ) {
        for (i, log_p) in log_probabilities.iter().enumerate() {
            let total: f64 = targets[i / classes * classes..][..classes].iter().sum();
            put(&mut dx, i, dvalue[0] * (log_p.exp() * total - targets[i]));
        }
    }

    fn soft_cross_entropy_targets(
        _: Isa,
        log_probabilities: &[Self],
        dvalue: &[Self],
        mut dtargets: Grad<'_, Self>,
    ) {
        for (i, log_p) in log_probabilities.iter().enumerate() {
            put(&mut dtargets, i, -dvalue[0] * log_p);
        }
    }
}
