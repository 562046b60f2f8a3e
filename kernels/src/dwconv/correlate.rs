//! The gradient of the taps: nine sums in registers while x slides past dy.

use super::rows::{image_rows, lanes, neighbours, put, strips};
use crate::reduce::part_range;
use crate::simd::LANES;
use crate::{Shape, Simd};
use std::ops::Range;

/// Adds to `dw` the products of one or two rows of dy with the rows of x around them.
#[inline(always)]
pub(super) fn correlate_pair<S: Simd>(
    s: S,
    shape: Shape,
    rows: Range<usize>,
    x_image: &[f32],
    dy_image: &[f32],
    dw: &mut [f32],
) {
    let Shape { h, w, c, .. } = shape;
    let row = rows.start;
    let x = image_rows(shape, x_image, row);
    let [_, dy0, dy1, _] = image_rows(shape, dy_image, row);
    let strips = strips(shape);
    for strip in 0..strips {
        let cols = part_range(w, strips, strip);
        let pair = Correlation { w, c, cols, x, dy: [dy0, dy1] };
        match (rows.len() == 2, row == 0, rows.end == h) {
            (true, false, false) => pair.run::<S, 2, 0, 4>(s, dw),
            (true, true, false) => pair.run::<S, 2, 1, 4>(s, dw),
            (true, false, true) => pair.run::<S, 2, 0, 3>(s, dw),
            (true, true, true) => pair.run::<S, 2, 1, 3>(s, dw),
            (false, false, false) => pair.run::<S, 1, 0, 3>(s, dw),
            (false, true, false) => pair.run::<S, 1, 1, 3>(s, dw),
            (false, false, true) => pair.run::<S, 1, 0, 2>(s, dw),
            (false, true, true) => pair.run::<S, 1, 1, 2>(s, dw),
        }
    }
    if c % LANES != 0 {
        for row in rows {
            correlate_row_tail(s, shape, row, x_image, &dy_image[row * w * c..][..w * c], dw);
        }
    }
}

/// Some columns of one or two rows of dy with the four rows of x around them.
struct Correlation<'a> {
    w: usize,
    c: usize,
    cols: Range<usize>,
    x: [&'a [f32]; 4],
    dy: [&'a [f32]; 2],
}

impl Correlation<'_> {
    /// All whole blocks of channels of `ROWS` rows of dy; of the four rows of x `FIRST..LAST` exist.
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const FIRST: usize, const LAST: usize>(self, s: S, dw: &mut [f32]) {
        let Self { w, c, cols, x: [x0, x1, x2, x3], dy: [dy0, dy1] } = self;
        // x from the second column of the strip on beside dy from the third on, as in `Pair::run`.
        let len = cols.len().saturating_sub(2) * c;
        let from = if len > 0 { cols.start + 1 } else { 0 } * c;
        let (n0, n1, n2, n3) =
            (&x0[from..][..len], &x1[from..][..len], &x2[from..][..len], &x3[from..][..len]);
        let from = if len > 0 { cols.start + 2 } else { 0 } * c;
        let (d0, d1) = (&dy0[from..][..len], &dy1[from..][..len]);
        let mut slots = slots(dw, c);
        let mut block = 0;
        while block + LANES <= c {
            let mut sums = [s.zero(); 9];
            for (sum, slot) in sums.iter_mut().zip(&slots) {
                *sum = s.load(lanes(slot, block));
            }
            let mut sums = Sums::<S, ROWS, FIRST, LAST> { s, sums };
            // dy at the columns before, at and after that of x.
            let at = cols.start * c + block;
            let mut d =
                [[s.zero(), s.zero(), s.load(lanes(dy0, at))], [s.zero(), s.zero(), s.load(lanes(dy1, at))]];
            if cols.start > 0 {
                let at = at - c;
                let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
                sums.column::<false, false, true>(x, d);
            }
            let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
            if cols.len() == 1 {
                d = [[s.zero(), d[0][2], s.zero()], [s.zero(), d[1][2], s.zero()]];
                sums.column::<false, true, false>(x, d);
            } else {
                d = [
                    [s.zero(), d[0][2], s.load(lanes(dy0, at + c))],
                    [s.zero(), d[1][2], s.load(lanes(dy1, at + c))],
                ];
                sums.column::<false, true, true>(x, d);
                let mut at = block;
                while at < len {
                    d = [
                        [d[0][1], d[0][2], s.load(lanes(d0, at))],
                        [d[1][1], d[1][2], s.load(lanes(d1, at))],
                    ];
                    let x = [lanes(n0, at), lanes(n1, at), lanes(n2, at), lanes(n3, at)];
                    sums.column::<true, true, true>(x, d);
                    at += c;
                }
                d = [[d[0][1], d[0][2], s.zero()], [d[1][1], d[1][2], s.zero()]];
                let at = (cols.end - 1) * c + block;
                let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
                sums.column::<true, true, false>(x, d);
            }
            if cols.end < w {
                d = [[d[0][1], s.zero(), s.zero()], [d[1][1], s.zero(), s.zero()]];
                let at = cols.end * c + block;
                let x = [lanes(x0, at), lanes(x1, at), lanes(x2, at), lanes(x3, at)];
                sums.column::<true, false, false>(x, d);
            }
            for (sum, slot) in sums.sums.into_iter().zip(&mut slots) {
                put(s, sum, slot, block, false);
            }
            block += LANES;
        }
    }
}

/// The nine sums of the weights' gradient while x slides by.
struct Sums<S: Simd, const ROWS: usize, const FIRST: usize, const LAST: usize> {
    s: S,
    sums: [S::V; 9],
}

impl<S: Simd, const ROWS: usize, const FIRST: usize, const LAST: usize> Sums<S, ROWS, FIRST, LAST> {
    /// One more column of x: the right neighbour of the dy before it (`PREVIOUS`), the centre of the dy at it
    /// (`AT`), the left neighbour of the dy after it (`NEXT`).
    #[inline(always)]
    fn column<const PREVIOUS: bool, const AT: bool, const NEXT: bool>(
        &mut self,
        x: [&[f32; LANES]; 4],
        d: [[S::V; 3]; 2],
    ) {
        let s = self.s;
        for (k, x) in x.into_iter().enumerate() {
            if FIRST <= k && k < LAST {
                let x = s.load(x);
                for (i, d) in d.iter().enumerate().take(ROWS) {
                    if i <= k && k < i + 3 {
                        let tap = 3 * (k - i);
                        if NEXT {
                            self.sums[tap] = s.mul_add(x, d[2], self.sums[tap]);
                        }
                        if AT {
                            self.sums[tap + 1] = s.mul_add(x, d[1], self.sums[tap + 1]);
                        }
                        if PREVIOUS {
                            self.sums[tap + 2] = s.mul_add(x, d[0], self.sums[tap + 2]);
                        }
                    }
                }
            }
        }
    }
}

/// The nine taps of all channels, to write.
#[inline(always)]
fn slots(dw: &mut [f32], c: usize) -> [&mut [f32]; 9] {
    let (d0, rest) = dw.split_at_mut(c);
    let (d1, rest) = rest.split_at_mut(c);
    let (d2, rest) = rest.split_at_mut(c);
    let (d3, rest) = rest.split_at_mut(c);
    let (d4, rest) = rest.split_at_mut(c);
    let (d5, rest) = rest.split_at_mut(c);
    let (d6, rest) = rest.split_at_mut(c);
    let (d7, rest) = rest.split_at_mut(c);
    [d0, d1, d2, d3, d4, d5, d6, d7, &mut rest[..c]]
}

/// The channels left over from eight, of one row of dy.
#[inline(always)]
fn correlate_row_tail<S: Simd>(s: S, shape: Shape, row: usize, x_image: &[f32], dy: &[f32], dw: &mut [f32]) {
    let Shape { h, w, c, .. } = shape;
    let first = c / LANES * LANES;
    for i in neighbours(row, h) {
        let x = &x_image[(row + i - 1) * w * c..][..w * c];
        for j in 0..3 {
            let dw = &mut dw[(3 * i + j) * c..][first..c];
            let mut sum = s.load_tail(dw);
            for col in (0..w).filter(|&col| neighbours(col, w).contains(&j)) {
                let x = s.load_tail(&x[(col + j - 1) * c..][first..c]);
                sum = s.mul_add(x, s.load_tail(&dy[col * c..][first..c]), sum);
            }
            s.store_tail(sum, dw);
        }
    }
}
