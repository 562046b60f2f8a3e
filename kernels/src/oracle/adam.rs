use crate::*;

impl AdamKernels for f64 {
    fn adam_step(isa: Isa, adam: &Adam, g: &[Self], w: &mut [Self], m: &mut [Self], v: &mut [Self]) {
        unimplemented!()
    }
}
