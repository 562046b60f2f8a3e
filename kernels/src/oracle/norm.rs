use super::put;
use crate::*;

impl NormKernels for f64 {
    fn batch_norm_scratch(_: Shape) -> usize {
        0
    }

    fn batch_norm_stats(_: Isa, shape: Shape, x: &[Self], stats: &mut [Self], _: &mut [Self]) {
        let (c, m) = (shape.c, shape.pixels() as f64);
        for k in 0..c {
            let channel = || x.iter().skip(k).step_by(c);
            let mean = channel().sum::<f64>() / m;
            stats[k] = mean;
            stats[c + k] = channel().map(|x| (x - mean) * (x - mean)).sum::<f64>() / m;
        }
    }

    fn merge_statistics(_: Isa, images: [usize; 2], into: &mut [Self], from: &[Self]) {
        let c = into.len() / 2;
        let [a, b] = images.map(|n| n as f64);
        for k in 0..c {
            let mean = (a * into[k] + b * from[k]) / (a + b);
            let around = |stats: &[f64]| stats[c + k] + (stats[k] - mean) * (stats[k] - mean);
            into[c + k] = (a * around(into) + b * around(from)) / (a + b);
            into[k] = mean;
        }
    }

    fn batch_norm_apply(
        _: Isa,
        norm: &BatchNorm,
        x: &[Self],
        channels: NormChannels<'_, Self>,
        y: &mut [Self],
        _: &mut [Self],
    ) {
        let NormChannels { gamma, beta, stats } = channels;
        for i in 0..x.len() {
            let k = i % norm.shape.c;
            let xhat = normalised(norm, stats, x[i], k);
            let pre = xhat * gamma[k] + beta[k];
            y[i] = if norm.relu { pre.max(0.0) } else { pre };
        }
    }

    fn batch_norm_sums(
        _: Isa,
        norm: &BatchNorm,
        x: &[Self],
        channels: NormChannels<'_, Self>,
        dy: &[Self],
        sums: &mut [Self],
        _: &mut [Self],
    ) {
        let c = norm.shape.c;
        sums.fill(0.0);
        for i in 0..x.len() {
            let inner = masked(norm, channels, x, dy, i);
            sums[i % c] += inner;
            sums[c + i % c] += inner * normalised(norm, channels.stats, x[i], i % c);
        }
    }

    fn batch_norm_backward(_: Isa, norm: &BatchNorm, args: BatchNormBackward<'_, Self>) {
        let BatchNormBackward { x, channels, dy, sums, pixels, dx, mut dgamma, mut dbeta, .. } = args;
        let NormChannels { gamma, stats, .. } = channels;
        let (c, m) = (norm.shape.c, pixels as f64);
        let xhat = |i: usize| normalised(norm, stats, x[i], i % c);
        let inner = |i: usize| masked(norm, channels, x, dy, i);
        let mut dx = dx;
        for k in 0..c {
            let channel = || (k..x.len()).step_by(c);
            let (sum_dy, sum_dy_xhat) = (sums[k], sums[c + k]);
            put(&mut dbeta, k, sum_dy);
            put(&mut dgamma, k, sum_dy_xhat);
            let Some(dx) = &mut dx else { continue };
            let rstd = 1.0 / (stats[c + k] + norm.eps).sqrt();
            for i in channel() {
                let through_stats = if norm.train { sum_dy / m + xhat(i) * sum_dy_xhat / m } else { 0.0 };
                put(dx, i, gamma[k] * rstd * (inner(i) - through_stats));
            }
        }
    }
}

/// The gradient where the ReLU let through, 0 elsewhere.
fn masked(norm: &BatchNorm, channels: NormChannels<'_, f64>, x: &[f64], dy: &[f64], i: usize) -> f64 {
    let NormChannels { gamma, beta, stats } = channels;
    let k = i % norm.shape.c;
    let passed = !norm.relu || normalised(norm, stats, x[i], k) * gamma[k] + beta[k] > 0.0;
    if passed { dy[i] } else { 0.0 }
}

fn normalised(norm: &BatchNorm, stats: &[f64], x: f64, k: usize) -> f64 {
    (x - stats[k]) / (stats[norm.shape.c + k] + norm.eps).sqrt()
}
