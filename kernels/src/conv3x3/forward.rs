//! The convolution itself: forward, and with flipped weights the gradient of the input.

use super::{Packed, first};
use crate::epilogue::Epilogue;
use crate::gemm::pack::{Panel, panels};
use crate::gemm::tile::{Columns, Rows, accumulate, start, store_row, tile};
use crate::gemm::{MR, NR};
use crate::{Conv, Mode, Simd};
use std::ops::Range;

/// Widest map whose taps are summed one after the other in memory. There the tiles would have a border pixel
/// in every row: at 3x3 only 49 of 81 products are inside the map, at 6x6 256 of 324.
pub(crate) const NARROW: usize = 6;

/// Output rows `rows` of every image of `conv`: y, `[n, rows.len(), w, cout]`, gets what `e` makes of the sums. `x` holds
/// whole images.
#[inline(always)]
pub(crate) fn conv3x3_rows<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    packed: Packed<'_>,
    y: &mut [f32],
    e: E,
) {
    if conv.x.w <= NARROW {
        narrow(s, conv, rows, x, packed, y, e);
        return;
    }
    let images = x.chunks_exact(conv.x.image_len());
    for (x, y) in images.zip(y.chunks_exact_mut(rows.len() * conv.x.w * conv.cout)) {
        if conv.x.c == 1 {
            first::image(s, conv, rows.clone(), x, packed.panels, y, e);
        } else {
            wide(s, conv, rows.clone(), x, packed, y, e);
        }
    }
}

/// One image whose rows hold whole tiles.
#[inline(always)]
fn wide<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    packed: Packed<'_>,
    y: &mut [f32],
    e: E,
) {
    let (w, cin, cout) = (conv.x.w, conv.x.c, conv.cout);
    for (p, panel) in panels(9 * cin, packed.panels).enumerate() {
        let columns = Columns::of_panel(p, cout);
        for (h, y) in rows.clone().zip(y.chunks_exact_mut(w * cout)) {
            let source = Source { conv, h, x, zero: packed.zero };
            for (first, y) in (0..w).step_by(MR).zip(y.chunks_mut(MR * cout)) {
                row_tile(s, source, first, panel, y, columns, e);
            }
        }
    }
}

/// The input rows around an output row.
#[derive(Clone, Copy)]
struct Source<'a> {
    conv: &'a Conv,
    h: usize,
    x: &'a [f32],
    zero: &'a [f32],
}

impl<'a> Source<'a> {
    /// Tap rows inside the map.
    #[inline(always)]
    fn taps(&self) -> Range<usize> {
        usize::from(self.h == 0)..3 - usize::from(self.h + 1 == self.conv.x.h)
    }

    /// The input row that tap row `i` reads.
    #[inline(always)]
    fn row(&self, i: usize) -> &'a [f32] {
        let len = self.conv.x.w * self.conv.x.c;
        &self.x[(self.h + i - 1) * len..][..len]
    }
}

/// Up to six pixels of a row.
///
/// Away from the left and right border, what the three taps of a row read of a pixel's neighbours is one
/// contiguous run of `3 * cin`, as is their part of the panel. At a border the sum goes tap by tap, and pixels
/// outside the map are zeros. Both run the same loop: with one for each, the compiler kept an accumulator of the
/// first in memory (65 instead of 110 GFLOP/s).
#[inline(always)]
fn row_tile<S: Simd, E: Epilogue>(
    s: S,
    source: Source<'_>,
    first: usize,
    panel: &Panel,
    y: &mut [f32],
    columns: Columns,
    e: E,
) {
    let (w, cin, cout) = (source.conv.x.w, source.conv.x.c, source.conv.cout);
    let inner = first > 0 && first + MR < w;
    let (taps, len) = if inner { (1, 3 * cin) } else { (3, cin) };
    let mut acc = start(s, columns.first, e);
    for i in source.taps() {
        let row = source.row(i);
        for j in 0..taps {
            let mut rows = [source.zero; MR];
            for (r, slot) in rows.iter_mut().enumerate() {
                let pixel = first + r + j;
                if inner || (1..=w).contains(&pixel) {
                    *slot = &row[(pixel - 1) * cin..][..len];
                }
            }
            acc = accumulate(s, acc, rows, &panel[(i * 3 + j) * cin..][..len]);
        }
    }
    for (acc, y) in acc.into_iter().zip(y.chunks_exact_mut(cout)) {
        store_row(s, acc, &mut y[columns.first..columns.end], e);
    }
}

/// All images of a narrow map: tap by tap, six pixels inside the map at a time, across rows and images. The
/// middle tap reaches every pixel and comes first; the others add to what it wrote.
#[inline(always)]
fn narrow<S: Simd, E: Epilogue>(
    s: S,
    conv: &Conv,
    rows: Range<usize>,
    x: &[f32],
    packed: Packed<'_>,
    y: &mut [f32],
    e: E,
) {
    let (cin, cout, height, width) = (conv.x.c, conv.cout, conv.x.h, conv.x.w);
    for (p, panel) in panels(9 * cin, packed.panels).enumerate() {
        let columns = Columns::of_panel(p, cout);
        for tap in [4, 0, 1, 2, 3, 5, 6, 7, 8] {
            let (i, j) = (tap / 3, tap % 3);
            let top = rows.start.max(usize::from(i == 0));
            let bottom = rows.end.min(height - usize::from(i == 2));
            let (left, right) = (usize::from(j == 0), width - usize::from(j == 2));
            let pixels = conv.x.n * bottom.saturating_sub(top) * (right - left);
            let panel = &panel[tap * cin..][..cin];
            let (mut image, mut h, mut w) = (0, top, left);
            let mut group = Rows::default();
            for k in 1..=pixels {
                let from = (image * height + h + i - 1) * width + w + j - 1;
                let to = (image * rows.len() + h - rows.start) * width + w;
                if group.push(from * cin, to * cout) || k == pixels {
                    if tap == 4 {
                        tile(s, x, panel, &group, y, columns, e.open());
                    } else {
                        tile(s, x, panel, &group, y, columns, Mode::Add);
                    }
                    group = Rows::default();
                }
                w += 1;
                if w == right {
                    (h, w) = (h + 1, left);
                    if h == bottom {
                        (image, h) = (image + 1, top);
                    }
                }
            }
        }
        if e.floor() > f32::NEG_INFINITY {
            for y in y.chunks_exact_mut(cout) {
                let y = &mut y[columns.first..columns.end];
                // Not `max`, which would hide a NaN.
                y.iter_mut().filter(|y| **y < e.floor()).for_each(|y| *y = e.floor());
            }
        }
    }
}

const _: () = assert!(NR == 16 && MR == 6, "the tiles are written out for 6x16");

#[cfg(test)]
mod tests {
    use crate::{Conv, Conv3x3Kernels, Isa, Shape};

    /// All ones count the taps inside the map; derived by hand.
    #[test]
    fn ones_count_taps_inside_the_map() {
        let row = |w: usize, h: f32| -> Vec<f32> {
            (0..w).map(|i| h * if i == 0 || i + 1 == w { 2.0 } else { 3.0 }).collect()
        };
        for (isa, w, cin) in Isa::available()
            .into_iter()
            .flat_map(|isa| [3, 8, 13].into_iter().flat_map(move |w| [1, 2].map(|c| (isa, w, c))))
        {
            let conv = Conv { x: Shape::new(1, 3, w, cin), cout: 1, stride: 1 };
            let mut scratch = vec![f32::NAN; f32::conv3x3_forward_scratch(&conv)];
            let mut y = vec![f32::NAN; 3 * w];
            f32::conv3x3_forward(
                isa,
                &conv,
                &vec![1.0; 3 * w * cin],
                &vec![1.0; 9 * cin],
                &mut y,
                &mut scratch,
            );
            let c = cin as f32;
            let want = [row(w, 2.0 * c), row(w, 3.0 * c), row(w, 2.0 * c)].concat();
            assert_eq!(y, want, "{conv:?} on {isa:?}");
        }
    }

    /// A weight of one at one tap moves the map by one pixel and fills with zeros, exactly.
    #[test]
    fn one_tap_moves_the_map() {
        for isa in Isa::available() {
            let conv = Conv { x: Shape::new(1, 4, 14, 1), cout: 1, stride: 1 };
            let x: Vec<f32> = (0..56).map(|i| (i as f32).cos()).collect();
            for tap in 0..9 {
                let mut w = [0.0; 9];
                w[tap] = 1.0;
                let mut y = [f32::NAN; 56];
                let mut scratch = vec![f32::NAN; f32::conv3x3_forward_scratch(&conv)];
                f32::conv3x3_forward(isa, &conv, &x, &w, &mut y, &mut scratch);
                for (p, y) in y.iter().enumerate() {
                    let (h, w) = (p / 14 + tap / 3, p % 14 + tap % 3);
                    let inside = (1..=4).contains(&h) && (1..=14).contains(&w);
                    let want = if inside { x[(h - 1) * 14 + w - 1] } else { 0.0 };
                    assert_eq!(*y, want, "tap {tap}, pixel {p} on {isa:?}");
                }
            }
        }
    }
}
