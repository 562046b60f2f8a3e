use super::put;
use crate::*;

impl SvmKernels for f64 {
    fn l2_svm_forward(_: Isa, classes: usize, logits: &[Self], labels: &[u32], value: &mut [Self]) {
        assert!(labels.iter().all(|&label| (label as usize) < classes), "a label of no class");
        value[0] = 0.0;
        for (i, x) in logits.iter().enumerate() {
            let t = if labels[i / classes] as usize == i % classes { 1.0 } else { -1.0 };
            if t * x < 1.0 {
                value[0] += (1.0 - t * x) * (1.0 - t * x);
            }
        }
    }

    fn l2_svm_backward(
        _: Isa,
        classes: usize,
        logits: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        mut dx: Grad<'_, Self>,
    ) {
        for (i, x) in logits.iter().enumerate() {
            let t = if labels[i / classes] as usize == i % classes { 1.0 } else { -1.0 };
            let slope = if t * x < 1.0 { -2.0 * t * (1.0 - t * x) } else { 0.0 };
            put(&mut dx, i, dvalue[0] * slope);
        }
    }
}
