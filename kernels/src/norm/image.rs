//! Batch norm of one image, `[h, w, c]`: what the parallel kernels beside it run per image, and what kernels
//! that fuse it with a convolution can run while the image is in L2.
//!
//! All of them walk the image in chunks of a few kilobytes and, inside a chunk, block by block of channels: the
//! constants of a block then stay in registers while memory is still read in order.

use super::affine::{Affine, NormGrad};
use crate::lanes::{blocks, load, on_block, put, store};
use crate::{Mode, Simd};
use std::ops::Range;

/// Elements of a chunk that is read twice: 16 KB, half of L1.
const STATS_CHUNK: usize = 4096;
/// Elements of a chunk of each of two or three streams: 24 KB, what is left of L1 holds the channels' constants.
const CHUNK: usize = 2048;

/// Elements of whole pixels, about `chunk`.
#[inline(always)]
pub(crate) fn whole_pixels(chunk: usize, c: usize) -> usize {
    (chunk / c).max(1) * c
}

/// Mean and M2 (the sum of squared deviations from the mean) of each channel of whole pixels, `[2, c]`, merged
/// into those of the `before` pixels ahead.
#[inline(always)]
pub(crate) fn image_stats<S: Simd>(s: S, c: usize, x: &[f32], mut before: usize, mean_m2: &mut [f32]) {
    for chunk in x.chunks(whole_pixels(STATS_CHUNK, c)) {
        for block in blocks(c, 4) {
            on_block!(block, 4, chunk_stats(s, c, chunk, block, before, mean_m2));
        }
        before += chunk.len() / c;
    }
}

/// Mean, then deviations around it (the chunk is in L1 by then), merged into `mean_m2` of the `before` pixels
/// ahead. The deviations' own sum corrects the rounding of the mean, which matters for data far from 0.
#[inline(always)]
fn chunk_stats<S: Simd, const N: usize>(
    s: S,
    c: usize,
    chunk: &[f32],
    block: Range<usize>,
    before: usize,
    mean_m2: &mut [f32],
) {
    let count = chunk.len() / c;
    let inverse = s.splat(1.0 / count as f32);
    let mut sum = [s.zero(); N];
    for pixel in chunk.chunks_exact(c) {
        let x = load::<S, N>(s, &pixel[block.clone()]);
        for i in 0..N {
            sum[i] = s.add(sum[i], x[i]);
        }
    }
    let mut mean = sum;
    for i in 0..N {
        mean[i] = s.mul(sum[i], inverse);
    }
    let mut rest = [s.zero(); N];
    let mut m2 = [s.zero(); N];
    for pixel in chunk.chunks_exact(c) {
        let x = load::<S, N>(s, &pixel[block.clone()]);
        for i in 0..N {
            let d = s.sub(x[i], mean[i]);
            rest[i] = s.add(rest[i], d);
            m2[i] = s.mul_add(d, d, m2[i]);
        }
    }
    for i in 0..N {
        let correction = s.mul(rest[i], inverse);
        mean[i] = s.add(mean[i], correction);
        // Rounding must not leave a constant channel with a negative variance.
        m2[i] = s.max(s.sub(m2[i], s.mul(rest[i], correction)), s.zero());
    }
    merge(s, c, block, (mean, m2, count), before, mean_m2);
}

/// Merges mean and M2 of `count` pixels into those of the `before` pixels ahead (Chan et al. 1979, eq. 2.1).
#[inline(always)]
fn merge<S: Simd, const N: usize>(
    s: S,
    c: usize,
    block: Range<usize>,
    (mut mean, mut m2, count): ([S::V; N], [S::V; N], usize),
    before: usize,
    into: &mut [f32],
) {
    let (into_mean, into_m2) = into.split_at_mut(c);
    let (into_mean, into_m2) = (&mut into_mean[block.clone()], &mut into_m2[block]);
    if before > 0 {
        let share = count as f32 / (before + count) as f32;
        let (weight, both) = (s.splat(share), s.splat(share * before as f32));
        let (old_mean, old_m2) = (load::<S, N>(s, into_mean), load::<S, N>(s, into_m2));
        for i in 0..N {
            let d = s.sub(mean[i], old_mean[i]);
            mean[i] = s.mul_add(d, weight, old_mean[i]);
            m2[i] = s.mul_add(s.mul(d, d), both, s.add(old_m2[i], m2[i]));
        }
    }
    store(s, mean, into_mean);
    store(s, m2, into_m2);
}

/// y = x * scale + shift, then ReLU if asked for; `scale` and `shift` are `[c]`.
#[inline(always)]
pub(crate) fn image_apply<S: Simd>(
    s: S,
    c: usize,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    relu: bool,
    y: &mut [f32],
) {
    let chunk = whole_pixels(CHUNK, c);
    for (x, y) in x.chunks(chunk).zip(y.chunks_mut(chunk)) {
        for block in blocks(c, 4) {
            on_block!(block, 4, chunk_apply(s, c, x, (scale, shift), floor(relu), block, y));
        }
    }
}

/// Everything at or below this is cut off: one body with and without ReLU.
#[inline(always)]
pub(crate) fn floor(relu: bool) -> f32 {
    if relu { 0.0 } else { f32::NEG_INFINITY }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands of a norm")]
fn chunk_apply<S: Simd, const N: usize>(
    s: S,
    c: usize,
    x: &[f32],
    (scale, shift): (&[f32], &[f32]),
    floor: f32,
    block: Range<usize>,
    y: &mut [f32],
) {
    let scale = load::<S, N>(s, &scale[block.clone()]);
    let shift = load::<S, N>(s, &shift[block.clone()]);
    let floor = s.splat(floor);
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let mut v = load::<S, N>(s, &x[block.clone()]);
        for i in 0..N {
            // The floor first: x86 then keeps a NaN, so that a diverged network shows.
            v[i] = s.max(floor, s.mul_add(v[i], scale[i], shift[i]));
        }
        store(s, v, &mut y[block.clone()]);
    }
}

/// Sum of dy' and of dy' * xhat over one image, `[2, c]`, where dy' is dy where the ReLU let through and
/// xhat = (x - mean) * rstd.
#[inline(always)]
pub(crate) fn image_backward_sums<S: Simd>(
    s: S,
    x: &[f32],
    dy: &[f32],
    affine: &Affine<'_, f32>,
    rstd: &[f32],
    sums: &mut [f32],
) {
    sums.fill(0.0);
    // Two vectors: six constants and four accumulators fit into sixteen registers.
    add_backward_sums::<S, 2>(s, x, dy, affine, sums);
    for (sum, rstd) in sums[rstd.len()..].iter_mut().zip(rstd) {
        *sum *= rstd;
    }
}

/// Adds the sum of dz' and of dz' * (x - mean) over whole pixels, dz' being dz where the ReLU let through (the mask is
/// recomputed as x * scale + shift > 0, exactly what the forward pass did). `W` vectors of channels at a time.
#[inline(always)]
pub(crate) fn add_backward_sums<S: Simd, const W: usize>(
    s: S,
    x: &[f32],
    dz: &[f32],
    affine: &Affine<'_, f32>,
    sums: &mut [f32],
) {
    let c = affine.scale.len();
    let chunk = whole_pixels(CHUNK, c);
    for (x, dz) in x.chunks(chunk).zip(dz.chunks(chunk)) {
        for block in blocks(c, W) {
            on_block!(block, W, chunk_backward_sums(s, affine, (x, dz), block, sums));
        }
    }
}

#[inline(always)]
fn chunk_backward_sums<S: Simd, const N: usize>(
    s: S,
    affine: &Affine<'_, f32>,
    (x, dz): (&[f32], &[f32]),
    block: Range<usize>,
    sums: &mut [f32],
) {
    let c = affine.scale.len();
    let mean = load::<S, N>(s, &affine.mean[block.clone()]);
    let scale = load::<S, N>(s, &affine.scale[block.clone()]);
    let shift = load::<S, N>(s, &affine.shift[block.clone()]);
    let (floor, zero) = (s.splat(floor(affine.relu)), s.zero());
    let mut sum = [zero; N];
    let mut product = [zero; N];
    for (x, dz) in x.chunks_exact(c).zip(dz.chunks_exact(c)) {
        let x = load::<S, N>(s, &x[block.clone()]);
        let dz = load::<S, N>(s, &dz[block.clone()]);
        for i in 0..N {
            let dz = s.select_gt(s.mul_add(x[i], scale[i], shift[i]), floor, dz[i], zero);
            sum[i] = s.add(sum[i], dz);
            product[i] = s.mul_add(dz, s.sub(x[i], mean[i]), product[i]);
        }
    }
    let (sums, products) = sums.split_at_mut(c);
    put(s, sum, &mut sums[block.clone()], Mode::Add);
    put(s, product, &mut products[block], Mode::Add);
}

/// dy of [`NormGrad`] for whole pixels, `W` vectors of channels at a time.
#[inline(always)]
pub(crate) fn image_backward_apply<S: Simd, const W: usize>(
    s: S,
    norm: &NormGrad<'_, f32>,
    y: &[f32],
    dz: &[f32],
    dy: &mut [f32],
    mode: Mode,
) {
    let c = norm.scale.len();
    let chunk = whole_pixels(CHUNK, c);
    for ((y, dz), dy) in y.chunks(chunk).zip(dz.chunks(chunk)).zip(dy.chunks_mut(chunk)) {
        for block in blocks(c, W) {
            on_block!(block, W, chunk_backward_apply(s, norm, (y, dz), block, dy, mode));
        }
    }
}

#[inline(always)]
fn chunk_backward_apply<S: Simd, const N: usize>(
    s: S,
    norm: &NormGrad<'_, f32>,
    (y, dz): (&[f32], &[f32]),
    block: Range<usize>,
    dy: &mut [f32],
    mode: Mode,
) {
    let c = norm.scale.len();
    let scale = load::<S, N>(s, &norm.scale[block.clone()]);
    let shift = load::<S, N>(s, &norm.shift[block.clone()]);
    let by_y = load::<S, N>(s, &norm.by_y[block.clone()]);
    let constant = load::<S, N>(s, &norm.constant[block.clone()]);
    let (floor, zero) = (s.splat(floor(norm.relu)), s.zero());
    for ((y, dz), dy) in y.chunks_exact(c).zip(dz.chunks_exact(c)).zip(dy.chunks_exact_mut(c)) {
        let y = load::<S, N>(s, &y[block.clone()]);
        let mut v = load::<S, N>(s, &dz[block.clone()]);
        for i in 0..N {
            let dz = s.select_gt(s.mul_add(y[i], scale[i], shift[i]), floor, v[i], zero);
            v[i] = s.mul_add(dz, scale[i], s.mul_add(y[i], by_y[i], constant[i]));
        }
        put(s, v, &mut dy[block.clone()], mode);
    }
}
