//! The parts of CBAM (Woo et al. 2018) that are neither pooling over space nor convolutions: mean and maximum
//! over channels, and the products with the two attention maps.

use crate::{Grad, Isa, Shape};

/// `shape` is x's throughout.
pub trait AttentionKernels: Sized {
    /// y[n,h,w,0] = mean over channels, y[n,h,w,1] = max over channels.
    fn channel_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]);
    /// The maximum's gradient goes to the first channel that equals it (`y` is the forward output).
    fn channel_pool_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>);
    /// y = x * a, a `[n, 1, 1, c]`.
    fn scale_channels_forward(isa: Isa, shape: Shape, x: &[Self], a: &[Self], y: &mut [Self]);
    /// dx = dy * a; da = sum over h, w of dy * x. Arguments: x, a, dy, dx, da.
    #[allow(clippy::too_many_arguments)]
    fn scale_channels_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        a: &[Self],
        dy: &[Self],
        dx: Option<Grad<'_, Self>>,
        da: Option<Grad<'_, Self>>,
    );
    /// y = x * m, m `[n, h, w, 1]`.
    fn scale_pixels_forward(isa: Isa, shape: Shape, x: &[Self], m: &[Self], y: &mut [Self]);
    /// dx = dy * m; dm = sum over channels of dy * x. Arguments: x, m, dy, dx, dm.
    #[allow(clippy::too_many_arguments)]
    fn scale_pixels_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        m: &[Self],
        dy: &[Self],
        dx: Option<Grad<'_, Self>>,
        dm: Option<Grad<'_, Self>>,
    );
}

impl AttentionKernels for f32 {
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
