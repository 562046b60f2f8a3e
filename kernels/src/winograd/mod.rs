//! Standard 3x3 convolution, stride 1, padding 1, by Winograd's minimal filtering: 4x fewer multiply-adds than
//! the direct one, F(4x4, 3x3) of Lavin and Gray 2016. The matrices are in [`transform`].

mod backward;
mod forward;
#[cfg(test)]
mod tests;
mod transform;

use crate::epilogue::Epilogue;
use crate::gemm::{for_chunks, grad_buffer, worth_threads};
use crate::reduce::{PAIR, combine, pair, pairs};
use crate::slots::{Slots, slots};
use crate::{Conv, ConvBackward, Isa, Kernel, Mode, Simd};
use backward::{finish, sums_len, winograd_dw};
use forward::Transform;
pub(crate) use forward::{Weights, block_rows, winograd_rows, work_len};
use std::ops::Range;
pub(crate) use transform::TILE;

/// The same results as [`crate::Conv3x3Kernels`], to rounding.
pub trait WinogradKernels: Sized {
    /// Scratch elements that [`Self::winograd_forward`] wants.
    fn winograd_forward_scratch(conv: &Conv) -> usize;
    /// Scratch elements that [`Self::winograd_backward`] wants.
    fn winograd_backward_scratch(conv: &Conv) -> usize;
    /// Overwrites `y`.
    fn winograd_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]);
    /// Gradients of x and w.
    fn winograd_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>);
}

/// Whether these kernels are faster than the direct ones; from the shape alone.
///
/// Measured on one core of a Zen 4 (AVX2), batch 32: 2.3 times as fast at 48x48 with 32 channels in both passes
/// (5.7 and 11.3 ms), 2.7 and 2.4 times at 24x24 with 64, 2.1 and 1.6 times at 12x12 with 128; on two cores 1.95 and
/// 1.3 times at 12x12 with 256. Slower at 6x6 (with 256 -> 512 channels by a half and by three times), where four tiles
/// cover 64 pixels for 36 and leave a third of a register tile idle, and where the transformed weights (19 MB) come
/// from memory for every image.
///
/// F(2x2, 3x3) loses: its 2.25x fewer products alone would take as long at 48x48 as all of this.
pub const fn winograd_pays(conv: &Conv) -> bool {
    let (narrow, wide) = if conv.x.c < conv.cout { (conv.x.c, conv.cout) } else { (conv.cout, conv.x.c) };
    conv.stride == 1 && conv.x.h >= 8 && conv.x.w >= 8 && narrow >= 8 && wide <= 256
}

/// How the forward pass is cut: images of a task, and rows of pixels of each.
struct Cut {
    images: usize,
    rows: usize,
    tasks: usize,
}

/// Whether the forward pass is worth several threads.
fn parallel(conv: &Conv) -> bool {
    worth_threads(18 * conv.x.len() * conv.cout)
}

fn cut(conv: &Conv, parallel: bool) -> Cut {
    let (n, h) = (conv.x.n, conv.x.h);
    if n >= 8 || !parallel {
        let images = if parallel { n.div_ceil(16) } else { n };
        return Cut { images, rows: h, tasks: n.div_ceil(images) };
    }
    // Few images: blocks of their rows, whole tiles and as many in each.
    let wanted = h.div_ceil(8usize.div_ceil(n)).next_multiple_of(TILE);
    let rows = (wanted..h).step_by(TILE).find(|rows| h.is_multiple_of(*rows)).unwrap_or(h);
    Cut { images: 1, rows, tasks: n * (h / rows) }
}

/// Elements of the weight gradients of all pairs of images.
const fn partial_len(conv: &Conv) -> usize {
    (pairs(conv.x.n) * 9 * conv.x.c * conv.cout).next_multiple_of(ALIGN)
}

/// Both gradients of a part of the batch.
struct Backward<'a> {
    conv: Conv,
    images: usize,
    x: &'a [f32],
    weights: Weights<'a>,
    dy: &'a [f32],
    dx: Option<(&'a mut [f32], Mode)>,
    dw: &'a mut [f32],
    sums: &'a mut [f32],
    work: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, images, x, weights, dy, mut dx, dw, sums, work } = self;
        let rows = conv.x.h.div_ceil(TILE);
        for i in 0..images {
            let at = i * conv.x.image_len();
            let x = &x[at..][..conv.x.image_len()];
            let dy = &dy[i * conv.y().image_len()..][..conv.y().image_len()];
            if let Some((dx, mode)) = &mut dx {
                let dx = &mut dx[at..][..conv.x.image_len()];
                winograd_rows(s, &conv.swapped(), 0..rows, dy, weights, dx, *mode, work);
            }
            winograd_dw(s, &conv, 0..rows, x, dy, weights.zero, i == 0, sums, work);
        }
        finish(s, &conv, sums, dw);
    }
}

/// The convolution of some images, or of some rows of one.
struct Forward<'a, E> {
    conv: Conv,
    rows: Range<usize>,
    x: &'a [f32],
    weights: Weights<'a>,
    y: &'a mut [f32],
    work: &'a mut [f32],
    e: E,
}

impl<E: Epilogue> Kernel for Forward<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, rows, x, weights, y, work, e } = self;
        let pixels = (rows.end * TILE).min(conv.x.h) - rows.start * TILE;
        let images = x.chunks_exact(conv.x.image_len());
        for (x, y) in images.zip(y.chunks_exact_mut(pixels * conv.x.w * conv.cout)) {
            winograd_rows(s, &conv, rows.clone(), x, weights, y, e, work);
        }
    }
}

/// A row of zeros as long as one of x or y.
pub(crate) const fn zero_len(conv: &Conv) -> usize {
    let c = if conv.x.c > conv.cout { conv.x.c } else { conv.cout };
    (conv.x.w * c).next_multiple_of(ALIGN)
}

/// Elements of a cache line.
pub(crate) const ALIGN: usize = 16;

/// The scratch from the first cache line on. Large allocations start 16 bytes into one, where half of all vectors
/// would straddle two.
pub(crate) fn aligned(scratch: &mut [f32]) -> &mut [f32] {
    let skip = scratch.as_ptr().align_offset(ALIGN * size_of::<f32>());
    &mut scratch[skip.min(ALIGN)..]
}

/// Scratch elements of [`winograd_transformed`].
pub(crate) fn winograd_work_len(conv: &Conv, parallel: bool) -> usize {
    ALIGN + slots(cut(conv, parallel).tasks) * work_len(conv)
}

/// Transforms the weights `w`, `[3, 3, cin, cout]`, of a forward pass.
pub(crate) fn winograd_weights(isa: Isa, conv: &Conv, w: &[f32], points: &mut [f32]) {
    isa.run(Transform { w, inputs: conv.x.c, outputs: conv.cout, flipped: false, to: points });
}

/// The forward pass with transformed weights, cut into tasks; `work` holds [`winograd_work_len`] elements.
#[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
pub(crate) fn winograd_transformed<E: Epilogue>(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    weights: Weights<'_>,
    y: &mut [f32],
    work: &mut [f32],
    parallel: bool,
    e: E,
) {
    let Cut { images, rows, tasks } = cut(conv, parallel);
    let blocks = conv.x.h / rows;
    let chunk = images * rows * conv.x.w * conv.cout;
    let work = Slots::new(aligned(work), work_len(conv));
    for_chunks(0..tasks, parallel, [(y, chunk)], &|i, [y]| {
        let (image, block) = (i / blocks * images, i % blocks);
        let n = images.min(conv.x.n - image);
        let x = &x[image * conv.x.image_len()..][..n * conv.x.image_len()];
        let first = block * rows;
        let rows = first / TILE..(first + rows).div_ceil(TILE);
        work.with(|work| isa.run(Forward { conv: *conv, rows, x, weights, y, work, e }));
    });
}

impl WinogradKernels for f32 {
    fn winograd_forward_scratch(conv: &Conv) -> usize {
        ALIGN + Weights::len(conv.x.c, conv.cout) + zero_len(conv) + winograd_work_len(conv, parallel(conv))
    }

    fn winograd_backward_scratch(conv: &Conv) -> usize {
        let work = slots(pairs(conv.x.n)) * (sums_len(conv) + work_len(conv));
        ALIGN + Weights::len(conv.cout, conv.x.c) + zero_len(conv) + partial_len(conv) + work
    }

    fn winograd_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]) {
        let (cin, cout) = (conv.x.c, conv.cout);
        assert_eq!(conv.stride, 1, "winograd_forward: stride");
        assert_eq!(x.len(), conv.x.len(), "winograd_forward: x");
        assert_eq!(w.len(), 9 * cin * cout, "winograd_forward: w");
        assert_eq!(y.len(), conv.y().len(), "winograd_forward: y");
        let (points, scratch) = aligned(scratch).split_at_mut(Weights::len(cin, cout));
        let (zero, work) = scratch.split_at_mut(zero_len(conv));
        winograd_weights(isa, conv, w, points);
        zero.fill(0.0);
        winograd_transformed(isa, conv, x, Weights { points, zero }, y, work, parallel(conv), Mode::Set);
    }

    fn winograd_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, scratch } = args;
        let (cin, cout) = (conv.x.c, conv.cout);
        assert_eq!(conv.stride, 1, "winograd_backward: stride");
        assert_eq!(x.len(), conv.x.len(), "winograd_backward: x");
        assert_eq!(w.len(), 9 * cin * cout, "winograd_backward: w");
        assert_eq!(dy.len(), conv.y().len(), "winograd_backward: dy");
        assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == x.len()), "winograd_backward: dx");
        assert_eq!(dw.to.len(), w.len(), "winograd_backward: dw");
        let (points, scratch) = aligned(scratch).split_at_mut(Weights::len(cout, cin));
        let (zero, scratch) = scratch.split_at_mut(zero_len(conv));
        if dx.is_some() {
            isa.run(Transform { w, inputs: cout, outputs: cin, flipped: true, to: points });
        }
        zero.fill(0.0);
        let weights = Weights { points, zero };
        let (partial, work) = scratch.split_at_mut(partial_len(conv));
        let work = Slots::new(work, sums_len(conv) + work_len(conv));
        let parts = pairs(conv.x.n);
        let partial = &mut partial[..parts * w.len()];
        let (image_x, image_y) = (conv.x.image_len(), conv.y().image_len());
        let (dx, dx_mode) = grad_buffer(dx, PAIR * image_x);
        let parallel = worth_threads(36 * conv.x.len() * cout);
        for_chunks(0..parts, parallel, [dx, (&mut *partial, w.len())], &|i, [dx, dw]| {
            let images = pair(conv.x.n, i);
            let x = &x[images.start * image_x..images.end * image_x];
            let dy = &dy[images.start * image_y..images.end * image_y];
            let (images, dx) = (images.len(), dx_mode.map(|mode| (dx, mode)));
            work.with(|work| {
                let (sums, work) = work.split_at_mut(sums_len(conv));
                isa.run(Backward { conv: *conv, images, x, weights, dy, dx, dw, sums, work });
            });
        });
        combine(isa, partial, PAIR, dw.to, dw.mode);
    }
}

/// One image at a time, for kernels that do more to it.
pub(crate) struct WinogradImage;

impl WinogradImage {
    /// Elements of the transformed weights, with the row of zeros behind them.
    pub(crate) fn packed(conv: &Conv) -> usize {
        Weights::len(conv.x.c, conv.cout) + zero_len(conv)
    }

    /// Elements of work of either pass.
    pub(crate) fn work(conv: &Conv) -> usize {
        work_len(conv)
    }

    /// Elements of the sums of the weight gradient.
    pub(crate) fn sums(conv: &Conv) -> usize {
        sums_len(conv)
    }

    /// Transforms weights; `flipped` ones for the way back, where `conv` is the one that leads back.
    pub(crate) fn pack(isa: Isa, conv: &Conv, w: &[f32], flipped: bool, packed: &mut [f32]) {
        let (points, zero) = packed.split_at_mut(Weights::len(conv.x.c, conv.cout));
        isa.run(Transform { w, inputs: conv.x.c, outputs: conv.cout, flipped, to: points });
        zero.fill(0.0);
    }

    /// Rows of pixels that are worked on together: whole tiles.
    pub(crate) fn block(conv: &Conv) -> usize {
        TILE * block_rows(conv.x.w)
    }

    /// Rows `rows` of y, whole tiles but for the last, (=|+=) the convolution.
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    pub(crate) fn convolve(
        isa: Isa,
        conv: &Conv,
        rows: Range<usize>,
        x: &[f32],
        packed: &[f32],
        y: &mut [f32],
        mode: Mode,
        work: &mut [f32],
    ) {
        let (points, zero) = packed.split_at(Weights::len(conv.x.c, conv.cout));
        let rows = rows.start / TILE..rows.end.div_ceil(TILE);
        isa.run(Forward { conv: *conv, rows, x, weights: Weights { points, zero }, y, work, e: mode });
    }

    /// Adds to `sums` (overwrites them with `first`) what rows `rows` of dy give to the weight gradient; `packed` are
    /// the weights of the way back.
    #[allow(clippy::too_many_arguments, reason = "the operands of a gradient")]
    pub(crate) fn sum(
        isa: Isa,
        conv: &Conv,
        rows: Range<usize>,
        x: &[f32],
        packed: &[f32],
        dy: &[f32],
        first: bool,
        sums: &mut [f32],
        work: &mut [f32],
    ) {
        let zero = &packed[Weights::len(conv.cout, conv.x.c)..];
        let rows = rows.start / TILE..rows.end.div_ceil(TILE);
        isa.run(Sum { conv, rows, x, dy, zero, first, sums, work });
    }

    /// Overwrites `dw` with the weight gradient that `sums` hold.
    pub(crate) fn finish(isa: Isa, conv: &Conv, sums: &[f32], dw: &mut [f32]) {
        isa.run(Finish { conv, sums, dw });
    }
}

struct Sum<'a> {
    conv: &'a Conv,
    rows: Range<usize>,
    x: &'a [f32],
    dy: &'a [f32],
    zero: &'a [f32],
    first: bool,
    sums: &'a mut [f32],
    work: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, rows, x, dy, zero, first, sums, work } = self;
        winograd_dw(s, conv, rows, x, dy, zero, first, sums, work);
    }
}

struct Finish<'a> {
    conv: &'a Conv,
    sums: &'a [f32],
    dw: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        finish(s, self.conv, self.sums, self.dw);
    }
}
