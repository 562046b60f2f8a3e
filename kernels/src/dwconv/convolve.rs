//! The slide of nine taps along pairs of rows: y from x, and dx from dy with the taps turned.

use super::rows::{image_rows, lanes, neighbours, put, strips};
use crate::reduce::part_range;
use crate::simd::LANES;
use crate::{Mode, Shape, Simd};
use std::ops::Range;

/// Rows `rows` of the convolution of one image with `taps`, set or added to `y_rows`.
#[inline(always)]
pub(super) fn convolve_rows<S: Simd>(
    s: S,
    shape: Shape,
    rows: Range<usize>,
    x_image: &[f32],
    taps: [&[f32]; 9],
    y_rows: &mut [f32],
    mode: Mode,
) {
    let Shape { h, w, c, .. } = shape;
    let row_len = w * c;
    assert_eq!(x_image.len(), h * row_len, "x of one image of {shape}");
    assert_eq!(y_rows.len(), rows.len() * row_len, "y of {rows:?} of {shape}");
    let mut row = rows.start;
    for y in y_rows.chunks_mut(2 * row_len) {
        let x = image_rows(shape, x_image, row);
        let two = y.len() > row_len;
        let (top, bottom) = (row == 0, row + usize::from(two) + 1 == h);
        let strips = strips(shape);
        for strip in 0..strips {
            let cols = part_range(w, strips, strip);
            let pair = Pair { w, c, cols, x, taps, y: &mut *y, add: mode == Mode::Add };
            match (two, top, bottom) {
                (true, false, false) => pair.run::<S, 2, 0, 4>(s),
                (true, true, false) => pair.run::<S, 2, 1, 4>(s),
                (true, false, true) => pair.run::<S, 2, 0, 3>(s),
                (true, true, true) => pair.run::<S, 2, 1, 3>(s),
                (false, false, false) => pair.run::<S, 1, 0, 3>(s),
                (false, true, false) => pair.run::<S, 1, 1, 3>(s),
                (false, false, true) => pair.run::<S, 1, 0, 2>(s),
                (false, true, true) => pair.run::<S, 1, 1, 2>(s),
            }
        }
        if c % LANES != 0 {
            for (i, y) in y.chunks_mut(row_len).enumerate() {
                convolve_row_tail(s, shape, row + i, x_image, taps, y, mode);
            }
        }
        row += 2;
    }
}

/// Some columns of one or two output rows with the four input rows around them.
struct Pair<'a> {
    w: usize,
    c: usize,
    cols: Range<usize>,
    x: [&'a [f32]; 4],
    taps: [&'a [f32]; 9],
    y: &'a mut [f32],
    add: bool,
}

impl Pair<'_> {
    /// All whole blocks of channels of `ROWS` output rows; of the four input rows `FIRST..LAST` exist.
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const FIRST: usize, const LAST: usize>(self, s: S) {
        let Self { w, c, cols, x: [x0, x1, x2, x3], taps, y, add } = self;
        let (y0, y1) = y.split_at_mut(w * c);
        // The columns on this side of the strip's last output, input from the second on beside output from the
        // first on: slices of one length, indexed alike, so that a column costs one bounds check for all six.
        let len = (cols.len() - 1) * c;
        let from = (cols.start + usize::from(len > 0)) * c;
        let (n0, n1, n2, n3) =
            (&x0[from..][..len], &x1[from..][..len], &x2[from..][..len], &x3[from..][..len]);
        let (y0, last0) = y0[cols.start * c..cols.end * c].split_at_mut(len);
        let (y1, last1) = if ROWS == 2 {
            y1[cols.start * c..cols.end * c].split_at_mut(len)
        } else {
            (y1, &mut [] as &mut [f32])
        };
        let mut block = 0;
        while block + LANES <= c {
            let mut v = [s.zero(); 9];
            for (v, tap) in v.iter_mut().zip(taps) {
                *v = s.load(lanes(tap, block));
            }
            let slide = Slide::<S, ROWS, FIRST, LAST> { s, taps: v };
            // Sums of the output at the column before this one and of this one.
            let mut sums = [[s.zero(); 2]; 2];
            if cols.start > 0 {
                let at = (cols.start - 1) * c + block;
                let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
                slide.column::<false, false, true>(x, &mut sums);
            }
            let at = cols.start * c + block;
            let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
            slide.column::<false, true, true>(x, &mut sums);
            let mut at = block;
            while at < len {
                let x = [lanes(n0, at), lanes(n1, at), lanes(n2, at), lanes(n3, at)];
                let done = slide.column::<true, true, true>(x, &mut sums);
                put(s, done[0], y0, at, add);
                if ROWS == 2 {
                    put(s, done[1], y1, at, add);
                }
                at += c;
            }
            let mut done = [sums[0][0], sums[1][0]];
            if cols.end < w {
                let at = cols.end * c + block;
                let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
                done = slide.column::<true, false, false>(x, &mut sums);
            }
            put(s, done[0], last0, block, add);
            if ROWS == 2 {
                put(s, done[1], last1, block, add);
            }
            block += LANES;
        }
    }
}

/// Nine weights on their way along a row.
struct Slide<S: Simd, const ROWS: usize, const FIRST: usize, const LAST: usize> {
    s: S,
    taps: [S::V; 9],
}

impl<S: Simd, const ROWS: usize, const FIRST: usize, const LAST: usize> Slide<S, ROWS, FIRST, LAST> {
    /// One more input column: the right taps of the output before it (`PREVIOUS`), which is then done and
    /// returned; the centre taps of the output at it (`AT`); the left taps of the one after it (`NEXT`).
    #[inline(always)]
    fn column<const PREVIOUS: bool, const AT: bool, const NEXT: bool>(
        &self,
        x: [&[f32; LANES]; 4],
        sums: &mut [[S::V; 2]; 2],
    ) -> [S::V; 2] {
        let s = self.s;
        let mut done = [sums[0][0], sums[1][0]];
        let mut centre = [sums[0][1], sums[1][1]];
        let mut next = [s.zero(); 2];
        for (k, x) in x.into_iter().enumerate() {
            if FIRST <= k && k < LAST {
                let x = s.load(x);
                for i in 0..ROWS {
                    if i <= k && k < i + 3 {
                        // The first product starts a sum.
                        let starts = k == if i > FIRST { i } else { FIRST };
                        let tap = 3 * (k - i);
                        if PREVIOUS {
                            done[i] = s.mul_add(x, self.taps[tap + 2], done[i]);
                        }
                        if AT {
                            centre[i] = s.mul_add(x, self.taps[tap + 1], centre[i]);
                        }
                        if NEXT {
                            next[i] = if starts {
                                s.mul(x, self.taps[tap])
                            } else {
                                s.mul_add(x, self.taps[tap], next[i])
                            };
                        }
                    }
                }
            }
        }
        *sums = [[centre[0], next[0]], [centre[1], next[1]]];
        done
    }
}

/// The channels left over from eight, of one output row. No width of the network has any: a plain loop.
#[inline(always)]
fn convolve_row_tail<S: Simd>(
    s: S,
    shape: Shape,
    row: usize,
    x_image: &[f32],
    taps: [&[f32]; 9],
    y: &mut [f32],
    mode: Mode,
) {
    let Shape { h, w, c, .. } = shape;
    let first = c / LANES * LANES;
    for (col, y) in y.chunks_exact_mut(c).enumerate() {
        let y = &mut y[first..];
        let mut sum = if mode == Mode::Add { s.load_tail(y) } else { s.zero() };
        for i in neighbours(row, h) {
            for j in neighbours(col, w) {
                let x = &x_image[((row + i - 1) * w + col + j - 1) * c..][first..c];
                sum = s.mul_add(s.load_tail(x), s.load_tail(&taps[i * 3 + j][first..]), sum);
            }
        }
        s.store_tail(sum, y);
    }
}
