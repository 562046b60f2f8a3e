//! The parts of CBAM (Woo et al. 2018) that are neither pooling over space nor convolutions: mean and maximum
//! over channels, and the products with the two attention maps.

use crate::lanes::{blocks, each_image, load, on_block, put};
use crate::simd::LANES;
use crate::{Grad, Isa, Kernel, Mode, Shape, Simd};
use std::ops::Range;

/// `shape` is x's throughout.
pub trait AttentionKernels: Sized {
    /// `y[n,h,w,0]` = mean over channels, `y[n,h,w,1]` = max over channels.
    fn channel_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]);
    /// The maximum's gradient goes to the first channel that equals it (`y` is the forward output).
    fn channel_pool_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>);
    /// y = x * a, a `[n, 1, 1, c]`.
    fn scale_channels_forward(isa: Isa, shape: Shape, x: &[Self], a: &[Self], y: &mut [Self]);
    /// dx = dy * a; da = sum over h, w of dy * x. Arguments: x, a, dy, dx, da.
    #[allow(clippy::too_many_arguments, reason = "the operands of two gradients")]
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
    #[allow(clippy::too_many_arguments, reason = "the operands of two gradients")]
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
        let (c, image) = (shape.c, shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(y.len(), 2 * shape.pixels(), "y is not {}", shape.with_c(2));
        each_image(2 * shape.h * shape.w, shape.len(), y, |n, y| {
            isa.run(ChannelPool { c, x: &x[n * image..][..image], y });
        });
    }

    fn channel_pool_backward(
        isa: Isa,
        shape: Shape,
        x: &[Self],
        y: &[Self],
        dy: &[Self],
        dx: Grad<'_, Self>,
    ) {
        let (c, image, map, mode) = (shape.c, shape.image_len(), 2 * shape.h * shape.w, dx.mode);
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(y.len(), 2 * shape.pixels(), "y is not {}", shape.with_c(2));
        assert_eq!(dy.len(), 2 * shape.pixels(), "dy is not {}", shape.with_c(2));
        assert_eq!(dx.to.len(), shape.len(), "dx is not {shape}");
        each_image(image, shape.len(), dx.to, |n, dx| {
            let (x, at) = (&x[n * image..][..image], n * map..(n + 1) * map);
            isa.run(ChannelPoolBackward { c, x, y: &y[at.clone()], dy: &dy[at], dx, mode });
        });
    }

    fn scale_channels_forward(isa: Isa, shape: Shape, x: &[Self], a: &[Self], y: &mut [Self]) {
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(a.len(), shape.n * shape.c, "a is not [{}, {}]", shape.n, shape.c);
        scale_channels(isa, shape, x, a, Grad::set(y));
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
        let (c, image) = (shape.c, shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(a.len(), shape.n * c, "a is not [{}, {c}]", shape.n);
        assert_eq!(dy.len(), shape.len(), "dy is not {shape}");
        if let Some(dx) = dx {
            scale_channels(isa, shape, dy, a, dx);
        }
        if let Some(Grad { to, mode }) = da {
            assert_eq!(to.len(), shape.n * c, "da is not [{}, {c}]", shape.n);
            each_image(c, shape.len(), to, |n, to| {
                let at = n * image..(n + 1) * image;
                isa.run(ChannelDots { c, x: &x[at.clone()], dy: &dy[at], to, mode });
            });
        }
    }

    fn scale_pixels_forward(isa: Isa, shape: Shape, x: &[Self], m: &[Self], y: &mut [Self]) {
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(m.len(), shape.pixels(), "m is not {}", shape.with_c(1));
        scale_pixels(isa, shape, x, m, Grad::set(y));
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
        let (c, image) = (shape.c, shape.image_len());
        assert_eq!(x.len(), shape.len(), "x is not {shape}");
        assert_eq!(m.len(), shape.pixels(), "m is not {}", shape.with_c(1));
        assert_eq!(dy.len(), shape.len(), "dy is not {shape}");
        if let Some(dx) = dx {
            scale_pixels(isa, shape, dy, m, dx);
        }
        if let Some(Grad { to, mode }) = dm {
            assert_eq!(to.len(), shape.pixels(), "dm is not {}", shape.with_c(1));
            each_image(shape.h * shape.w, shape.len(), to, |n, to| {
                let at = n * image..(n + 1) * image;
                isa.run(PixelDots { c, x: &x[at.clone()], dy: &dy[at], to, mode });
            });
        }
    }
}

struct ChannelPool<'a> {
    c: usize,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for ChannelPool<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, y } = self;
        let inverse = 1.0 / c as f32;
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(2)) {
            let (whole, tail) = x.as_chunks::<LANES>();
            let (mut sum, mut max) = (s.zero(), s.splat(f32::NEG_INFINITY));
            for x in whole {
                let x = s.load(x);
                sum = s.add(sum, x);
                max = s.max(max, x);
            }
            let (mut total, mut largest) = (s.sum(sum), f32::NEG_INFINITY);
            for lane in s.to_array(max) {
                largest = largest.max(lane);
            }
            for &x in tail {
                total += x;
                largest = largest.max(x);
            }
            y[0] = total * inverse;
            y[1] = largest;
        }
    }
}

struct ChannelPoolBackward<'a> {
    c: usize,
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    mode: Mode,
}

impl Kernel for ChannelPoolBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, y, dy, dx, mode } = self;
        let inverse = 1.0 / c as f32;
        let maps = y.chunks_exact(2).zip(dy.chunks_exact(2));
        for ((x, dx), (y, dy)) in x.chunks_exact(c).zip(dx.chunks_exact_mut(c)).zip(maps) {
            let share = s.splat(dy[0] * inverse);
            for block in blocks(c, 1) {
                put::<S, 1>(s, [share], &mut dx[block], mode);
            }
            if let Some(first) = x.iter().position(|&x| x == y[1]) {
                dx[first] += dy[1];
            }
        }
    }
}

fn scale_channels(isa: Isa, shape: Shape, x: &[f32], a: &[f32], to: Grad<'_, f32>) {
    let (c, image, mode) = (shape.c, shape.image_len(), to.mode);
    assert_eq!(to.to.len(), shape.len(), "the product is not {shape}");
    each_image(image, shape.len(), to.to, |n, to| {
        isa.run(ScaleChannels { c, x: &x[n * image..][..image], a: &a[n * c..][..c], to, mode });
    });
}

struct ScaleChannels<'a> {
    c: usize,
    x: &'a [f32],
    a: &'a [f32],
    to: &'a mut [f32],
    mode: Mode,
}

impl Kernel for ScaleChannels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, a, to, mode } = self;
        for block in blocks(c, 4) {
            let a = &a[block.clone()];
            on_block!(block, 4, scale_channels_block(s, c, x, a, block, to, mode));
        }
    }
}

#[inline(always)]
fn scale_channels_block<S: Simd, const N: usize>(
    s: S,
    c: usize,
    x: &[f32],
    a: &[f32],
    block: Range<usize>,
    to: &mut [f32],
    mode: Mode,
) {
    let a = load::<S, N>(s, a);
    for (x, to) in x.chunks_exact(c).zip(to.chunks_exact_mut(c)) {
        let mut v = load::<S, N>(s, &x[block.clone()]);
        for k in 0..N {
            v[k] = s.mul(v[k], a[k]);
        }
        put(s, v, &mut to[block.clone()], mode);
    }
}

struct ChannelDots<'a> {
    c: usize,
    x: &'a [f32],
    dy: &'a [f32],
    to: &'a mut [f32],
    mode: Mode,
}

impl Kernel for ChannelDots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, dy, to, mode } = self;
        for block in blocks(c, 4) {
            let to = &mut to[block.clone()];
            on_block!(block, 4, channel_dots_block(s, c, (x, dy), block, to, mode));
        }
    }
}

#[inline(always)]
fn channel_dots_block<S: Simd, const N: usize>(
    s: S,
    c: usize,
    (x, dy): (&[f32], &[f32]),
    block: Range<usize>,
    to: &mut [f32],
    mode: Mode,
) {
    let mut sum = [s.zero(); N];
    for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
        let x = load::<S, N>(s, &x[block.clone()]);
        let dy = load::<S, N>(s, &dy[block.clone()]);
        for k in 0..N {
            sum[k] = s.mul_add(x[k], dy[k], sum[k]);
        }
    }
    put(s, sum, to, mode);
}

fn scale_pixels(isa: Isa, shape: Shape, x: &[f32], m: &[f32], to: Grad<'_, f32>) {
    let (c, image, map, mode) = (shape.c, shape.image_len(), shape.h * shape.w, to.mode);
    assert_eq!(to.to.len(), shape.len(), "the product is not {shape}");
    each_image(image, shape.len(), to.to, |n, to| {
        isa.run(ScalePixels { c, x: &x[n * image..][..image], m: &m[n * map..][..map], to, mode });
    });
}

struct ScalePixels<'a> {
    c: usize,
    x: &'a [f32],
    m: &'a [f32],
    to: &'a mut [f32],
    mode: Mode,
}

impl Kernel for ScalePixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, m, to, mode } = self;
        for ((x, to), m) in x.chunks_exact(c).zip(to.chunks_exact_mut(c)).zip(m) {
            let m = s.splat(*m);
            for block in blocks(c, 1) {
                let [x] = load::<S, 1>(s, &x[block.clone()]);
                put::<S, 1>(s, [s.mul(x, m)], &mut to[block], mode);
            }
        }
    }
}

struct PixelDots<'a> {
    c: usize,
    x: &'a [f32],
    dy: &'a [f32],
    to: &'a mut [f32],
    mode: Mode,
}

impl Kernel for PixelDots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { c, x, dy, to, mode } = self;
        for ((x, dy), to) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(to) {
            let mut sum = s.zero();
            for block in blocks(c, 1) {
                let [x] = load::<S, 1>(s, &x[block.clone()]);
                let [dy] = load::<S, 1>(s, &dy[block]);
                sum = s.mul_add(x, dy, sum);
            }
            mode.put(to, s.sum(sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_pool_by_hand() {
        let shape = Shape::new(1, 1, 1, 4);
        let x = [-4.0, -1.0, -2.0, -1.0];
        for isa in Isa::available() {
            let (mut y, mut dx) = ([f32::NAN; 2], [f32::NAN; 4]);
            f32::channel_pool_forward(isa, shape, &x, &mut y);
            assert_eq!(y, [-2.0, -1.0]);
            f32::channel_pool_backward(isa, shape, &x, &y, &[8.0, 3.0], Grad::set(&mut dx));
            assert_eq!(dx, [2.0, 5.0, 2.0, 2.0]);
        }
    }
}
