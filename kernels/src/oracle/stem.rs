use crate::*;

impl StemKernels for f64 {
    fn stem_scratch(layers: &[Folded; 2]) -> usize {
        layers[0].conv.y().len()
    }

    fn stem_forward(
        isa: Isa,
        layers: &[Folded; 2],
        x: &[Self],
        prepared: [&[Self]; 2],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        let h = &mut scratch[..layers[0].conv.y().len()];
        Self::folded_forward(isa, &layers[0], x, prepared[0], h, &mut []);
        Self::folded_forward(isa, &layers[1], h, prepared[1], y, &mut []);
    }
}
