//! Rows, strips and taps: what both directions of the slide share.

use crate::simd::LANES;
use crate::{Shape, Simd};
use std::ops::Range;

/// Floats of a row that are taken through all blocks of channels before the next: six such pieces, four of x
/// and two of y, stay in 32 KB of L1.
pub(super) const STRIP: usize = 1024;

/// The nine taps of all channels, from weights `[3, 3, c]`; turned by 180 degrees for the gradient of x.
#[inline(always)]
pub(super) fn taps(w: &[f32], c: usize, turned: bool) -> [&[f32]; 9] {
    let mut taps = [w; 9];
    for (t, tap) in taps.iter_mut().enumerate() {
        *tap = &w[if turned { 8 - t } else { t } * c..][..c];
    }
    taps
}

/// The row above `row`, `row` and the two below. Where they are outside of the image, its first or last stand in
/// for them and are not read.
#[inline(always)]
pub(super) fn image_rows(Shape { h, w, c, .. }: Shape, image: &[f32], row: usize) -> [&[f32]; 4] {
    let len = w * c;
    let last = h - 1;
    let (above, below, second) = (row.saturating_sub(1), (row + 1).min(last), (row + 2).min(last));
    [
        &image[above * len..][..len],
        &image[row * len..][..len],
        &image[below * len..][..len],
        &image[second * len..][..len],
    ]
}

/// Strips of columns that a row is cut into.
#[inline(always)]
pub(super) fn strips(shape: Shape) -> usize {
    shape.w.div_ceil((STRIP / shape.c).max(3))
}

/// Eight lanes of a row.
#[inline(always)]
pub(super) fn lanes(row: &[f32], at: usize) -> &[f32; LANES] {
    row[at..].first_chunk().expect("eight lanes")
}

/// Stores or adds eight lanes of a row.
#[inline(always)]
pub(super) fn put<S: Simd>(s: S, v: S::V, row: &mut [f32], at: usize, add: bool) {
    let to = row[at..].first_chunk_mut().expect("eight lanes");
    let v = if add { s.add(v, s.load(to)) } else { v };
    s.store(v, to);
}

/// Taps 0..3 around `at` that stay inside `0..size`.
#[inline(always)]
pub(super) fn neighbours(at: usize, size: usize) -> Range<usize> {
    usize::from(at == 0)..if at + 1 == size { 2 } else { 3 }
}
