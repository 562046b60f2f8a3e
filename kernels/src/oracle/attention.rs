use super::put;
use crate::*;

impl AttentionKernels for f64 {
    fn channel_pool_forward(_: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        for p in 0..shape.pixels() {
            let pixel = &x[p * shape.c..(p + 1) * shape.c];
            y[2 * p] = pixel.iter().sum::<f64>() / shape.c as f64;
            y[2 * p + 1] = pixel.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        }
    }

    fn channel_pool_backward(
        _: Isa,
        shape: Shape,
        x: &[Self],
        y: &[Self],
        dy: &[Self],
        mut dx: Grad<'_, Self>,
    ) {
        for p in 0..shape.pixels() {
            let pixel = &x[p * shape.c..(p + 1) * shape.c];
            let first = pixel.iter().position(|&x| x == y[2 * p + 1]);
            for k in 0..shape.c {
                let through_max = if Some(k) == first { dy[2 * p + 1] } else { 0.0 };
                put(&mut dx, p * shape.c + k, dy[2 * p] / shape.c as f64 + through_max);
            }
        }
    }

    fn scale_channels_forward(_: Isa, shape: Shape, x: &[Self], a: &[Self], y: &mut [Self]) {
        for i in 0..x.len() {
            y[i] = x[i] * a[image_channel(shape, i)];
        }
    }

    fn scale_channels_backward(
        _: Isa,
        shape: Shape,
        x: &[Self],
        a: &[Self],
        dy: &[Self],
        dx: Option<Grad<'_, Self>>,
        da: Option<Grad<'_, Self>>,
    ) {
        if let Some(mut dx) = dx {
            for i in 0..x.len() {
                put(&mut dx, i, dy[i] * a[image_channel(shape, i)]);
            }
        }
        if let Some(mut da) = da {
            let mut sums = vec![0.0; a.len()];
            for i in 0..x.len() {
                sums[image_channel(shape, i)] += dy[i] * x[i];
            }
            sums.iter().enumerate().for_each(|(k, sum)| put(&mut da, k, *sum));
        }
    }

    fn scale_pixels_forward(_: Isa, shape: Shape, x: &[Self], m: &[Self], y: &mut [Self]) {
        for i in 0..x.len() {
            y[i] = x[i] * m[i / shape.c];
        }
    }

    fn scale_pixels_backward(
        _: Isa,
        shape: Shape,
        x: &[Self],
        m: &[Self],
        dy: &[Self],
        dx: Option<Grad<'_, Self>>,
        dm: Option<Grad<'_, Self>>,
    ) {
        if let Some(mut dx) = dx {
            for i in 0..x.len() {
                put(&mut dx, i, dy[i] * m[i / shape.c]);
            }
        }
        if let Some(mut dm) = dm {
            for p in 0..m.len() {
                let channels = p * shape.c..(p + 1) * shape.c;
                put(&mut dm, p, channels.map(|i| dy[i] * x[i]).sum());
            }
        }
    }
}

/// Where position i of x reads a `[n, 1, 1, c]` map.
fn image_channel(shape: Shape, i: usize) -> usize {
    i / shape.image_len() * shape.c + i % shape.c
}
