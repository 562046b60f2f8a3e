//! Depthwise 3x3 followed by pointwise, fused: the depthwise result lives only in a strip of scratch and is
//! computed again in the backward pass (9 multiply-adds an element against cout of the pointwise).

use crate::{Conv, Grad, Isa};

/// Arguments of [`DwPwKernels::dw_pw_backward`].
#[derive(Debug)]
pub struct DwPwBackward<'a, T> {
    /// The forward input.
    pub x: &'a [T],
    /// Depthwise weights, `[3, 3, cin]`.
    pub wd: &'a [T],
    /// Pointwise weights, `[cin, cout]`.
    pub wp: &'a [T],
    /// Gradient of the output.
    pub dy: &'a [T],
    /// Gradient of the input, if needed.
    pub dx: Option<Grad<'a, T>>,
    /// Gradient of the depthwise weights.
    pub dwd: Grad<'a, T>,
    /// Gradient of the pointwise weights.
    pub dwp: Grad<'a, T>,
    /// At least [`DwPwKernels::dw_pw_backward_scratch`] elements.
    pub scratch: &'a mut [T],
}

/// y = pointwise(depthwise(x, wd), wp), stride 1.
pub trait DwPwKernels: Sized {
    /// Scratch elements that [`Self::dw_pw_forward`] wants.
    fn dw_pw_forward_scratch(conv: &Conv) -> usize;
    /// Scratch elements that [`Self::dw_pw_backward`] wants.
    fn dw_pw_backward_scratch(conv: &Conv) -> usize;
    /// Overwrites `y`; arguments are geometry, x, wd, wp, y, scratch.
    #[allow(clippy::too_many_arguments)]
    fn dw_pw_forward(
        isa: Isa,
        conv: &Conv,
        x: &[Self],
        wd: &[Self],
        wp: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    );
    /// All three gradients.
    fn dw_pw_backward(isa: Isa, conv: &Conv, args: DwPwBackward<'_, Self>);
}

impl DwPwKernels for f32 {
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
