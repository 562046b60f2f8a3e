use crate::*;

impl AttentionKernels for f64 {
    fn channel_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn channel_pool_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        y: &[Self],
        dy: &[Self],
        dx: Grad<'_, Self>,
    ) {
        unimplemented!()
    }
    fn scale_channels_forward(isa: Isa, shape: Shape, x: &[Self], a: &[Self], y: &mut [Self]) {
        unimplemented!()
    }

    fn scale_channels_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        a: &[Self],
        dy: &[Self],
        dx: Option<Grad<'_, Self>>,
        da: Option<Grad<'_, Self>>,
    ) {
        unimplemented!()
    }
    fn scale_pixels_forward(isa: Isa, shape: Shape, x: &[Self], m: &[Self], y: &mut [Self]) {
        unimplemented!()
    }

    fn scale_pixels_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        m: &[Self],
        dy: &[Self],
        dx: Option<Grad<'_, Self>>,
        dm: Option<Grad<'_, Self>>,
    ) {
        unimplemented!()
    }
}
