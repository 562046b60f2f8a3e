use super::put;
use crate::*;

fn target(loss: &MarginSoftmax, class: usize, label: u32) -> f64 {
    let even = 1.0 / loss.classes as f64;
    let onehot = if class == label as usize { 1.0 } else { 0.0 };
    onehot + loss.smoothing * (even - onehot)
}

impl LossKernels for f64 {
    fn margin_softmax_forward(
        _: Isa,
        loss: &MarginSoftmax,
        logits: &[Self],
        labels: &[u32],
        value: &mut [Self],
        probabilities: &mut [Self],
    ) {
        value[0] = 0.0;
        for (r, &label) in labels.iter().enumerate() {
            let row = r * loss.classes..(r + 1) * loss.classes;
            let mut z = logits[row.clone()].to_vec();
            z[label as usize] -= loss.margin;
            z.iter_mut().for_each(|z| *z *= loss.scale);
            let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = largest + z.iter().map(|z| (z - largest).exp()).sum::<f64>().ln();
            for (p, z) in probabilities[row].iter_mut().zip(&z) {
                *p = (z - log_sum).exp();
            }
            for (j, z) in z.iter().enumerate() {
                value[0] += target(loss, j, label) * (log_sum - z);
            }
        }
    }

    fn margin_softmax_backward(
        _: Isa,
        loss: &MarginSoftmax,
        probabilities: &[Self],
        labels: &[u32],
        dvalue: &[Self],
        mut dx: Grad<'_, Self>,
    ) {
        for (i, p) in probabilities.iter().enumerate() {
            let (row, class) = (i / loss.classes, i % loss.classes);
            let factor = dvalue[0] * loss.scale;
            put(&mut dx, i, factor * (p - target(loss, class, labels[row])));
        }
    }
}
