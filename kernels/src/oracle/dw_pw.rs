use crate::*;

impl DwPwKernels for f64 {
    fn dw_pw_forward_scratch(conv: &Conv) -> usize {
        unimplemented!()
    }
    fn dw_pw_backward_scratch(conv: &Conv) -> usize {
        unimplemented!()
    }

    fn dw_pw_forward(
        isa: Isa,
        conv: &Conv,
        x: &[Self],
        wd: &[Self],
        wp: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        unimplemented!()
    }
    fn dw_pw_backward(isa: Isa, conv: &Conv, args: DwPwBackward<'_, Self>) {
        unimplemented!()
    }
}
