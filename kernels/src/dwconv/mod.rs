//! Depthwise 3x3 convolution, stride 1, padding 1. Oracle: `oracle/dwconv.rs`.
//!
//! A block of eight channels slides along a pair of output rows: the four input rows' vectors of one column are
//! loaded once and feed three columns of outputs in both rows, 18 multiply-adds to 4 loads, with nine weights,
//! six sums and the column in the 16 registers. The gradient of x is the same slide over dy with the taps
//! turned round; the gradient of w keeps its nine sums and three dy vectors in registers while x slides by.
//! Borders cost nothing: which input rows exist is a constant of the instance, and the slide starts at column
//! 0 and stops at the last.

mod convolve;
mod correlate;
mod rows;

use crate::gemm::{for_chunks, grad_buffer};
use crate::reduce::{PAIR, combine, pair, pairs, part_range};
use crate::{ConvBackward, Isa, Kernel, Mode, Shape, Simd};
use convolve::convolve_rows;
use correlate::correlate_pair;
use rows::taps;
use std::ops::Range;

/// `y[n,h,w,c]` = sum over taps (i, j) of `x[n, h+i-1, w+j-1, c]` * `w[i, j, c]`. Weights are `[3, 3, c]`; `shape`
/// is that of x and y.
pub trait DwConvKernels: Sized {
    /// Scratch elements that [`Self::dwconv_backward`] wants.
    fn dwconv_backward_scratch(shape: Shape) -> usize;
    /// Overwrites `y`.
    fn dwconv_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]);
    /// Gradients of x and w.
    fn dwconv_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>);
}

impl DwConvKernels for f32 {
    fn dwconv_backward_scratch(shape: Shape) -> usize {
        pairs(shape.n) * 9 * shape.c
    }

    fn dwconv_forward(isa: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]) {
        assert_eq!(x.len(), shape.len(), "x of {shape}");
        assert_eq!(w.len(), 9 * shape.c, "w of {shape}");
        assert_eq!(y.len(), shape.len(), "y of {shape}");
        let partition = Partition::new(shape);
        let run = |part, y: &mut [f32]| isa.run(Forward { shape, rows: partition.rows(part), x, w, y });
        forward_parts(&partition, 0..partition.count, y, &run);
    }

    fn dwconv_backward(isa: Isa, shape: Shape, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, scratch } = args;
        assert_eq!(x.len(), shape.len(), "x of {shape}");
        assert_eq!(w.len(), 9 * shape.c, "w of {shape}");
        assert_eq!(dy.len(), shape.len(), "dy of {shape}");
        assert_eq!(dw.to.len(), 9 * shape.c, "dw of {shape}");
        let sums = pairs(shape.n) * 9 * shape.c;
        assert!(scratch.len() >= sums, "scratch of {shape}: {} < {sums}", scratch.len());
        assert!(dx.as_ref().is_none_or(|dx| dx.to.len() == shape.len()), "dx of {shape}");
        let sums = &mut scratch[..sums];
        let (dx, dx_mode) = grad_buffer(dx, PAIR * shape.image_len());
        for_chunks(0..pairs(shape.n), parallel(shape), [dx, (&mut *sums, 9 * shape.c)], &|part, [dx, dw]| {
            let images = pair(shape.n, part);
            let rows = images.start * shape.h..images.end * shape.h;
            isa.run(Backward { shape, rows, x, w, dy, dx: dx_mode.map(|mode| (dx, mode)), dw });
        });
        combine(isa, sums, PAIR, dw.to, dw.mode);
    }
}

/// Elements below which a pass stays on one thread, and that a task has at least: at 80 GFLOP/s a task of 16 K
/// elements takes 4 us, a few times what starting it costs.
const TASK: usize = 16 * 1024;

/// Whether there is work for two threads.
const fn parallel(shape: Shape) -> bool {
    shape.len() >= 2 * TASK
}

/// How the rows of all images are cut for the forward pass, by shape alone: groups of images, or blocks of the rows of
/// each image where there are few images.
struct Partition {
    shape: Shape,
    /// Parts that all images are cut into.
    count: usize,
    /// Parts that one image is cut into; above 1, `count` is `n * blocks`.
    blocks: usize,
    /// Images of a part, where an image is not cut.
    images: usize,
}

impl Partition {
    /// Row blocks that make about 16 parts of fewer than 16 images.
    fn blocks(shape: Shape) -> usize {
        (16 / shape.n.max(1)).min(shape.image_len() / TASK).min(shape.h / 4).max(1)
    }

    /// As many parts as are worth a task.
    fn new(shape: Shape) -> Self {
        let blocks = Self::blocks(shape);
        let images = shape.n.div_ceil(shape.len().div_ceil(TASK).max(1)).max(1);
        let count = if blocks > 1 { shape.n * blocks } else { shape.n.div_ceil(images) };
        Self { shape, count, blocks, images }
    }

    /// The rows of one part, counted through all images.
    fn rows(&self, part: usize) -> Range<usize> {
        let Shape { n, h, .. } = self.shape;
        if self.blocks > 1 {
            let (image, rows) = (part / self.blocks, part_range(h, self.blocks, part % self.blocks));
            image * h + rows.start..image * h + rows.end
        } else {
            part * self.images * h..n.min((part + 1) * self.images) * h
        }
    }

    /// Elements of the first half of some parts.
    fn len(&self, parts: Range<usize>) -> usize {
        (self.rows(parts.end - 1).end - self.rows(parts.start).start) * self.shape.w * self.shape.c
    }
}

/// Calls `run` for every part, with its rows of y.
fn forward_parts(
    partition: &Partition,
    parts: Range<usize>,
    y: &mut [f32],
    run: &(impl Fn(usize, &mut [f32]) + Sync),
) {
    let middle = (parts.start + parts.end) / 2;
    match parts.len() {
        0 => {}
        1 => run(parts.start, y),
        _ => {
            let (a, b) = y.split_at_mut(partition.len(parts.start..middle));
            let mut first = || forward_parts(partition, parts.start..middle, a, run);
            let mut second = || forward_parts(partition, middle..parts.end, b, run);
            if parallel(partition.shape) {
                rayon::join(first, second);
            } else {
                first();
                second();
            }
        }
    }
}

/// Some rows of some images, counted through all images; `y` is those rows.
struct Forward<'a> {
    shape: Shape,
    rows: Range<usize>,
    x: &'a [f32],
    w: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, mut rows, x, w, mut y } = self;
        while !rows.is_empty() {
            let (image, part) = first_image(shape, &mut rows);
            let y_rows = y.split_off_mut(..part.len() * shape.w * shape.c).expect("y is as long as rows");
            dw_rows_forward(s, shape, part, &x[image * shape.image_len()..][..shape.image_len()], w, y_rows);
        }
    }
}

/// Some rows of some images, counted through all images; `dx` is those rows, `dw` is overwritten.
struct Backward<'a> {
    shape: Shape,
    rows: Range<usize>,
    x: &'a [f32],
    w: &'a [f32],
    dy: &'a [f32],
    dx: Option<(&'a mut [f32], Mode)>,
    dw: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, mut rows, x, w, dy, mut dx, dw } = self;
        dw.fill(0.0);
        while !rows.is_empty() {
            let (image, part) = first_image(shape, &mut rows);
            let len = part.len() * shape.w * shape.c;
            let dx_rows = dx
                .as_mut()
                .map(|(dx, mode)| (dx.split_off_mut(..len).expect("dx is as long as rows"), *mode));
            let at = image * shape.image_len()..(image + 1) * shape.image_len();
            dw_rows_backward(s, shape, part, &x[at.clone()], w, &dy[at], dx_rows, dw);
        }
    }
}

/// Takes the rows of the first image off `rows`: which image, and its rows counted from its first.
#[inline(always)]
fn first_image(shape: Shape, rows: &mut Range<usize>) -> (usize, Range<usize>) {
    let image = rows.start / shape.h;
    let (first, end) = (rows.start - image * shape.h, (rows.end - image * shape.h).min(shape.h));
    rows.start = image * shape.h + end;
    (image, first..end)
}

/// Output rows `rows` of one image: `x_image` is `[h, w, c]`, `y_rows` `[rows.len(), w, c]` is overwritten.
#[inline(always)]
pub(crate) fn dw_rows_forward<S: Simd>(
    s: S,
    shape: Shape,
    rows: Range<usize>,
    x_image: &[f32],
    w: &[f32],
    y_rows: &mut [f32],
) {
    convolve_rows(s, shape, rows, x_image, taps(w, shape.c, false), y_rows, Mode::Set);
}

/// What rows `rows` of one image give: those rows of dx, `[rows.len(), w, c]`, and the products of those rows
/// of dy with x, added to `dw`, `[3, 3, c]`.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the operands of one gradient")]
pub(crate) fn dw_rows_backward<S: Simd>(
    s: S,
    shape: Shape,
    rows: Range<usize>,
    x_image: &[f32],
    w: &[f32],
    dy_image: &[f32],
    mut dx_rows: Option<(&mut [f32], Mode)>,
    dw: &mut [f32],
) {
    let Shape { h, w: width, c, .. } = shape;
    let row_len = width * c;
    assert_eq!(x_image.len(), h * row_len, "x of one image of {shape}");
    assert_eq!(dy_image.len(), h * row_len, "dy of one image of {shape}");
    let taps = taps(w, c, true);
    // A pair of rows at a time through both gradients, while its dy is in cache.
    let mut row = rows.start;
    while row < rows.end {
        let pair = row..(row + 2).min(rows.end);
        if let Some((dx, mode)) = &mut dx_rows {
            let dx = &mut dx[(row - rows.start) * row_len..][..pair.len() * row_len];
            convolve_rows(s, shape, pair.clone(), dy_image, taps, dx, *mode);
        }
        correlate_pair(s, shape, pair.clone(), x_image, dy_image, dw);
        row = pair.end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grad;

    /// Several strips, an odd row, tail channels; narrow and flat maps.
    const SHAPES: [Shape; 6] = [
        Shape::new(1, 5, 35, 37),
        Shape::new(2, 7, 6, 256),
        Shape::new(3, 1, 9, 8),
        Shape::new(1, 9, 1, 16),
        Shape::new(1, 1, 1, 8),
        Shape::new(1, 2, 2, 11),
    ];

    /// Distinct and exact in f32.
    fn numbered(shape: Shape) -> Vec<f32> {
        (0..shape.len()).map(|i| (i + 1) as f32).collect()
    }

    fn at(Shape { h, w, c, .. }: Shape, image: usize, row: usize, col: usize) -> Range<usize> {
        let pixel = (image * h + row) * w + col;
        pixel * c..(pixel + 1) * c
    }

    fn pixels(Shape { n, h, w, .. }: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..n * h * w).map(move |p| (p / (h * w), p / w % h, p % w))
    }

    #[test]
    fn one_tap_shifts_and_the_gradient_shifts_back() {
        for isa in Isa::available() {
            for (shape, tap) in SHAPES.iter().flat_map(|&s| (0..9).map(move |t| (s, t))) {
                let x = numbered(shape);
                let mut w = vec![0.0; 9 * shape.c];
                w[tap * shape.c..][..shape.c].fill(1.0);
                let mut y = vec![f32::NAN; shape.len()];
                f32::dwconv_forward(isa, shape, &x, &w, &mut y);
                let (mut dx, mut dw) = (vec![f32::NAN; shape.len()], vec![f32::NAN; w.len()]);
                let mut scratch = vec![f32::NAN; f32::dwconv_backward_scratch(shape)];
                let args = ConvBackward {
                    x: &vec![0.0; shape.len()],
                    w: &w,
                    dy: &x,
                    dx: Some(Grad::set(&mut dx)),
                    dw: Grad::set(&mut dw),
                    scratch: &mut scratch,
                };
                f32::dwconv_backward(isa, shape, args);
                let beside = |(image, row, col): (usize, usize, usize), i: usize, j: usize| {
                    let inside = (1..=shape.h).contains(&(row + i)) && (1..=shape.w).contains(&(col + j));
                    let from = inside.then(|| at(shape, image, row + i - 1, col + j - 1));
                    from.map_or(vec![0.0; shape.c], |from| x[from].to_vec())
                };
                let (i, j) = (tap / 3, tap % 3);
                for p in pixels(shape) {
                    let here = at(shape, p.0, p.1, p.2);
                    assert_eq!(y[here.clone()], beside(p, i, j), "y {shape} tap {tap} {p:?} {isa:?}");
                    assert_eq!(dx[here], beside(p, 2 - i, 2 - j), "dx {shape} tap {tap} {p:?} {isa:?}");
                }
                assert!(dw.iter().all(|&d| d == 0.0), "dw of x = 0");
            }
        }
    }

    /// With ones everywhere y and dx count the neighbours inside the map, and tap (i, j) of dw the pixels that
    /// have a neighbour there.
    #[test]
    fn ones_count_neighbours() {
        for isa in Isa::available() {
            for shape in SHAPES {
                let (x, w) = (vec![1.0; shape.len()], vec![1.0; 9 * shape.c]);
                let mut y = vec![f32::NAN; shape.len()];
                f32::dwconv_forward(isa, shape, &x, &w, &mut y);
                let (mut dx, mut dw) = (vec![1000.0; shape.len()], vec![2000.0; w.len()]);
                let mut scratch = vec![f32::NAN; f32::dwconv_backward_scratch(shape)];
                let args = ConvBackward {
                    x: &x,
                    w: &w,
                    dy: &x,
                    dx: Some(Grad::add(&mut dx)),
                    dw: Grad::add(&mut dw),
                    scratch: &mut scratch,
                };
                f32::dwconv_backward(isa, shape, args);
                let along = |at: usize, size: usize| 3 - usize::from(at == 0) - usize::from(at + 1 == size);
                for (image, row, col) in pixels(shape) {
                    let count = (along(row, shape.h) * along(col, shape.w)) as f32;
                    let here = at(shape, image, row, col);
                    assert!(y[here.clone()].iter().all(|&y| y == count), "y {shape} {row} {col}");
                    assert!(dx[here].iter().all(|&d| d == 1000.0 + count), "dx {shape} {row} {col}");
                }
                for (t, dw) in dw.chunks_exact(shape.c).enumerate() {
                    let with = |tap: usize, size: usize| size - usize::from(tap != 1);
                    let count = (shape.n * with(t / 3, shape.h) * with(t % 3, shape.w)) as f32;
                    assert!(dw.iter().all(|&d| d == 2000.0 + count), "dw {shape} tap {t}");
                }
            }
        }
    }

    /// The fused kernels ask for any rows: the bits must not depend on how rows are cut.
    #[test]
    fn any_cut_of_rows_gives_the_same_y_and_dx() {
        let shape = Shape::new(1, 7, 9, 43);
        let x: Vec<f32> = (0..shape.len()).map(|i| (i as f32).sin()).collect();
        let w: Vec<f32> = (0..9 * shape.c).map(|i| (i as f32).cos()).collect();
        let row_len = shape.w * shape.c;
        for isa in Isa::available() {
            let mut whole = vec![f32::NAN; shape.len()];
            f32::dwconv_forward(isa, shape, &x, &w, &mut whole);
            let (mut dx_whole, mut dw) = (vec![f32::NAN; shape.len()], vec![0.0; w.len()]);
            let rows = 0..shape.h;
            let (y, dx) = (&mut vec![f32::NAN; shape.len()], Some((&mut dx_whole[..], Mode::Set)));
            isa.run(Backward { shape, rows, x: &x, w: &w, dy: &x, dx, dw: &mut dw });
            for (a, b) in (0..shape.h).flat_map(|a| (a + 1..=shape.h).map(move |b| (a, b))) {
                let cut = a * row_len..b * row_len;
                isa.run(Forward { shape, rows: a..b, x: &x, w: &w, y: &mut y[cut.clone()] });
                assert_eq!(y[cut.clone()], whole[cut.clone()], "rows {a}..{b} of y");
                let dx = Some((&mut y[cut.clone()], Mode::Set));
                isa.run(Backward { shape, rows: a..b, x: &x, w: &w, dy: &x, dx, dw: &mut dw });
                assert_eq!(y[cut.clone()], dx_whole[cut], "rows {a}..{b} of dx");
            }
        }
    }

    #[test]
    fn a_partition_covers_every_row_once() {
        for n in [0, 1, 2, 3, 5, 15, 16, 17, 33] {
            for (map, c) in [(1, 1), (3, 256), (7, 40), (48, 32), (97, 64)] {
                let shape = Shape::new(n, map, map, c);
                let partition = Partition::new(shape);
                let rows: Vec<_> = (0..partition.count).flat_map(|p| partition.rows(p)).collect();
                assert_eq!(rows, (0..n * map).collect::<Vec<_>>(), "{shape}");
            }
        }
    }
}
