//! Cross-entropy of a softmax against given distributions, those of a network that teaches (Hinton et al. 2015).

use crate::reduce::sum;
use crate::{Grad, Isa};

/// Rows of `classes` numbers each.
pub trait SoftCrossEntropyKernels: Sized {
    /// `value[0]` = sum over rows (along their tree) of the classes' sum of `-target * log softmax(x)`;
    /// `log_probabilities` gets log softmax, `[n, classes]` (the largest is subtracted first, so nothing overflows).
    fn soft_cross_entropy_forward(
        isa: Isa,
        classes: usize,
        logits: &[Self],
        targets: &[Self],
        value: &mut [Self],
        log_probabilities: &mut [Self],
    );
    /// dx = `dvalue[0]` * (softmax(x) * the row's sum of targets - targets).
    fn soft_cross_entropy_backward(
        isa: Isa,
        classes: usize,
        log_probabilities: &[Self],
        targets: &[Self],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    );
    /// dt = `dvalue[0]` * -log softmax(x).
    fn soft_cross_entropy_targets(
        isa: Isa,
        log_probabilities: &[Self],
        dvalue: &[Self],
        dtargets: Grad<'_, Self>,
    );
}

// A batch has a few hundred logits: scalar loops, and f64 inside.
impl SoftCrossEntropyKernels for f32 {
    fn soft_cross_entropy_forward(
        _: Isa,
        classes: usize,
        logits: &[Self],
        targets: &[Self],
        value: &mut [Self],
        log_probabilities: &mut [Self],
    ) {
        let n = assert_lengths(classes, logits.len(), targets.len(), value.len());
        assert_eq!(log_probabilities.len(), logits.len(), "log probabilities and logits differ in length");
        value[0] = sum(0..n, &mut |row| {
            let row = row * classes..(row + 1) * classes;
            let (logits, targets) = (&logits[row.clone()], &targets[row.clone()]);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            // Below the largest, so that the logarithm is not lost beside a huge logit.
            let below = |x: f32| f64::from(x) - f64::from(largest);
            let log_total = logits.iter().map(|&x| below(x).exp()).sum::<f64>().ln();
            let mut missed = 0.0;
            for ((&x, &target), log_p) in logits.iter().zip(targets).zip(&mut log_probabilities[row]) {
                let exact = below(x) - log_total;
                missed -= f64::from(target) * exact;
                *log_p = exact as f32;
            }
            missed as f32
        });
    }

    fn soft_cross_entropy_backward(
        _: Isa,
        classes: usize,
        log_probabilities: &[Self],
        targets: &[Self],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    ) {
        assert_lengths(classes, log_probabilities.len(), targets.len(), dvalue.len());
        assert_eq!(dx.to.len(), targets.len(), "dx and targets differ in length");
        let (factor, mode) = (f64::from(dvalue[0]), dx.mode);
        let rows = log_probabilities.chunks_exact(classes).zip(targets.chunks_exact(classes));
        for ((log_probabilities, targets), dx) in rows.zip(dx.to.chunks_exact_mut(classes)) {
            let total: f64 = targets.iter().map(|&t| f64::from(t)).sum();
            for ((&log_p, &target), dx) in log_probabilities.iter().zip(targets).zip(dx) {
                mode.put(dx, (factor * (f64::from(log_p).exp() * total - f64::from(target))) as f32);
            }
        }
    }

    fn soft_cross_entropy_targets(
        _: Isa,
        log_probabilities: &[Self],
        dvalue: &[Self],
        dtargets: Grad<'_, Self>,
    ) {
        assert_eq!(
            dtargets.to.len(),
            log_probabilities.len(),
            "targets and log probabilities differ in length"
        );
        for (to, log_p) in dtargets.to.iter_mut().zip(log_probabilities) {
            dtargets.mode.put(to, -dvalue[0] * log_p);
        }
    }
}

/// The number of rows.
fn assert_lengths(classes: usize, logits: usize, targets: usize, value: usize) -> usize {
    assert_eq!(logits % classes, 0, "no rows of {classes}");
    assert_eq!(logits, targets, "logits and targets differ in length");
    assert_eq!(value, 1, "the loss is one number");
    logits / classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(classes: usize, logits: &[f32], targets: &[f32]) -> (f32, Vec<f32>, Vec<f32>, Vec<f32>) {
        let isa = Isa::fastest();
        let (mut value, mut log_p) = ([f32::NAN], vec![f32::NAN; logits.len()]);
        let (mut dx, mut dt) = (log_p.clone(), log_p.clone());
        f32::soft_cross_entropy_forward(isa, classes, logits, targets, &mut value, &mut log_p);
        f32::soft_cross_entropy_backward(isa, classes, &log_p, targets, &[2.0], Grad::set(&mut dx));
        f32::soft_cross_entropy_targets(isa, &log_p, &[2.0], Grad::set(&mut dt));
        (value[0], log_p, dx, dt)
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    /// exp of (ln 1, ln 2, ln 5) is 1, 2, 5: probabilities 1/8, 2/8, 5/8.
    #[test]
    fn every_class_counts_as_much_as_its_target() {
        let (value, log_p, dx, dt) = run(3, &[0.0, 2f32.ln(), 5f32.ln()], &[0.5, 0.25, 0.25]);
        let logs = [8f32.ln(), 4f32.ln(), 1.6f32.ln()];
        assert!((value - (0.5 * logs[0] + 0.25 * logs[1] + 0.25 * logs[2])).abs() < 1e-6, "{value}");
        assert!(close(&log_p, &logs.map(|x| -x)), "{log_p:?}");
        assert!(close(&dx, &[-0.75, 0.0, 0.75]), "{dx:?}");
        assert!(close(&dt, &logs.map(|x| 2.0 * x)), "{dt:?}");
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let (value, log_p, dx, _) = run(2, &[1e30, -1e30, 3e38, 3e38], &[1.0, 0.0, 0.5, 0.5]);
        assert!((value - 2f32.ln()).abs() < 1e-6, "{value}");
        assert!(log_p[1] == -2e30 && close(&log_p[2..], &[-2f32.ln(); 2]), "{log_p:?}");
        assert!(close(&dx, &[0.0; 4]), "{dx:?}");
    }
}
