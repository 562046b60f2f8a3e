//! Batch norm in two halves. A convolution measures the statistics of what it writes, but leaves applying them to
//! whoever reads it ([`Affine`]), so that the normalised value is never written to memory; backward, the reader sums
//! what the statistics' gradient needs, and the convolution does the rest.

use super::image::{add_backward_sums, image_apply, image_backward_apply};
use crate::gemm::for_chunks;
use crate::lanes::{SERIAL, each_image};
use crate::reduce::combine;
use crate::{Grad, Isa, Kernel, Mode, Shape, Simd};

/// What is still to be done to a value x `[n, h, w, c]`: z = x * scale + shift per channel, then ReLU if asked for.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a, T> {
    /// gamma / sqrt(var + eps), `[c]`.
    pub scale: &'a [T],
    /// beta - mean * scale, `[c]`.
    pub shift: &'a [T],
    /// Mean, `[c]`: the gradient's sums are taken around it.
    pub mean: &'a [T],
    /// Whether z = max(z, 0) follows.
    pub relu: bool,
}

/// Gradient of a value that owes an [`Affine`].
#[derive(Debug)]
pub struct AffineGrad<'a, T> {
    /// dz, the gradient of the ReLU's result (of z without one), as long as x.
    pub dz: Grad<'a, T>,
    /// Sum of dz and of dz * (x - mean), where the ReLU let through, over n, h, w: `[2, c]`, overwritten with what
    /// all of dz gives; `None` where another reader adds to dz after this one.
    pub sums: Option<&'a mut [T]>,
}

/// How a convolution's own gradient follows from dz: dy = scale * dz' + by_y * y + constant, where dz' is dz where
/// the ReLU let y * scale + shift through; `[c]` each. In training by_y = -scale rstd^2 sum(dz' (y - mean)) / m and
/// constant = -scale sum(dz') / m - by_y * mean; in evaluation both are 0.
#[derive(Clone, Copy, Debug)]
pub struct NormGrad<'a, T> {
    /// gamma / sqrt(var + eps).
    pub scale: &'a [T],
    /// beta - mean * scale.
    pub shift: &'a [T],
    /// See above.
    pub by_y: &'a [T],
    /// See above.
    pub constant: &'a [T],
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// The reader's half of a batch norm on its own, for values that no fused operation reads.
pub trait AffineKernels: Sized {
    /// Scratch elements that [`Self::affine_backward`] wants.
    fn affine_backward_scratch(shape: Shape) -> usize;
    /// z = x * scale + shift, then ReLU if asked for; overwrites `z`.
    fn affine_forward(isa: Isa, shape: Shape, x: &[Self], affine: Affine<'_, Self>, z: &mut [Self]);
    /// The gradient of x, from that of the ReLU's result, `dy`.
    fn affine_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        affine: Affine<'_, Self>,
        dy: &[Self],
        dx: AffineGrad<'_, Self>,
        scratch: &mut [Self],
    );
}

impl<T> Affine<'_, T> {
    /// # Panics
    /// If the constants are not `[c]`.
    pub(crate) fn check(&self, c: usize) {
        assert_eq!(self.scale.len(), c, "scale is not [{c}]");
        assert_eq!(self.shift.len(), c, "shift is not [{c}]");
        assert_eq!(self.mean.len(), c, "mean is not [{c}]");
    }
}

impl AffineKernels for f32 {
    fn affine_backward_scratch(shape: Shape) -> usize {
        2 * shape.n * shape.c
    }

    fn affine_forward(isa: Isa, shape: Shape, x: &[Self], affine: Affine<'_, Self>, z: &mut [Self]) {
        affine.check(shape.c);
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(z.len(), shape.len(), "z is not {shape}");
        let image = shape.image_len();
        each_image(image, shape.len(), z, |n, z| isa.run(Apply { affine, x: &x[n * image..][..image], z }));
    }

    fn affine_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        affine: Affine<'_, Self>,
        dy: &[Self],
        dx: AffineGrad<'_, Self>,
        scratch: &mut [Self],
    ) {
        let AffineGrad { dz, sums } = dx;
        affine.check(shape.c);
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(dy.len(), shape.len(), "dy is not {shape}");
        assert_eq!(dz.to.len(), shape.len(), "dz is not {shape}");
        let (image, mode) = (shape.image_len(), dz.mode);
        let wanted = if sums.is_some() { 2 * shape.c } else { 0 };
        assert!(sums.as_ref().is_none_or(|sums| sums.len() == wanted), "sums of {shape}");
        let slots = &mut scratch[..shape.n * wanted];
        let buffers = [(dz.to, image), (&mut *slots, wanted)];
        for_chunks(0..shape.n, shape.len() > SERIAL, buffers, &|n, [dz, sums]| {
            let at = n * image..(n + 1) * image;
            match mode {
                Mode::Set => dz.copy_from_slice(&dy[at.clone()]),
                Mode::Add => dz.iter_mut().zip(&dy[at.clone()]).for_each(|(dz, dy)| *dz += dy),
            }
            if wanted > 0 {
                sums.fill(0.0);
                isa.run(Sums { affine, x: &x[at], dz, sums });
            }
        });
        if let Some(sums) = sums {
            combine(isa, slots, 1, sums, Mode::Set);
        }
    }
}

/// z of whole pixels.
pub(crate) struct Apply<'a> {
    pub(crate) affine: Affine<'a, f32>,
    pub(crate) x: &'a [f32],
    pub(crate) z: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Affine { scale, shift, relu, .. } = self.affine;
        image_apply(s, scale.len(), self.x, scale, shift, relu, self.z);
    }
}

/// Adds the sums of [`AffineGrad`] over whole pixels to `sums`.
pub(crate) struct Sums<'a> {
    pub(crate) affine: Affine<'a, f32>,
    pub(crate) x: &'a [f32],
    pub(crate) dz: &'a [f32],
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for Sums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        add_backward_sums::<S, 4>(s, self.x, self.dz, &self.affine, self.sums);
    }
}

/// dy of [`NormGrad`] for whole pixels; overwrites `dy`.
pub(crate) struct NormGradient<'a> {
    pub(crate) norm: NormGrad<'a, f32>,
    pub(crate) y: &'a [f32],
    pub(crate) dz: &'a [f32],
    pub(crate) dy: &'a mut [f32],
}

impl Kernel for NormGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        image_backward_apply::<S, 4>(s, &self.norm, self.y, self.dz, self.dy, Mode::Set);
    }
}
