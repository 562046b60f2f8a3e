use crate::*;

impl DwPwKernels for f64 {
    fn dw_pw_forward_scratch(conv: &Conv) -> usize {
        conv.x.len()
    }
    fn dw_pw_backward_scratch(conv: &Conv) -> usize {
        2 * conv.x.len()
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
        let z = &mut scratch[..conv.x.len()];
        Self::dwconv_forward(isa, conv.x, x, wd, z);
        Self::pointwise_forward(isa, conv, z, wp, y, &mut []);
    }

    fn dw_pw_backward(isa: Isa, conv: &Conv, args: DwPwBackward<'_, Self>) {
        let DwPwBackward { x, wd, wp, dy, dx, dwd, dwp, scratch } = args;
        let (z, dz) = scratch.split_at_mut(conv.x.len());
        let dz = &mut dz[..conv.x.len()];
        Self::dwconv_forward(isa, conv.x, x, wd, z);
        let pointwise = ConvBackward { x: z, w: wp, dy, dx: Some(Grad::set(dz)), dw: dwp, scratch: &mut [] };
        Self::pointwise_backward(isa, conv, pointwise);
        let depthwise = ConvBackward { x, w: wd, dy: dz, dx, dw: dwd, scratch: &mut [] };
        Self::dwconv_backward(isa, conv.x, depthwise);
    }
}
