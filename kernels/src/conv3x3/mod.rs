//! Standard 3x3 convolution, stride 1, padding 1.

mod backward;
pub(crate) mod first;
mod forward;

use crate::epilogue::Epilogue;
use crate::gemm::pack::{pack, pack_flipped, packed_len};
use crate::gemm::{for_chunks, grad_buffer, worth_threads};
use crate::reduce::{PAIR, combine, pair, pairs, spare_buffers, sum_groups};
use crate::slots::{Slots, slots};
use crate::{Conv, ConvBackward, Isa, Kernel, Mode, Shape, Simd};
use std::ops::Range;

pub(crate) use backward::{block_images, conv3x3_dw};
pub(crate) use forward::{NARROW, conv3x3_rows};

/// `y[n,h,w,o]` = sum over taps (i, j) and channels c of `x[n, h+i-1, w+j-1, c]` * `w[i, j, c, o]`; outside the map
/// x is 0. Weights are `[3, 3, cin, cout]`.
pub trait Conv3x3Kernels: Sized {
    /// Scratch elements that [`Self::conv3x3_forward`] wants.
    fn conv3x3_forward_scratch(conv: &Conv) -> usize;
    /// Scratch elements that [`Self::conv3x3_backward`] wants.
    fn conv3x3_backward_scratch(conv: &Conv) -> usize;
    /// Overwrites `y`.
    fn conv3x3_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]);
    /// Gradients of x and w.
    fn conv3x3_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>);
}

/// Packed weights of a 3x3 convolution: panels of `9 * cin` rows, and a row of `cin` zeros that stands for
/// every pixel outside the map.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) panels: &'a [f32],
    pub(crate) zero: &'a [f32],
}

impl<'a> Packed<'a> {
    /// Elements that packing wants.
    pub(crate) const fn len(cin: usize, cout: usize) -> usize {
        packed_len(9 * cin, cout) + cin
    }

    fn new(packed: &'a mut [f32], cin: usize, pack: impl FnOnce(&mut [f32])) -> Self {
        let (panels, zero) = packed.split_at_mut(packed.len() - cin);
        pack(panels);
        zero.fill(0.0);
        Self { panels, zero }
    }

    /// What [`Self::forward`] or [`Self::flipped`] packed for `conv`.
    pub(crate) fn of(conv: &Conv, packed: &'a [f32]) -> Self {
        let (panels, zero) =
            packed[..Self::len(conv.x.c, conv.cout)].split_at(packed_len(9 * conv.x.c, conv.cout));
        Self { panels, zero }
    }

    /// Weights `[3, 3, cin, cout]` for the forward pass.
    pub(crate) fn forward(cin: usize, cout: usize, w: &[f32], packed: &'a mut [f32]) -> Self {
        Self::new(packed, cin, |panels| pack(9 * cin, cout, w, panels))
    }

    /// Weights `[3, 3, cin, cout]` for the gradient of the input: a convolution from cout to cin channels.
    pub(crate) fn flipped(cin: usize, cout: usize, w: &[f32], packed: &'a mut [f32]) -> Self {
        Self::new(packed, cout, |panels| pack_flipped(9, cin, cout, w, panels))
    }
}

/// How output rows are cut into tasks: whole images, or blocks of rows where the batch is small.
fn row_tasks(conv: &Conv) -> (usize, usize) {
    let Shape { n, h, w, .. } = conv.x;
    if w <= NARROW {
        // All images of a task share a tap's weights while they are in the first-level cache.
        return (n.min(8), h);
    }
    let wanted = h.div_ceil(8usize.div_ceil(n));
    (1, (wanted..h).find(|rows| h.is_multiple_of(*rows)).unwrap_or(h))
}

/// A convolution cut into tasks.
pub(crate) fn conv3x3_packed<E: Epilogue>(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    packed: Packed<'_>,
    y: &mut [f32],
    parallel: bool,
    e: E,
) {
    let (images, rows) = row_tasks(conv);
    let blocks = conv.x.h / rows;
    let tasks = conv.x.n.div_ceil(images) * blocks;
    let chunk = images * rows * conv.x.w * conv.cout;
    for_chunks(0..tasks, parallel, [(y, chunk)], &|i, [y]| {
        let (image, first) = (i / blocks * images, i % blocks * rows);
        let n = images.min(conv.x.n - image);
        let conv = Conv { x: Shape { n, ..conv.x }, ..*conv };
        let x = &x[image * conv.x.image_len()..][..conv.x.len()];
        isa.run(Rows { conv, rows: first..first + rows, x, packed, y, e });
    });
}

pub(crate) struct Rows<'a, E> {
    pub(crate) conv: Conv,
    pub(crate) rows: Range<usize>,
    pub(crate) x: &'a [f32],
    pub(crate) packed: Packed<'a>,
    pub(crate) y: &'a mut [f32],
    pub(crate) e: E,
}

impl<E: Epilogue> Kernel for Rows<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, rows, x, packed, y, e } = self;
        conv3x3_rows(s, &conv, rows, x, packed, y, e);
    }
}

/// How the weight gradient is cut; from the shape alone.
struct Cut {
    /// Pairs of images with sums of their own.
    parts: usize,
    /// Slices of the weights where those are too large for so many sums: each is owned by a task, which reads all
    /// images.
    slices: usize,
    parallel: bool,
}

impl Cut {
    /// Elements of a task's scratch where slices are owned.
    fn spare(&self, conv: &Conv) -> usize {
        spare_buffers(conv.x.n) * (9 * conv.x.c * conv.cout / self.slices)
    }
}

fn cut(conv: &Conv) -> Cut {
    let (n, cin) = (conv.x.n, conv.x.c);
    let weights = 9 * cin * conv.cout;
    let parallel = worth_threads(36 * conv.x.len() * conv.cout);
    // Up to 64 -> 64 channels the sums of sixteen pairs are 2.4 MB. Beyond, x and dy are small against the weights and
    // are read again by every slice instead.
    let (parts, slices) = match weights {
        0..=36_864 => (pairs(n), 1),
        _ => (1, if cin.is_multiple_of(2) { 18 } else { 9 }),
    };
    Cut { parts, slices, parallel }
}

/// Both gradients of a part of the batch.
pub(crate) struct Backward<'a> {
    pub(crate) conv: Conv,
    pub(crate) x: &'a [f32],
    pub(crate) packed: Packed<'a>,
    pub(crate) dy: &'a [f32],
    pub(crate) dx: Option<(&'a mut [f32], Mode)>,
    pub(crate) dw: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, x, packed, dy, mut dx, dw } = self;
        // As many images at a time as a block of the weight gradient takes: dy comes from memory once.
        let step = block_images(&conv);
        for first in (0..conv.x.n).step_by(step) {
            let n = step.min(conv.x.n - first);
            let conv = Conv { x: Shape { n, ..conv.x }, ..conv };
            let x_at = first * conv.x.image_len();
            let dy = &dy[first * conv.y().image_len()..][..conv.y().len()];
            if let Some((dx, mode)) = &mut dx {
                let dx = &mut dx[x_at..][..conv.x.len()];
                conv3x3_rows(s, &conv.swapped(), 0..conv.x.h, dy, packed, dx, *mode);
            }
            conv3x3_dw(s, &conv, 0..9, 0..conv.x.c, &x[x_at..][..conv.x.len()], dy, dw);
        }
    }
}

/// A slice of the weight gradient of a part of the batch.
struct Slice<'a> {
    conv: Conv,
    taps: Range<usize>,
    channels: Range<usize>,
    x: &'a [f32],
    dy: &'a [f32],
    dw: &'a mut [f32],
}

impl Kernel for Slice<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, taps, channels, x, dy, dw } = self;
        conv3x3_dw(s, &conv, taps, channels, x, dy, dw);
    }
}

impl Conv {
    /// The convolution that leads back: from cout to cin channels.
    pub(crate) const fn swapped(&self) -> Conv {
        Conv { x: self.x.with_c(self.cout), cout: self.x.c, stride: 1 }
    }
}

impl Conv3x3Kernels for f32 {
    fn conv3x3_forward_scratch(conv: &Conv) -> usize {
        Packed::len(conv.x.c, conv.cout)
    }

    fn conv3x3_backward_scratch(conv: &Conv) -> usize {
        let cut = cut(conv);
        let sums = match (cut.slices, cut.parts) {
            (1, 1) => 0,
            (1, parts) => parts * 9 * conv.x.c * conv.cout,
            (slices, _) => slots(slices) * cut.spare(conv),
        };
        Packed::len(conv.cout, conv.x.c) + sums
    }

    fn conv3x3_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]) {
        let (cin, cout) = (conv.x.c, conv.cout);
        assert_eq!(conv.stride, 1, "conv3x3_forward: stride");
        assert_eq!(x.len(), conv.x.len(), "conv3x3_forward: x");
        assert_eq!(w.len(), 9 * cin * cout, "conv3x3_forward: w");
        assert_eq!(y.len(), conv.y().len(), "conv3x3_forward: y");
        let packed = Packed::forward(cin, cout, w, &mut scratch[..Packed::len(cin, cout)]);
        let parallel = worth_threads(18 * conv.x.len() * cout);
        conv3x3_packed(isa, conv, x, packed, y, parallel, Mode::Set);
    }

    fn conv3x3_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, scratch } = args;
        let (cin, cout) = (conv.x.c, conv.cout);
        assert_eq!(conv.stride, 1, "conv3x3_backward: stride");
        assert_eq!(x.len(), conv.x.len(), "conv3x3_backward: x");
        assert_eq!(w.len(), 9 * cin * cout, "conv3x3_backward: w");
        assert_eq!(dy.len(), conv.y().len(), "conv3x3_backward: dy");
        assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == x.len()), "conv3x3_backward: dx");
        assert_eq!(dw.to.len(), w.len(), "conv3x3_backward: dw");
        let (packed, partial) = scratch.split_at_mut(Packed::len(cout, cin));
        let packed = match dx {
            Some(_) => Packed::flipped(cin, cout, w, packed),
            None => Packed { panels: &[], zero: &[] },
        };
        let cut = cut(conv);
        let Cut { parts, slices, parallel } = cut;
        let (image_x, image_y) = (conv.x.image_len(), conv.y().image_len());
        let part = |images: Range<usize>| {
            let conv = Conv { x: Shape { n: images.len(), ..conv.x }, ..*conv };
            let (x, dy) = (&x[images.start * image_x..], &dy[images.start * image_y..]);
            (conv, &x[..conv.x.len()], &dy[..conv.y().len()])
        };
        if slices > 1 {
            if let Some(dx) = dx {
                conv3x3_packed(isa, &conv.swapped(), dy, packed, dx.to, parallel, dx.mode);
            }
            let spare = Slots::new(partial, cut.spare(conv));
            for_chunks(0..slices, parallel, [(dw.to, w.len() / slices)], &|slice, [to]| {
                let (taps, channels) = match slices {
                    18 => (slice / 2..slice / 2 + 1, slice % 2 * cin / 2..(slice % 2 + 1) * cin / 2),
                    _ => (slice..slice + 1, 0..cin),
                };
                let mut group = |images: Range<usize>, dw: &mut [f32]| {
                    let (conv, x, dy) = part(images);
                    isa.run(Slice { conv, taps: taps.clone(), channels: channels.clone(), x, dy, dw });
                };
                spare.with(|spare| sum_groups(0..conv.x.n, to, dw.mode, spare, &mut group));
            });
            return;
        }
        if parts == 1 && dw.mode == Mode::Set {
            dw.to.fill(0.0);
        }
        let sums = match parts {
            1 => &mut *dw.to,
            _ => &mut partial[..parts * w.len()],
        };
        let (dx, dx_mode) = grad_buffer(dx, PAIR * image_x);
        for_chunks(0..parts, parallel, [dx, (&mut *sums, w.len())], &|i, [dx, dw]| {
            if parts > 1 {
                dw.fill(0.0);
            }
            let (conv, x, dy) = part(pair(conv.x.n, i));
            isa.run(Backward { conv, x, packed, dy, dx: dx_mode.map(|mode| (dx, mode)), dw });
        });
        if parts > 1 {
            combine(isa, &partial[..parts * w.len()], PAIR, dw.to, dw.mode);
        }
    }
}
