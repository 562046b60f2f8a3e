use crate::*;

impl LossKernels for f64 {
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
