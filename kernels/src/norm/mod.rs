//! Batch normalisation over images and pixels (Ioffe and Szegedy 2015), with an optional ReLU behind it.

mod affine;
mod image;

pub use affine::{Affine, AffineGrad, AffineKernels, NormGrad};
pub(crate) use affine::{Apply, NormGradient, Sums};

use crate::lanes::each_image;
use crate::reduce::{combine, nodes};
use crate::{Grad, Isa, Kernel, Mode, Shape, Simd};
use image::{image_apply, image_backward_apply, image_backward_sums, image_stats};

/// Geometry and constants of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Shape of x and y.
    pub shape: Shape,
    /// Added to the variance.
    pub eps: f64,
    /// Whether y = max(y, 0) follows.
    pub relu: bool,
    /// Whether the statistics are the batch's (training) or given (evaluation).
    pub train: bool,
}

/// Parameters and statistics of a batch norm, by channel.
#[derive(Clone, Copy, Debug)]
pub struct NormChannels<'a, T> {
    /// Scale, `[c]`.
    pub gamma: &'a [T],
    /// Shift, `[c]`.
    pub beta: &'a [T],
    /// Mean and biased variance, `[2, c]`: those of the batch in training, the running ones in evaluation.
    pub stats: &'a [T],
}

/// Arguments of [`NormKernels::batch_norm_backward`].
#[derive(Debug)]
pub struct BatchNormBackward<'a, T> {
    /// The forward input.
    pub x: &'a [T],
    /// As in the forward pass.
    pub channels: NormChannels<'a, T>,
    /// Gradient of the output.
    pub dy: &'a [T],
    /// What [`NormKernels::batch_norm_sums`] gives, over the whole batch...
    pub sums: &'a [T],
    /// ...of so many pixels: x, dy and dx may be a part of it.
    pub pixels: usize,
    /// Gradient of the input, if needed.
    pub dx: Option<Grad<'a, T>>,
    /// Gradient of the scale.
    pub dgamma: Grad<'a, T>,
    /// Gradient of the shift.
    pub dbeta: Grad<'a, T>,
    /// At least [`NormKernels::batch_norm_scratch`] elements.
    pub scratch: &'a mut [T],
}

/// y = (x - mean) / sqrt(var + eps) * gamma + beta per channel, then ReLU if asked for.
pub trait NormKernels: Sized {
    /// Scratch elements that the statistics, [`Self::batch_norm_apply`] and either half of the backward pass want.
    fn batch_norm_scratch(shape: Shape) -> usize;
    /// Writes mean and biased variance over n, h, w of each channel to `stats`, `[2, c]`: those of each image,
    /// merged along the tree over images ([`Self::merge_statistics`]), never `E[x^2]` - `E[x]`^2.
    fn batch_norm_stats(isa: Isa, shape: Shape, x: &[Self], stats: &mut [Self], scratch: &mut [Self]);
    /// Merges the mean and biased variance `from` of `images[1]` images into those of `images[0]`, both `[2, c]` (Chan
    /// et al. 1979, eq. 2.1, divided by the number of pixels).
    fn merge_statistics(isa: Isa, images: [usize; 2], into: &mut [Self], from: &[Self]);
    /// Overwrites `y`; computed as y = x * scale + shift with scale = gamma * rstd, shift = beta - mean * scale,
    /// rstd = 1 / sqrt(var + eps).
    fn batch_norm_apply(
        isa: Isa,
        norm: &BatchNorm,
        x: &[Self],
        channels: NormChannels<'_, Self>,
        y: &mut [Self],
        scratch: &mut [Self],
    );
    /// Overwrites `sums`, `[2, c]`, with the sums over n, h, w of the gradient where the ReLU let through and of its
    /// products with the normalised x: the gradients of beta and gamma.
    fn batch_norm_sums(
        isa: Isa,
        norm: &BatchNorm,
        x: &[Self],
        channels: NormChannels<'_, Self>,
        dy: &[Self],
        sums: &mut [Self],
        scratch: &mut [Self],
    );
    /// Gradients of x, gamma and beta. In training the statistics depend on x; in evaluation they do not
    /// (`norm.train`). The ReLU's mask is recomputed from x.
    fn batch_norm_backward(isa: Isa, norm: &BatchNorm, args: BatchNormBackward<'_, Self>);
}

/// Slots of partial results, one per image, after the constants of each channel: cutting by image keeps the
/// result independent of the thread count, and a slot is small beside its image.
fn split_scratch(shape: Shape, scratch: &mut [f32]) -> (&mut [f32], &mut [f32]) {
    let wanted = f32::batch_norm_scratch(shape);
    assert!(scratch.len() >= wanted, "scratch: {} of {wanted} elements", scratch.len());
    scratch[..wanted].split_at_mut(5 * shape.c)
}

impl NormKernels for f32 {
    fn batch_norm_scratch(shape: Shape) -> usize {
        (5 + 2 * shape.n) * shape.c
    }

    fn batch_norm_stats(isa: Isa, shape: Shape, x: &[Self], stats: &mut [Self], scratch: &mut [Self]) {
        let (c, image) = (shape.c, shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(stats.len(), 2 * c, "stats are not [2, {c}]");
        let (_, slots) = split_scratch(shape, scratch);
        each_image(2 * c, shape.len(), slots, |n, mean_m2| {
            isa.run(Stats { c, x: &x[n * image..][..image], before: 0, mean_m2 });
        });
        merge_images(isa, shape.h * shape.w, slots, stats);
    }

    fn merge_statistics(isa: Isa, images: [usize; 2], into: &mut [Self], from: &[Self]) {
        assert_eq!(into.len(), from.len(), "statistics of different channels");
        isa.run(MergeStatistics { images, into, from });
    }

    fn batch_norm_apply(
        isa: Isa,
        norm: &BatchNorm,
        x: &[Self],
        channels: NormChannels<'_, Self>,
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        let (shape, c, image) = (norm.shape, norm.shape.c, norm.shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(y.len(), shape.len(), "y is not {shape}");
        channels.check(c);
        let (constants, _) = split_scratch(shape, scratch);
        fill_constants(norm, channels, constants);
        let (scale, shift) = (&constants[c..2 * c], &constants[2 * c..3 * c]);
        each_image(image, shape.len(), y, |n, y| {
            isa.run(Normalise { norm, x: &x[n * image..][..image], scale, shift, y });
        });
    }

    fn batch_norm_sums(
        isa: Isa,
        norm: &BatchNorm,
        x: &[Self],
        channels: NormChannels<'_, Self>,
        dy: &[Self],
        sums: &mut [Self],
        scratch: &mut [Self],
    ) {
        let (shape, c, image) = (norm.shape, norm.shape.c, norm.shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(dy.len(), shape.len(), "dy is not {shape}");
        assert_eq!(sums.len(), 2 * c, "sums are not [2, {c}]");
        channels.check(c);
        let (constants, slots) = split_scratch(shape, scratch);
        let constants = &mut constants[..3 * c];
        fill_constants(norm, channels, constants);
        let (rstd, rest) = constants.split_at(c);
        let (scale, shift) = rest.split_at(c);
        let affine = Affine { scale, shift, mean: &channels.stats[..c], relu: norm.relu };
        each_image(2 * c, shape.len(), slots, |n, sums| {
            let at = n * image..(n + 1) * image;
            isa.run(BackwardSums { x: &x[at.clone()], dy: &dy[at], affine, rstd, sums });
        });
        combine(isa, slots, 1, sums, Mode::Set);
    }

    fn batch_norm_backward(isa: Isa, norm: &BatchNorm, args: BatchNormBackward<'_, Self>) {
        let BatchNormBackward { x, channels, dy, sums, pixels, dx, dgamma, dbeta, scratch } = args;
        let (shape, c, image) = (norm.shape, norm.shape.c, norm.shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(dy.len(), shape.len(), "dy is not {shape}");
        assert_eq!(sums.len(), 2 * c, "sums are not [2, {c}]");
        assert_eq!(dgamma.to.len(), c, "dgamma is not [{c}]");
        assert_eq!(dbeta.to.len(), c, "dbeta is not [{c}]");
        channels.check(c);
        let (sum_dy, sum_dy_xhat) = sums.split_at(c);
        put_sums(sum_dy, dbeta);
        put_sums(sum_dy_xhat, dgamma);

        let Some(dx) = dx else { return };
        assert_eq!(dx.to.len(), shape.len(), "dx is not {shape}");
        let (constants, _) = split_scratch(shape, scratch);
        let (constants, for_dx) = constants.split_at_mut(3 * c);
        fill_constants(norm, channels, constants);
        let (rstd, rest) = constants.split_at(c);
        let (scale, shift) = rest.split_at(c);
        let (by_x, constant) = for_dx.split_at_mut(c);
        if norm.train {
            let per_pixel = 1.0 / pixels as f32;
            for k in 0..c {
                by_x[k] = -scale[k] * rstd[k] * sum_dy_xhat[k] * per_pixel;
                constant[k] = -scale[k] * sum_dy[k] * per_pixel - by_x[k] * channels.stats[k];
            }
        } else {
            by_x.fill(0.0);
            constant.fill(0.0);
        }
        let norm = NormGrad { scale, shift, by_y: by_x, constant, relu: norm.relu };
        let mode = dx.mode;
        each_image(image, shape.len(), dx.to, |n, dx| {
            let at = n * image..(n + 1) * image;
            isa.run(BackwardApply { norm, x: &x[at.clone()], dy: &dy[at], dx, mode });
        });
    }
}

impl<T> NormChannels<'_, T> {
    fn check(self, c: usize) {
        assert_eq!(self.gamma.len(), c, "gamma is not [{c}]");
        assert_eq!(self.beta.len(), c, "beta is not [{c}]");
        assert_eq!(self.stats.len(), 2 * c, "stats are not [2, {c}]");
    }
}

/// Writes rstd, scale and shift, `[c]` each. Scalar: a few hundred channels at most.
fn fill_constants(norm: &BatchNorm, channels: NormChannels<'_, f32>, constants: &mut [f32]) {
    let NormChannels { gamma, beta, stats } = channels;
    let c = norm.shape.c;
    let (mean, var) = stats.split_at(c);
    for k in 0..c {
        let rstd = 1.0 / (var[k] + norm.eps as f32).sqrt();
        let scale = gamma[k] * rstd;
        constants[k] = rstd;
        constants[c + k] = scale;
        constants[2 * c + k] = beta[k] - mean[k] * scale;
    }
}

fn put_sums(sums: &[f32], to: Grad<'_, f32>) {
    match to.mode {
        Mode::Set => to.to.copy_from_slice(sums),
        Mode::Add => to.to.iter_mut().zip(sums).for_each(|(t, s)| *t += s),
    }
}

pub(crate) struct Stats<'a> {
    pub(crate) c: usize,
    pub(crate) x: &'a [f32],
    /// Pixels that `mean_m2` holds already.
    pub(crate) before: usize,
    pub(crate) mean_m2: &'a mut [f32],
}

impl Kernel for Stats<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        image_stats(s, self.c, self.x, self.before, self.mean_m2);
    }
}

/// Writes mean and biased variance, `[2, c]`, from (mean, M2) slots of images of `pixels` pixels each, `[n, 2, c]`,
/// which are garbage then.
pub(crate) fn merge_images(isa: Isa, pixels: usize, slots: &mut [f32], stats: &mut [f32]) {
    let len = stats.len();
    let inverse = 1.0 / pixels as f32;
    for slot in slots.chunks_exact_mut(len) {
        slot[len / 2..].iter_mut().for_each(|m2| *m2 *= inverse);
    }
    nodes(0..slots.len() / len, &mut |left, right, end| {
        let (into, from) = slots.split_at_mut(right * len);
        let into = &mut into[left * len..][..len];
        f32::merge_statistics(isa, [right - left, end - right], into, &from[..len]);
    });
    stats.copy_from_slice(&slots[..len]);
}

/// See [`NormKernels::merge_statistics`].
struct MergeStatistics<'a> {
    images: [usize; 2],
    into: &'a mut [f32],
    from: &'a [f32],
}

impl Kernel for MergeStatistics<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { images, into, from } = self;
        let total = (images[0] + images[1]) as f32;
        let [ours, theirs] = images.map(|n| n as f32 / total);
        let both = ours * theirs;
        let (mean, var) = into.split_at_mut(from.len() / 2);
        let (from_mean, from_var) = from.split_at(from.len() / 2);
        for ((mean, var), (from_mean, from_var)) in
            mean.iter_mut().zip(var).zip(from_mean.iter().zip(from_var))
        {
            let d = from_mean - *mean;
            *mean += d * theirs;
            *var = *var * ours + from_var * theirs + d * d * both;
        }
    }
}

struct Normalise<'a> {
    norm: &'a BatchNorm,
    x: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Normalise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        image_apply(s, self.norm.shape.c, self.x, self.scale, self.shift, self.norm.relu, self.y);
    }
}

struct BackwardSums<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    affine: Affine<'a, f32>,
    rstd: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for BackwardSums<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        image_backward_sums(s, self.x, self.dy, &self.affine, self.rstd, self.sums);
    }
}

struct BackwardApply<'a> {
    norm: NormGrad<'a, f32>,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    mode: Mode,
}

impl Kernel for BackwardApply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        image_backward_apply::<S, 2>(s, &self.norm, self.x, self.dy, self.dx, self.mode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_survive_an_offset_of_a_million() {
        // 1e6 + {0, 1, 2, 3}, equally often: mean 1e6 + 1.5, variance 1.25. E[x^2] - E[x]^2 would be lost in
        // the rounding of 1e12, which is about 6e4.
        let shape = Shape::new(3, 20, 20, 33);
        let x: Vec<f32> = (0..shape.len()).map(|i| 1e6 + ((i / shape.c) % 4) as f32).collect();
        let mut scratch = vec![f32::NAN; f32::batch_norm_scratch(shape)];
        for isa in Isa::available() {
            let mut stats = vec![f32::NAN; 2 * shape.c];
            f32::batch_norm_stats(isa, shape, &x, &mut stats, &mut scratch);
            let (mean, var) = stats.split_at(shape.c);
            assert!(mean.iter().all(|m| (m - 1_000_001.5).abs() <= 0.125), "{isa:?}: {mean:?}");
            assert!(var.iter().all(|v| (v - 1.25).abs() < 0.02), "{isa:?}: {var:?}");
        }
    }

    #[test]
    fn a_constant_channel_has_no_variance_and_normalises_to_beta() {
        let shape = Shape::new(2, 3, 3, 5);
        let norm = BatchNorm { shape, eps: 1e-5, relu: false, train: true };
        let x = vec![0.3; shape.len()];
        let mut scratch = vec![f32::NAN; f32::batch_norm_scratch(shape)];
        let (mut stats, mut y) = ([f32::NAN; 10], vec![f32::NAN; shape.len()]);
        let isa = Isa::fastest();
        f32::batch_norm_stats(isa, shape, &x, &mut stats, &mut scratch);
        assert!(stats[5..].iter().all(|&v| (0.0..1e-12).contains(&v)), "{stats:?}");
        let channels = NormChannels { gamma: &[1.0; 5], beta: &[0.25; 5], stats: &stats };
        f32::batch_norm_apply(isa, &norm, &x, channels, &mut y, &mut scratch);
        assert!(y.iter().all(|y| (y - 0.25).abs() < 1e-4), "{y:?}");
    }
}
