use crate::*;

impl NormKernels for f64 {
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
