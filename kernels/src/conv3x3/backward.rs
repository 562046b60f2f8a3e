//! The gradient of the weights.

use super::first;
use crate::gemm::NR;
use crate::gemm::outer::{Part, Step, Walk, tile, tile_rows};
use crate::{Conv, Simd};
use std::ops::Range;

/// Pixels that a tile sums over before it is added to dw. With few channels, two rows at 48x48 (x and dy of one
/// tile are 18 KB); with many, dw is large and longer sums pay: 90 against 82 GFLOP/s at 32 channels, but 82
/// against 87 at 128.
const fn block_pixels(conv: &Conv) -> usize {
    if conv.x.c + conv.cout <= 128 { 96 } else { 144 }
}

/// Images that fit a block, at least one.
pub(crate) const fn block_images(conv: &Conv) -> usize {
    let images = block_pixels(conv) / (conv.x.h * conv.x.w);
    if images == 0 { 1 } else { images }
}

/// Adds the gradient of taps `taps` and input channels `channels` to `dw`, `[taps, channels, cout]`, for all
/// images of `conv`.
#[inline(always)]
pub(crate) fn conv3x3_dw<S: Simd>(
    s: S,
    conv: &Conv,
    taps: Range<usize>,
    channels: Range<usize>,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    if conv.x.c == 1 {
        first::dw(s, conv, taps, x, dy, dw);
        return;
    }
    let (images, height, width) = (conv.x.n, conv.x.h, conv.x.w);
    let step = block_images(conv);
    let rows = (block_pixels(conv) / width).clamp(1, height);
    for image in (0..images).step_by(step) {
        for h in (0..height).step_by(rows) {
            let block =
                Block { conv, images: image..images.min(image + step), rows: h..height.min(h + rows) };
            block.dw(s, taps.clone(), channels.clone(), x, dy, dw);
        }
    }
}

/// Some rows of an image, or some images.
struct Block<'a> {
    conv: &'a Conv,
    images: Range<usize>,
    rows: Range<usize>,
}

impl Block<'_> {
    /// The pairs of pixels of a tap.
    #[inline(always)]
    fn walk(&self, tap: usize) -> Walk {
        let Conv { x, cout, .. } = *self.conv;
        let (i, j) = (tap / 3, tap % 3);
        let top = self.rows.start.max(usize::from(i == 0));
        let bottom = self.rows.end.min(x.h - usize::from(i == 2));
        let (left, right) = (usize::from(j == 0), x.w - usize::from(j == 2));
        // One row more, so that the tap above the map does not count below zero; no walk starts there.
        let from =
            ((self.images.start * x.h + top + i).saturating_sub(1)) * x.w + (left + j).saturating_sub(1);
        let to = (self.images.start * x.h + top) * x.w + left;
        Walk {
            at: (from * x.c, to * cout),
            images: Step { count: self.images.len(), x: x.image_len(), dy: x.h * x.w * cout },
            rows: Step { count: bottom.saturating_sub(top), x: x.w * x.c, dy: x.w * cout },
            pixels: Step { count: right.saturating_sub(left), x: x.c, dy: cout },
        }
    }

    /// Panel by panel, and all taps of a tile's channels while those are in the first-level cache.
    #[inline(always)]
    fn dw<S: Simd>(
        &self,
        s: S,
        taps: Range<usize>,
        channels: Range<usize>,
        x: &[f32],
        dy: &[f32],
        dw: &mut [f32],
    ) {
        let cout = self.conv.cout;
        for co in (0..cout).step_by(NR) {
            let columns = NR.min(cout - co);
            let mut c = 0;
            while c < channels.len() {
                let rows = tile_rows(channels.len() - c);
                for (t, tap) in taps.clone().enumerate() {
                    let walk = self.walk(tap);
                    if walk.rows.count > 0 && walk.pixels.count > 0 {
                        let dw = &mut dw[(t * channels.len() + c) * cout + co..];
                        let part = Part { ci: channels.start + c, co, columns };
                        tile(s, rows, &walk, x, dy, dw, cout, part);
                    }
                }
                c += rows;
            }
        }
    }
}
