//! Depthwise 3x3 followed by pointwise, fused: the depthwise result lives only in a strip of scratch and is
//! computed again in the backward pass (9 multiply-adds an element against cout of the pointwise).

use crate::dwconv::{dw_rows_backward, dw_rows_forward};
use crate::epilogue::Epilogue;
use crate::gemm::outer::run_product;
use crate::gemm::pack::{pack, pack_flipped, packed_len};
use crate::gemm::{MR, NR, for_chunks, grad_buffer, worth_threads};
use crate::pointwise::{OWNED_WEIGHTS, pointwise_owned_dw, pointwise_owned_scratch, pointwise_rows};
use crate::reduce::{PAIR, combine, pair, pairs};
use crate::rows::{Ahead, STREAMS, next_rows, row_blocks, take_rows};
use crate::slots::{Slots, slots};
use crate::{Conv, Grad, Isa, Kernel, Mode, Shape, Simd};
use std::ops::Range;

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
    #[allow(clippy::too_many_arguments, reason = "the operands of two layers")]
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

/// Rows of a strip: its depthwise result is 12 KB where the channels allow it, so that the pointwise tiles read
/// it from the first-level cache, and at least 72 pixels, so that each panel of weights serves twelve tiles.
const fn strip_rows(conv: &Conv) -> usize {
    let Shape { h, w, c, .. } = conv.x;
    let (cached, wanted) = (3 * 1024 / (w * c), 72_usize.div_ceil(w));
    let rows = if cached > wanted { cached } else { wanted };
    if rows < h { rows } else { h }
}

/// Elements of a strip.
pub(crate) const fn strip_len(conv: &Conv) -> usize {
    strip_rows(conv) * conv.x.w * conv.x.c
}

/// Output rows `rows` of one image, strip by strip: `y_rows` gets what `e` makes of the sums, `strip` holds
/// [`strip_len`] elements of garbage, `packed` the pointwise weights.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands of two layers")]
pub(crate) fn dw_pw_rows_forward<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x_image: &[f32],
    wd: &[f32],
    packed: &[f32],
    y_rows: &mut [f32],
    strip: &mut [f32],
    ahead: [&[f32]; STREAMS],
    e: E,
) {
    let (Shape { w, c, .. }, cout) = (conv.x, conv.cout);
    let step = strip_rows(conv);
    let mut ahead = Ahead::new(ahead, tiles(rows.len() * w, cout));
    for (first, y) in rows.clone().step_by(step).zip(y_rows.chunks_mut(step * w * cout)) {
        let strip_rows = first..rows.end.min(first + step);
        let z = &mut strip[..strip_rows.len() * w * c];
        dw_rows_forward(s, conv.x, strip_rows, x_image, wd, z);
        pointwise_rows(s, [c, cout], z, packed, y, e, &mut ahead);
    }
}

/// Tiles of the pointwise product of so many pixels to `cout` channels.
const fn tiles(pixels: usize, cout: usize) -> usize {
    pixels.div_ceil(MR) * cout.div_ceil(NR)
}

/// Rows of a block that stays in cache between the stages around these kernels: 48 KB of x, whole strips.
pub(crate) const fn block_rows(conv: &Conv) -> usize {
    let (strip, rows) = (strip_rows(conv), 12 * 1024 / (conv.x.w * conv.x.c));
    if rows < strip { strip } else { rows / strip * strip }
}

/// The rows of dx that are complete once rows `rows` of dy have been seen, and were not before: one behind, since
/// the depthwise window reaches one row down.
pub(crate) fn complete_rows(conv: &Conv, rows: &Range<usize>) -> Range<usize> {
    let end = if rows.end == conv.x.h { conv.x.h } else { rows.end - 1 };
    rows.start.saturating_sub(1)..end
}

/// What the backward pass of an image reads.
#[derive(Clone, Copy)]
pub(crate) struct Image<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) wd: &'a [f32],
    /// Pointwise weights, transposed and packed.
    pub(crate) packed: &'a [f32],
    pub(crate) dy: &'a [f32],
    /// Memory that is read next, fetched meanwhile.
    pub(crate) ahead: [&'a [f32]; STREAMS],
}

/// Where the backward pass of some rows leaves its results.
pub(crate) struct ImageGrads<'a> {
    /// The rows that are complete.
    pub(crate) dx: Option<(&'a mut [f32], Mode)>,
    /// Added to.
    pub(crate) dwd: &'a mut [f32],
    pub(crate) dwp: PointwiseGrad<'a>,
    /// One image of garbage, for the gradient of the depthwise result.
    pub(crate) dz: &'a mut [f32],
}

/// The gradient of the pointwise weights, or what is needed to compute it later.
pub(crate) enum PointwiseGrad<'a> {
    /// Added to, with a strip of garbage.
    Sum { dwp: &'a mut [f32], strip: &'a mut [f32] },
    /// Gets the depthwise result of the image.
    Later { z: &'a mut [f32] },
}

/// All gradients of rows `rows` of one image, the rows before them done. Strip by strip, the depthwise result is
/// computed again and meets dy, from which the gradient of that result is made in the same pass; then the
/// depthwise gradients of [`complete_rows`] follow.
#[inline(always)]
pub(crate) fn dw_pw_rows_backward<S: Simd>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    image: Image<'_>,
    grads: ImageGrads<'_>,
) {
    let (Shape { w, c, .. }, cout) = (conv.x, conv.cout);
    let Image { x, wd, packed, dy, ahead } = image;
    let ImageGrads { dx, dwd, mut dwp, dz } = grads;
    let step = strip_rows(conv);
    let complete = complete_rows(conv, &rows);
    let mut ahead = Ahead::new(ahead, tiles(rows.len() * w, c));
    for first in rows.clone().step_by(step) {
        let rows = first..rows.end.min(first + step);
        let pixels = rows.len() * w;
        let dy = &dy[first * w * cout..][..pixels * cout];
        let at = first * w * c..(first * w + pixels) * c;
        // One call for both, for the sake of compile time: the depthwise body is inlined.
        let z = match &mut dwp {
            PointwiseGrad::Sum { strip, .. } => &mut strip[..pixels * c],
            PointwiseGrad::Later { z } => &mut z[at.clone()],
        };
        dw_rows_forward(s, conv.x, rows, x, wd, z);
        if let PointwiseGrad::Sum { dwp, strip } = &mut dwp {
            run_product(s, [&strip[..pixels * c], dy], c, 0, dwp, cout);
        }
        pointwise_rows(s, [cout, c], dy, packed, &mut dz[at], Mode::Set, &mut ahead);
    }
    dw_rows_backward(s, conv.x, complete, x, wd, dz, dx, dwd);
}

pub(crate) struct Forward<'a, E> {
    pub(crate) conv: &'a Conv,
    pub(crate) rows: Range<usize>,
    pub(crate) x: &'a [f32],
    pub(crate) wd: &'a [f32],
    pub(crate) packed: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) strip: &'a mut [f32],
    /// Memory that is read next, fetched meanwhile.
    pub(crate) ahead: [&'a [f32]; STREAMS],
    pub(crate) e: E,
}

impl<E: Epilogue> Kernel for Forward<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, rows, x, wd, packed, y, strip, ahead, e } = self;
        dw_pw_rows_forward(s, conv, rows, x, wd, packed, y, strip, ahead, e);
    }
}

pub(crate) struct Backward<'a> {
    pub(crate) conv: &'a Conv,
    pub(crate) rows: Range<usize>,
    pub(crate) image: Image<'a>,
    pub(crate) grads: ImageGrads<'a>,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        dw_pw_rows_backward(s, self.conv, self.rows, self.image, self.grads);
    }
}

/// Output rows a task of the forward pass: an image, or less where the batch is small, but three tiles.
fn task_rows(conv: &Conv) -> usize {
    let wanted = conv.x.h.div_ceil(8usize.div_ceil(conv.x.n)).max((3 * MR).div_ceil(conv.x.w));
    (wanted..conv.x.h).find(|rows| conv.x.h.is_multiple_of(*rows)).unwrap_or(conv.x.h)
}

/// How the backward pass is cut; from the shape alone.
struct Cut {
    /// Pairs of images.
    parts: usize,
    parallel: bool,
    /// The pointwise gradient is too large for a sum in every part: the depthwise result of the whole batch is
    /// kept instead (1.2 MB at 6x6x256) and read by tasks that own rows of the gradient.
    owned: bool,
}

impl Cut {
    fn new(conv: &Conv) -> Self {
        let (n, weights) = (conv.x.n, conv.x.c * conv.cout);
        let parallel = worth_threads(4 * conv.x.pixels() * weights);
        Self { parts: pairs(n), parallel, owned: weights > OWNED_WEIGHTS }
    }

    /// Elements of the sums of `weights` weights in scratch: none where one part adds to the result itself.
    fn sums(&self, weights: usize) -> usize {
        if self.parts == 1 { 0 } else { self.parts * weights }
    }

    /// Elements of scratch: packed weights, sums of dwd, dz and strip of the parts that run at once, z, sums of dwp or
    /// scratch of the tasks that own its rows.
    fn scratch(&self, conv: &Conv) -> [usize; 5] {
        let (c, cout) = (conv.x.c, conv.cout);
        let (dwp, z) = match self.owned {
            true => (pointwise_owned_scratch(conv), conv.x.len()),
            false => (self.sums(c * cout), 0),
        };
        let work = slots(self.parts) * (conv.x.image_len() + strip_len(conv));
        [packed_len(cout, c), self.sums(9 * c), work, z, dwp]
    }
}

/// Whether the forward pass is worth several threads.
fn forward_parallel(conv: &Conv) -> bool {
    worth_threads(2 * conv.x.len() * (9 + conv.cout))
}

/// Elements of the strips of all tasks of [`dw_pw_packed`].
pub(crate) fn dw_pw_strips_len(conv: &Conv, parallel: bool) -> usize {
    let tasks = if parallel { conv.x.n * (conv.x.h / task_rows(conv)) } else { 1 };
    tasks * strip_len(conv)
}

/// The forward pass with packed pointwise weights, cut into tasks; `strips` holds [`dw_pw_strips_len`] elements.
#[allow(clippy::too_many_arguments, reason = "the operands of two layers")]
pub(crate) fn dw_pw_packed<E: Epilogue>(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    [wd, packed]: [&[f32]; 2],
    y: &mut [f32],
    strips: &mut [f32],
    parallel: bool,
    e: E,
) {
    let image = conv.x.image_len();
    let run = |n: usize, rows: Range<usize>, y: &mut [f32], strip: &mut [f32]| {
        let mut y = y;
        for (rows, seen) in row_blocks(rows, conv.x.h, block_rows(conv)) {
            let len = rows.len() * conv.x.w * conv.cout;
            let y_rows = y.split_off_mut(..len).expect("rows of y");
            // A store to a line that is not in cache waits for it, too.
            let ahead =
                [next_rows(&x[n * image..], conv.x.w * conv.x.c, &seen), &y[..len.min(y.len())], &[], &[]];
            let x = &x[n * image..][..image];
            isa.run(Forward { conv, rows, x, wd, packed, y: y_rows, strip: &mut *strip, ahead, e });
        }
    };
    if !parallel {
        // One strip for all, which stays in the first-level cache.
        let images = y.chunks_exact_mut(conv.y().image_len()).enumerate();
        images.for_each(|(n, y)| run(n, 0..conv.x.h, y, strips));
        return;
    }
    let rows = task_rows(conv);
    let blocks = conv.x.h / rows;
    let buffers = [(y, rows * conv.x.w * conv.cout), (strips, strip_len(conv))];
    for_chunks(0..conv.x.n * blocks, true, buffers, &|i, [y, strip]| {
        let first = i % blocks * rows;
        run(i / blocks, first..first + rows, y, strip);
    });
}

impl DwPwKernels for f32 {
    fn dw_pw_forward_scratch(conv: &Conv) -> usize {
        packed_len(conv.x.c, conv.cout) + dw_pw_strips_len(conv, forward_parallel(conv))
    }

    fn dw_pw_backward_scratch(conv: &Conv) -> usize {
        Cut::new(conv).scratch(conv).iter().sum()
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
        let (c, cout) = (conv.x.c, conv.cout);
        assert_eq!(conv.stride, 1, "dw_pw_forward: stride");
        assert_eq!(x.len(), conv.x.len(), "dw_pw_forward: x");
        assert_eq!(wd.len(), 9 * c, "dw_pw_forward: wd");
        assert_eq!(wp.len(), c * cout, "dw_pw_forward: wp");
        assert_eq!(y.len(), conv.y().len(), "dw_pw_forward: y");
        let (packed, strips) = scratch.split_at_mut(packed_len(c, cout));
        pack(c, cout, wp, packed);
        dw_pw_packed(isa, conv, x, [wd, packed], y, strips, forward_parallel(conv), Mode::Set);
    }

    fn dw_pw_backward(isa: Isa, conv: &Conv, args: DwPwBackward<'_, Self>) {
        let DwPwBackward { x, wd, wp, dy, dx, dwd, dwp, mut scratch } = args;
        let (c, cout) = (conv.x.c, conv.cout);
        assert_eq!(conv.stride, 1, "dw_pw_backward: stride");
        assert_eq!(x.len(), conv.x.len(), "dw_pw_backward: x");
        assert_eq!(wd.len(), 9 * c, "dw_pw_backward: wd");
        assert_eq!(wp.len(), c * cout, "dw_pw_backward: wp");
        assert_eq!(dy.len(), conv.y().len(), "dw_pw_backward: dy");
        assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == x.len()), "dw_pw_backward: dx");
        assert_eq!(dwd.to.len(), wd.len(), "dw_pw_backward: dwd");
        assert_eq!(dwp.to.len(), wp.len(), "dw_pw_backward: dwp");
        let cut = Cut::new(conv);
        let [packed, sums_d, work, z, dwp_len] = cut.scratch(conv);
        let [packed, sums_d, work, z] = [packed, sums_d, work, z]
            .map(|len| scratch.split_off_mut(..len).expect("dw_pw_backward: scratch"));
        // Tasks that own rows take as many slots as there are.
        let sums_p = if cut.owned { scratch } else { &mut scratch[..dwp_len] };
        pack_flipped(1, c, cout, wp, packed);
        let packed = &*packed;

        let direct = cut.parts == 1;
        for (grad, direct) in [
            (&mut *dwd.to, direct && dwd.mode == Mode::Set),
            (&mut *dwp.to, direct && !cut.owned && dwp.mode == Mode::Set),
        ] {
            if direct {
                grad.fill(0.0);
            }
        }
        let part_p = if cut.owned { 0 } else { wp.len() };
        let (to_p, to_d) = match (direct, cut.owned) {
            (true, true) => (&mut [][..], &mut *dwd.to),
            (true, false) => (&mut *dwp.to, &mut *dwd.to),
            (false, _) => (&mut *sums_p, &mut *sums_d),
        };
        let (image_x, image_y) = (conv.x.image_len(), conv.y().image_len());
        let (dx, dx_mode) = grad_buffer(dx, PAIR * image_x);
        let z_part = if cut.owned { PAIR * image_x } else { 0 };
        let work = Slots::new(work, image_x + strip_len(conv));
        let buffers = [dx, (to_p, part_p), (to_d, wd.len()), (&mut *z, z_part)];
        for_chunks(0..cut.parts, cut.parallel, buffers, &|part, [dx, dwp, dwd, z]| {
            if !direct {
                dwp.fill(0.0);
                dwd.fill(0.0);
            }
            work.with(|work| {
                let (dz, strip) = work.split_at_mut(image_x);
                for (i, n) in pair(conv.x.n, part).enumerate() {
                    let (x, dy) = (&x[n * image_x..], &dy[n * image_y..]);
                    let image = i * image_x..(i + 1) * image_x;
                    let mut dx = dx_mode.map(|mode| (&mut dx[image.clone()], mode));
                    let (x_row, y_row) = (conv.x.w * c, conv.x.w * cout);
                    for (rows, seen) in row_blocks(0..conv.x.h, conv.x.h, block_rows(conv)) {
                        let len = complete_rows(conv, &rows).len() * x_row;
                        let (dx, behind) = take_rows(&mut dx, len);
                        let ahead = [next_rows(x, x_row, &seen), next_rows(dy, y_row, &seen), behind, &[]];
                        let image = Image { x: &x[..image_x], wd, packed, dy: &dy[..image_y], ahead };
                        let dwp = if cut.owned {
                            PointwiseGrad::Later { z: &mut z[i * image_x..][..image_x] }
                        } else {
                            PointwiseGrad::Sum { dwp: &mut *dwp, strip: &mut *strip }
                        };
                        let grads = ImageGrads { dx, dwd: &mut *dwd, dwp, dz: &mut *dz };
                        isa.run(Backward { conv, rows, image, grads });
                    }
                }
            });
        });
        if cut.owned {
            pointwise_owned_dw(isa, conv, z, dy, dwp, sums_p, cut.parallel);
        } else if !direct {
            combine(isa, sums_p, PAIR, dwp.to, dwp.mode);
        }
        if !direct {
            combine(isa, sums_d, PAIR, dwd.to, dwd.mode);
        }
    }
}
