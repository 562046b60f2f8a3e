//! One-vs-rest L2-SVM loss (Tang 2013, eq. 10, without the weights' penalty, which weight decay stands for).

use crate::reduce::sum;
use crate::{Grad, Isa};

/// Labels are class indices below `classes`; the target t of a class is 1 where it is the label, else -1.
pub trait SvmKernels: Sized {
    /// `value[0]` = sum over rows (along their tree) of the classes' sum of max(0, 1 - t x)^2.
    fn l2_svm_forward(isa: Isa, classes: usize, logits: &[Self], labels: &[u32], value: &mut [Self]);
    /// dx = `dvalue[0]` * -2 t max(0, 1 - t x).
    fn l2_svm_backward(
        isa: Isa,
        classes: usize,
        logits: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    );
}

// A batch has a few hundred logits: scalar loops, and f64 inside.
impl SvmKernels for f32 {
    fn l2_svm_forward(_: Isa, classes: usize, logits: &[Self], labels: &[u32], value: &mut [Self]) {
        assert_lengths(classes, logits.len(), labels, value.len());
        value[0] = sum(0..labels.len(), &mut |row| {
            let logits = &logits[row * classes..(row + 1) * classes];
            let squares = violations(classes, logits, &labels[row..=row]).map(|(v, _)| v * v);
            squares.sum::<f64>() as f32
        });
    }

    fn l2_svm_backward(
        _: Isa,
        classes: usize,
        logits: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        dx: Grad<'_, Self>,
    ) {
        assert_lengths(classes, logits.len(), labels, dvalue.len());
        assert_eq!(dx.to.len(), logits.len(), "dx and logits differ in length");
        let factor = -2.0 * f64::from(dvalue[0]);
        let mode = dx.mode;
        for (dx, (violation, target)) in dx.to.iter_mut().zip(violations(classes, logits, labels)) {
            mode.put(dx, (factor * target * violation) as f32);
        }
    }
}

/// max(0, 1 - t x) and t of every logit, row by row.
fn violations(classes: usize, logits: &[f32], labels: &[u32]) -> impl Iterator<Item = (f64, f64)> {
    let rows = logits.chunks_exact(classes).zip(labels);
    rows.flat_map(|(row, &label)| {
        row.iter().enumerate().map(move |(class, &x)| {
            let target = if class == label as usize { 1.0 } else { -1.0 };
            ((1.0 - target * f64::from(x)).max(0.0), target)
        })
    })
}

fn assert_lengths(classes: usize, rows: usize, labels: &[u32], value: usize) {
    assert_eq!(rows, labels.len() * classes, "logits are not [{}, {classes}]", labels.len());
    assert_eq!(value, 1, "the loss is one number");
    assert!(labels.iter().all(|&label| (label as usize) < classes), "a label is not below {classes}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 0, label 1: t x = (0.5, 2, -1), violations 0.5, 0, 2. Row 1, label 0: t x = (-1, 1, 3), violations 2, 0, 0.
    #[test]
    fn squares_of_what_is_missing_to_one() {
        let isa = Isa::fastest();
        let (logits, labels) = ([-0.5, 2.0, 1.0, -1.0, -1.0, -3.0], [1, 0]);
        let (mut value, mut dx) = ([f32::NAN], [f32::NAN; 6]);
        f32::l2_svm_forward(isa, 3, &logits, &labels, &mut value);
        f32::l2_svm_backward(isa, 3, &logits, &labels, &[0.25], Grad::set(&mut dx));
        assert_eq!(value, [0.25 + 4.0 + 4.0]);
        assert_eq!(dx, [0.25, 0.0, 1.0, -1.0, 0.0, 0.0]);
    }
}
