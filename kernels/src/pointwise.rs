//! 1x1 convolution with stride 1 or 2; also the matrix product of a linear layer.

use crate::columns;
use crate::epilogue::Epilogue;
use crate::gemm::outer::{Step, Walk, product, run_product};
use crate::gemm::pack::{pack, pack_flipped, packed_len, panels};
use crate::gemm::tile::{Columns, Rows, tile};
use crate::gemm::{MR, for_chunks, grad_buffer, worth_threads};
use crate::reduce::{PAIR, combine, pair, pairs, spare_buffers, sum_groups};
use crate::rows::Ahead;
use crate::slots::{Slots, slots};
use crate::{Conv, ConvBackward, Grad, Isa, Kernel, Mode, Shape, Simd};
use std::ops::Range;

/// `y[n,h,w,o]` = sum over c of `x[n, s*h, s*w, c]` * `w[c, o]`, s the stride. Weights are `[cin, cout]`. A linear
/// layer is the case of a 1x1 map.
pub trait PointwiseKernels: Sized {
    /// Scratch elements that [`Self::pointwise_forward`] wants.
    fn pointwise_forward_scratch(conv: &Conv) -> usize;
    /// Scratch elements that [`Self::pointwise_backward`] wants.
    fn pointwise_backward_scratch(conv: &Conv) -> usize;
    /// Overwrites `y`.
    fn pointwise_forward(isa: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], scratch: &mut [Self]);
    /// Gradients of x and w. With stride 2 the pixels of dx that no output read get 0 (in mode `Set`).
    fn pointwise_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>);
}

/// Pixels of a block: with 32 channels x and y of a block stay in the first-level cache (32 KB), with more the
/// tiles of a weight gradient still sum over enough pixels before they are added to memory.
const BLOCK: usize = 96;

/// `y[p, :]` = e(`x[p, :]` * w) for the consecutive pixels of `y`; w is packed.
#[inline(always)]
pub(crate) fn pointwise_rows<S: Simd, E: Epilogue>(
    s: S,
    [cin, cout]: [usize; 2],
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    e: E,
    ahead: &mut Ahead<'_>,
) {
    for (x, y) in x.chunks(BLOCK * cin).zip(y.chunks_mut(BLOCK * cout)) {
        let pixels = y.len() / cout;
        for (i, panel) in panels(cin, packed).enumerate() {
            let columns = Columns::of_panel(i, cout);
            for p in (0..pixels).step_by(MR) {
                ahead.fetch(s);
                let rows = Rows::even(MR.min(pixels - p), (p * cin, cin), (p * cout, cout));
                tile(s, x, panel, &rows, y, columns, e);
            }
        }
    }
}

/// The input pixels that consecutive output pixels of a strided convolution read.
struct InputPixels {
    conv: Conv,
    h: usize,
    w: usize,
    row: usize,
}

impl InputPixels {
    /// From output pixel `first` on.
    #[inline(always)]
    fn from(conv: &Conv, first: usize) -> Self {
        let y = conv.y();
        let (image, h) = (first / (y.h * y.w), first / y.w % y.h);
        Self { conv: *conv, h, w: first % y.w, row: image * conv.x.h + conv.stride * h }
    }

    /// Start of the next pixel.
    #[inline(always)]
    fn next(&mut self) -> usize {
        let Conv { x, stride, .. } = self.conv;
        let at = (self.row * x.w + stride * self.w) * x.c;
        self.w += 1;
        if self.w * stride >= x.w {
            (self.w, self.h, self.row) = (0, self.h + 1, self.row + stride);
            if self.h * stride >= x.h {
                // The next image starts one row earlier where the last row was read (odd height).
                self.row -= self.h * stride - x.h;
                self.h = 0;
            }
        }
        at
    }
}

/// Forward of output pixels `first..` (as many as `y` holds) with a stride; `x` is the whole input.
#[inline(always)]
pub(crate) fn pointwise_strided<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    first: usize,
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    e: E,
) {
    let (cin, cout) = (conv.x.c, conv.cout);
    let mut input = InputPixels::from(conv, first);
    let pixels = y.len() / cout;
    for p in (0..pixels).step_by(MR) {
        let mut rows = Rows::default();
        for p in p..pixels.min(p + MR) {
            rows.push(input.next(), p * cout);
        }
        for (i, panel) in panels(cin, packed).enumerate() {
            tile(s, x, panel, &rows, y, Columns::of_panel(i, cout), e);
        }
    }
}

/// Gradient of the input with a stride, for all images of `conv`; `packed` holds w transposed.
#[inline(always)]
fn strided_dx<S: Simd>(s: S, conv: &Conv, dy: &[f32], packed: &[f32], dx: &mut [f32], mode: Mode) {
    let (cin, cout) = (conv.x.c, conv.cout);
    if mode == Mode::Set {
        dx.fill(0.0);
    }
    let mut input = InputPixels::from(conv, 0);
    let pixels = conv.y().pixels();
    for p in (0..pixels).step_by(MR) {
        let mut rows = Rows::default();
        for p in p..pixels.min(p + MR) {
            rows.push(p * cout, input.next());
        }
        for (i, panel) in panels(cout, packed).enumerate() {
            tile(s, dy, panel, &rows, dx, Columns::of_panel(i, cin), mode);
        }
    }
}

/// Adds to `dw` the gradient of weight rows `first..` (as many as `dw` holds) for all images of `conv`.
#[inline(always)]
fn strided_dw<S: Simd>(s: S, conv: &Conv, x: &[f32], first: usize, dy: &[f32], dw: &mut [f32]) {
    let (cin, cout, y) = (conv.x.c, conv.cout, conv.y());
    // With an even height the output rows of all images are at equal distances in x.
    let even = conv.x.h == y.h * conv.stride;
    let (images, height) = if even { (1, y.n * y.h) } else { (y.n, y.h) };
    let block = (BLOCK / y.w).max(1);
    for image in 0..images {
        for h in (0..height).step_by(block) {
            let (x_row, y_row) = (image * conv.x.h + conv.stride * h, image * y.h + h);
            let walk = Walk {
                at: (x_row * conv.x.w * cin, y_row * y.w * cout),
                images: Step { count: 1, x: 0, dy: 0 },
                rows: Step { count: block.min(height - h), x: conv.stride * conv.x.w * cin, dy: y.w * cout },
                pixels: Step { count: y.w, x: conv.stride * cin, dy: cout },
            };
            product(s, &walk, x, first, dy, dw, cout);
        }
    }
}

/// Both gradients for all images of `conv`: dx set or added, dw (of weight rows `first..`) added. Block by
/// block, so that dy is read from memory once.
#[inline(always)]
pub(crate) fn pointwise_images_backward<S: Simd>(
    s: S,
    conv: &Conv,
    x: &[f32],
    packed: &[f32],
    dy: &[f32],
    mut dx: Option<(&mut [f32], Mode)>,
    mut dw: Option<(usize, &mut [f32])>,
) {
    let (cin, cout) = (conv.x.c, conv.cout);
    if conv.stride != 1 {
        if let Some((dx, mode)) = dx {
            strided_dx(s, conv, dy, packed, dx, mode);
        }
        if let Some((first, dw)) = dw {
            strided_dw(s, conv, x, first, dy, dw);
        }
        return;
    }
    let pixels = conv.x.pixels();
    for p in (0..pixels).step_by(BLOCK) {
        let count = BLOCK.min(pixels - p);
        let dy = &dy[p * cout..][..count * cout];
        if let Some((dx, mode)) = &mut dx {
            pointwise_rows(
                s,
                [cout, cin],
                dy,
                packed,
                &mut dx[p * cin..][..count * cin],
                *mode,
                &mut Ahead::none(),
            );
        }
        if let Some((first, dw)) = &mut dw {
            let x = &x[p * cin..][..count * cin];
            run_product(s, [x, dy], cin, *first, dw, cout);
        }
    }
}

pub(crate) struct Forward<'a, E> {
    pub(crate) conv: &'a Conv,
    pub(crate) first: usize,
    pub(crate) x: &'a [f32],
    pub(crate) packed: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) e: E,
}

impl<E: Epilogue> Kernel for Forward<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, first, x, packed, y, e } = self;
        let (cin, cout) = (conv.x.c, conv.cout);
        if conv.stride == 1 {
            let x = &x[first * cin..][..y.len() / cout * cin];
            pointwise_rows(s, [cin, cout], x, packed, y, e, &mut Ahead::none());
        } else {
            pointwise_strided(s, conv, first, x, packed, y, e);
        }
    }
}

pub(crate) struct Backward<'a> {
    pub(crate) conv: Conv,
    pub(crate) x: &'a [f32],
    pub(crate) packed: &'a [f32],
    pub(crate) dy: &'a [f32],
    pub(crate) dx: Option<(&'a mut [f32], Mode)>,
    pub(crate) dw: Option<(usize, &'a mut [f32])>,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, x, packed, dy, dx, dw } = self;
        pointwise_images_backward(s, &conv, x, packed, dy, dx, dw);
    }
}

/// How the backward pass is cut; from the shape alone.
struct Cut {
    /// Pairs of images.
    parts: usize,
    parallel: bool,
    /// Whether the weight gradient is too large for partial sums: each task then owns some of its rows and reads all
    /// images.
    owned: bool,
}

/// Weights above which partial sums of every pair of images (over 1 MB at batch 32) cost more than reading x and dy
/// again.
pub(crate) const OWNED_WEIGHTS: usize = 128 * 128;

fn cut(conv: &Conv) -> Cut {
    let (n, weights) = (conv.x.n, conv.x.c * conv.cout);
    let parallel = worth_threads(4 * conv.y().pixels() * weights);
    Cut { parts: pairs(n), parallel, owned: weights > OWNED_WEIGHTS }
}

/// Rows of a task that owns them, tasks, and elements of each one's scratch.
fn owned_rows(conv: &Conv) -> (usize, usize, usize) {
    let rows = conv.x.c.div_ceil(8).next_multiple_of(8);
    (rows, conv.x.c.div_ceil(rows), spare_buffers(conv.x.n) * rows * conv.cout)
}

/// Scratch elements of [`pointwise_owned_dw`].
pub(crate) fn pointwise_owned_scratch(conv: &Conv) -> usize {
    let (_, tasks, len) = owned_rows(conv);
    slots(tasks) * len
}

/// The gradient of large weights: each task owns some rows and reads all images, group by group.
pub(crate) fn pointwise_owned_dw(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    dy: &[f32],
    dw: Grad<'_, f32>,
    scratch: &mut [f32],
    parallel: bool,
) {
    let (rows, tasks, len) = owned_rows(conv);
    let spare = Slots::new(scratch, len);
    let (image_x, image_y) = (conv.x.image_len(), conv.y().image_len());
    for_chunks(0..tasks, parallel, [(dw.to, rows * conv.cout)], &|i, [to]| {
        let mut group = |images: Range<usize>, to: &mut [f32]| {
            let conv = Conv { x: Shape { n: images.len(), ..conv.x }, ..*conv };
            let (x, dy) = (&x[images.start * image_x..], &dy[images.start * image_y..]);
            let (x, dy) = (&x[..conv.x.len()], &dy[..conv.y().len()]);
            isa.run(Backward { conv, x, packed: &[], dy, dx: None, dw: Some((i * rows, to)) });
        };
        spare.with(|spare| sum_groups(0..conv.x.n, to, dw.mode, spare, &mut group));
    });
}

/// The forward pass with packed weights, cut into tasks.
pub(crate) fn pointwise_packed<E: Epilogue>(
    isa: Isa,
    conv: &Conv,
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    parallel: bool,
    e: E,
) {
    let (weights, cout, pixels) = (conv.x.c * conv.cout, conv.cout, conv.y().pixels());
    // About 4 MFLOP a task (40 us): 1,950 pixels at 32 channels, 36 at 256.
    let chunk = (4_000_000 / (2 * weights)).clamp(36, 2048) / MR * MR;
    for_chunks(0..pixels.div_ceil(chunk), parallel, [(y, chunk * cout)], &|i, [y]| {
        isa.run(Forward { conv, first: i * chunk, x, packed, y, e });
    });
}

/// Whether this is a linear layer whose products are cut by columns. They have far more than [`OWNED_WEIGHTS`].
const fn by_columns(conv: &Conv) -> bool {
    conv.x.h == 1 && conv.x.w == 1 && columns::pay(conv.x.n, conv.x.c * conv.cout)
}

impl PointwiseKernels for f32 {
    fn pointwise_forward_scratch(conv: &Conv) -> usize {
        let columns = if by_columns(conv) { columns::scratch_len(conv.x.n, conv.cout) } else { 0 };
        packed_len(conv.x.c, conv.cout) + columns
    }

    fn pointwise_backward_scratch(conv: &Conv) -> usize {
        let cut = cut(conv);
        let sums = match cut {
            Cut { owned: true, .. } => pointwise_owned_scratch(conv),
            Cut { parts: 1, .. } => 0,
            Cut { parts, .. } => parts * conv.x.c * conv.cout,
        };
        let columns = if by_columns(conv) { columns::scratch_len(conv.x.n, conv.x.c) } else { 0 };
        packed_len(conv.cout, conv.x.c) + columns + sums
    }

    fn pointwise_forward(
        isa: Isa,
        conv: &Conv,
        x: &[Self],
        w: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        let (cin, cout, pixels) = (conv.x.c, conv.cout, conv.y().pixels());
        assert_eq!(x.len(), conv.x.len(), "pointwise_forward: x");
        assert_eq!(w.len(), cin * cout, "pointwise_forward: w");
        assert_eq!(y.len(), conv.y().len(), "pointwise_forward: y");
        let (packed, scratch) = scratch.split_at_mut(packed_len(cin, cout));
        pack(cin, cout, w, packed);
        let parallel = worth_threads(2 * pixels * cin * cout);
        if by_columns(conv) {
            return columns::product(isa, [cin, cout], x, packed, y, Mode::Set, scratch, parallel);
        }
        pointwise_packed(isa, conv, x, packed, y, parallel, Mode::Set);
    }

    fn pointwise_backward(isa: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, scratch } = args;
        let (cin, cout, out) = (conv.x.c, conv.cout, conv.y());
        assert_eq!(x.len(), conv.x.len(), "pointwise_backward: x");
        assert_eq!(w.len(), cin * cout, "pointwise_backward: w");
        assert_eq!(dy.len(), out.len(), "pointwise_backward: dy");
        assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == x.len()), "pointwise_backward: dx");
        assert_eq!(dw.to.len(), w.len(), "pointwise_backward: dw");
        let (packed, scratch) = scratch.split_at_mut(packed_len(cout, cin));
        if dx.is_some() {
            pack_flipped(1, cin, cout, w, packed);
        }
        let packed = &*packed;
        let Cut { parts, parallel, owned } = cut(conv);
        if by_columns(conv) {
            let (scratch, spare) = scratch.split_at_mut(columns::scratch_len(conv.x.n, cin));
            if let Some(dx) = dx {
                columns::product(isa, [cout, cin], dy, packed, dx.to, dx.mode, scratch, parallel);
            }
            return pointwise_owned_dw(isa, conv, x, dy, dw, spare, parallel);
        }
        let direct = parts == 1;
        if direct && !owned && dw.mode == Mode::Set {
            dw.to.fill(0.0);
        }
        let part_weights = if owned { 0 } else { w.len() };

        let (image_x, image_y) = (conv.x.image_len(), out.image_len());
        let (dx, dx_mode) = grad_buffer(dx, PAIR * image_x);
        let sums: &mut [f32] = match (owned, direct) {
            (true, _) => &mut [],
            (false, true) => dw.to,
            (false, false) => &mut scratch[..parts * w.len()],
        };
        for_chunks(0..parts, parallel, [dx, (sums, part_weights)], &|i, [dx, dw]| {
            let images = pair(conv.x.n, i);
            let conv = Conv { x: Shape { n: images.len(), ..conv.x }, ..*conv };
            if !direct && !owned {
                dw.fill(0.0);
            }
            isa.run(Backward {
                conv,
                x: &x[images.start * image_x..images.end * image_x],
                packed,
                dy: &dy[images.start * image_y..images.end * image_y],
                dx: dx_mode.map(|mode| (dx, mode)),
                dw: (!owned).then_some((0, dw)),
            });
        });
        if owned {
            pointwise_owned_dw(isa, conv, x, dy, dw, scratch, parallel);
        } else if !direct {
            combine(isa, &scratch[..parts * w.len()], PAIR, dw.to, dw.mode);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times the identity is exact: packing and lanes are checked without a tolerance.
    #[test]
    fn identity_copies_bits() {
        for (isa, c) in Isa::available().into_iter().flat_map(|isa| [1, 7, 16, 19, 48].map(|c| (isa, c))) {
            let conv = Conv { x: Shape::new(2, 3, 5, c), cout: c, stride: 1 };
            let x: Vec<f32> = (0..conv.x.len()).map(|i| (i as f32).sin()).collect();
            let w: Vec<f32> = (0..c * c).map(|i| f32::from(u8::from(i / c == i % c))).collect();
            let mut y = vec![f32::NAN; x.len()];
            let mut scratch = vec![f32::NAN; f32::pointwise_forward_scratch(&conv)];
            f32::pointwise_forward(isa, &conv, &x, &w, &mut y, &mut scratch);
            assert_eq!(x, y, "{c} channels on {isa:?}");
        }
    }
}
