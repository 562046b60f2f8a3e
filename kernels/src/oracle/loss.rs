use super::put;
use crate::*;

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
            value[0] += (log_sum - z[label as usize]) / labels.len() as f64;
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
            let onehot = if labels[row] as usize == class { 1.0 } else { 0.0 };
            let factor = dvalue[0] * loss.scale / labels.len() as f64;
            put(&mut dx, i, factor * (p - onehot));
        }
    }
}
