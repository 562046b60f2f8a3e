//! The convolutions themselves, one image at a time, over the bodies that their own kernels are made of.

use crate::conv3x3::{self, Packed};
use crate::dw_pw::{self, Image, ImageGrads, PointwiseGrad, strip_len};
use crate::gemm::pack::{pack, pack_flipped, packed_len};
use crate::pointwise;
use crate::rows::STREAMS;
use crate::winograd::WinogradImage;
use crate::{Conv, Isa, Mode};
use std::ops::Range;

/// A convolution of one image with stride 1, a block of rows after the other.
pub(super) trait ImageConv: Copy + Sync {
    /// Rows of a block.
    fn block(&self) -> usize;
    /// Elements of the packed weights, forward and backward.
    fn packed(&self) -> [usize; 2];
    /// Elements of work, forward and backward; backward keeps it from block to block and from image to image.
    fn work(&self) -> [usize; 2];
    /// Packs the weights for [`Self::forward`].
    fn pack_forward(&self, isa: Isa, w: [&[f32]; 2], packed: &mut [f32]);
    /// Packs the weights for the gradient of x.
    fn pack_backward(&self, isa: Isa, w: [&[f32]; 2], packed: &mut [f32]);
    /// Overwrites the rows of y.
    fn forward(&self, isa: Isa, image: ImageForward<'_>, y: &mut [f32], work: &mut [f32]);
    /// The rows of dx that are complete with rows `rows` of dy, and were not before.
    fn complete(&self, rows: &Range<usize>) -> Range<usize> {
        rows.clone()
    }
    /// Adds to what `work` or `dw` sums, and writes the rows of dx that are complete.
    fn backward(
        &self,
        isa: Isa,
        image: ImageBackward<'_>,
        dx: Option<(&mut [f32], Mode)>,
        dw: [&mut [f32]; 2],
        work: &mut [f32],
    );
    /// Writes to `dw` what `work` sums, for the body that does not sum in `dw`.
    fn finish(&self, _: Isa, _dw: [&mut [f32]; 2], _work: &mut [f32]) {}
}

/// What the forward pass of a block of rows reads.
pub(super) struct ImageForward<'a> {
    /// Rows of y. Of x, the image, the row behind them is there, too.
    pub(super) rows: Range<usize>,
    pub(super) x: &'a [f32],
    pub(super) w: [&'a [f32]; 2],
    pub(super) packed: &'a [f32],
    /// Memory that is read next, to be fetched meanwhile.
    pub(super) ahead: [&'a [f32]; STREAMS],
}

/// What the backward pass of a block of rows reads.
pub(super) struct ImageBackward<'a> {
    /// Rows of dy. Of x and dy, whole images, the row behind them is there, too.
    pub(super) rows: Range<usize>,
    pub(super) x: &'a [f32],
    pub(super) w: [&'a [f32]; 2],
    pub(super) packed: &'a [f32],
    pub(super) dy: &'a [f32],
    /// Memory that is read next, to be fetched meanwhile.
    pub(super) ahead: [&'a [f32]; STREAMS],
    /// Nothing is summed yet.
    pub(super) first: bool,
}

/// Zeroes the sums before the first image.
#[inline(always)]
fn begin(first: bool, dw: &mut [f32]) {
    if first {
        dw.fill(0.0);
    }
}

/// 3x3 by Winograd's minimal filtering.
#[derive(Clone, Copy)]
pub(super) struct Winograd(pub(super) Conv);

impl ImageConv for Winograd {
    fn block(&self) -> usize {
        WinogradImage::block(&self.0)
    }
    fn packed(&self) -> [usize; 2] {
        [WinogradImage::packed(&self.0), WinogradImage::packed(&self.0.swapped())]
    }
    fn work(&self) -> [usize; 2] {
        [WinogradImage::work(&self.0), WinogradImage::work(&self.0) + WinogradImage::sums(&self.0)]
    }
    fn pack_forward(&self, isa: Isa, [w, _]: [&[f32]; 2], packed: &mut [f32]) {
        WinogradImage::pack(isa, &self.0, w, false, packed);
    }
    fn pack_backward(&self, isa: Isa, [w, _]: [&[f32]; 2], packed: &mut [f32]) {
        WinogradImage::pack(isa, &self.0.swapped(), w, true, packed);
    }
    fn forward(&self, isa: Isa, image: ImageForward<'_>, y: &mut [f32], work: &mut [f32]) {
        let ImageForward { rows, x, packed, .. } = image;
        WinogradImage::convolve(isa, &self.0, rows, x, packed, y, Mode::Set, work);
    }
    fn backward(
        &self,
        isa: Isa,
        image: ImageBackward<'_>,
        dx: Option<(&mut [f32], Mode)>,
        _: [&mut [f32]; 2],
        work: &mut [f32],
    ) {
        let ImageBackward { rows, x, packed, dy, first, .. } = image;
        let (sums, work) = work.split_at_mut(WinogradImage::sums(&self.0));
        if let Some((dx, mode)) = dx {
            WinogradImage::convolve(isa, &self.0.swapped(), rows.clone(), dy, packed, dx, mode, work);
        }
        WinogradImage::sum(isa, &self.0, rows, x, packed, dy, first, sums, work);
    }
    fn finish(&self, isa: Isa, [dw, _]: [&mut [f32]; 2], work: &mut [f32]) {
        WinogradImage::finish(isa, &self.0, &work[..WinogradImage::sums(&self.0)], dw);
    }
}

/// 3x3, direct.
#[derive(Clone, Copy)]
pub(super) struct Direct(pub(super) Conv);

impl ImageConv for Direct {
    fn block(&self) -> usize {
        self.0.x.h
    }
    fn packed(&self) -> [usize; 2] {
        let (cin, cout) = (self.0.x.c, self.0.cout);
        [Packed::len(cin, cout), Packed::len(cout, cin)]
    }
    fn work(&self) -> [usize; 2] {
        [0; 2]
    }
    fn pack_forward(&self, _: Isa, [w, _]: [&[f32]; 2], packed: &mut [f32]) {
        let (cin, cout) = (self.0.x.c, self.0.cout);
        Packed::forward(cin, cout, w, &mut packed[..Packed::len(cin, cout)]);
    }
    fn pack_backward(&self, _: Isa, [w, _]: [&[f32]; 2], packed: &mut [f32]) {
        let (cin, cout) = (self.0.x.c, self.0.cout);
        Packed::flipped(cin, cout, w, &mut packed[..Packed::len(cout, cin)]);
    }
    fn forward(&self, isa: Isa, image: ImageForward<'_>, y: &mut [f32], _: &mut [f32]) {
        let ImageForward { rows, x, packed, .. } = image;
        let conv = self.0;
        isa.run(conv3x3::Rows { conv, rows, x, packed: Packed::of(&conv, packed), y, e: Mode::Set });
    }
    fn backward(
        &self,
        isa: Isa,
        image: ImageBackward<'_>,
        dx: Option<(&mut [f32], Mode)>,
        [dw, _]: [&mut [f32]; 2],
        _: &mut [f32],
    ) {
        let ImageBackward { x, packed, dy, first, .. } = image;
        let conv = self.0;
        begin(first, dw);
        isa.run(conv3x3::Backward { conv, x, packed: Packed::of(&conv.swapped(), packed), dy, dx, dw });
    }
}

/// Depthwise and pointwise, fused.
#[derive(Clone, Copy)]
pub(super) struct DwPw(pub(super) Conv);

impl ImageConv for DwPw {
    fn block(&self) -> usize {
        dw_pw::block_rows(&self.0)
    }
    fn complete(&self, rows: &Range<usize>) -> Range<usize> {
        dw_pw::complete_rows(&self.0, rows)
    }
    fn packed(&self) -> [usize; 2] {
        let (cin, cout) = (self.0.x.c, self.0.cout);
        [packed_len(cin, cout), packed_len(cout, cin)]
    }
    fn work(&self) -> [usize; 2] {
        [strip_len(&self.0), self.0.x.image_len() + strip_len(&self.0)]
    }
    fn pack_forward(&self, _: Isa, [_, w]: [&[f32]; 2], packed: &mut [f32]) {
        pack(self.0.x.c, self.0.cout, w, &mut packed[..packed_len(self.0.x.c, self.0.cout)]);
    }
    fn pack_backward(&self, _: Isa, [_, w]: [&[f32]; 2], packed: &mut [f32]) {
        pack_flipped(1, self.0.x.c, self.0.cout, w, &mut packed[..packed_len(self.0.cout, self.0.x.c)]);
    }
    fn forward(&self, isa: Isa, image: ImageForward<'_>, y: &mut [f32], work: &mut [f32]) {
        let ImageForward { rows, x, w: [wd, _], packed, ahead } = image;
        let packed = &packed[..packed_len(self.0.x.c, self.0.cout)];
        isa.run(dw_pw::Forward { conv: &self.0, rows, x, wd, packed, y, strip: work, ahead, e: Mode::Set });
    }
    fn backward(
        &self,
        isa: Isa,
        image: ImageBackward<'_>,
        dx: Option<(&mut [f32], Mode)>,
        [dwd, dwp]: [&mut [f32]; 2],
        work: &mut [f32],
    ) {
        let ImageBackward { rows, x, w: [wd, _], packed, dy, ahead, first } = image;
        begin(first, dwd);
        begin(first, dwp);
        let packed = &packed[..packed_len(self.0.cout, self.0.x.c)];
        let (dz, strip) = work.split_at_mut(self.0.x.image_len());
        let grads = ImageGrads { dx, dwd, dwp: PointwiseGrad::Sum { dwp, strip }, dz };
        isa.run(dw_pw::Backward { conv: &self.0, rows, image: Image { x, wd, packed, dy, ahead }, grads });
    }
}

/// 1x1.
#[derive(Clone, Copy)]
pub(super) struct Pointwise(pub(super) Conv);

impl ImageConv for Pointwise {
    fn block(&self) -> usize {
        self.0.x.h
    }
    fn packed(&self) -> [usize; 2] {
        DwPw(self.0).packed()
    }
    fn work(&self) -> [usize; 2] {
        [0; 2]
    }
    fn pack_forward(&self, isa: Isa, [w, _]: [&[f32]; 2], packed: &mut [f32]) {
        DwPw(self.0).pack_forward(isa, [&[], w], packed);
    }
    fn pack_backward(&self, isa: Isa, [w, _]: [&[f32]; 2], packed: &mut [f32]) {
        DwPw(self.0).pack_backward(isa, [&[], w], packed);
    }
    fn forward(&self, isa: Isa, image: ImageForward<'_>, y: &mut [f32], _: &mut [f32]) {
        let ImageForward { rows, x, packed, .. } = image;
        let packed = &packed[..packed_len(self.0.x.c, self.0.cout)];
        isa.run(pointwise::Forward {
            conv: &self.0,
            first: rows.start * self.0.x.w,
            x,
            packed,
            y,
            e: Mode::Set,
        });
    }
    fn backward(
        &self,
        isa: Isa,
        image: ImageBackward<'_>,
        dx: Option<(&mut [f32], Mode)>,
        [dw, _]: [&mut [f32]; 2],
        _: &mut [f32],
    ) {
        let ImageBackward { x, packed, dy, first, .. } = image;
        begin(first, dw);
        let packed = &packed[..packed_len(self.0.cout, self.0.x.c)];
        isa.run(pointwise::Backward { conv: self.0, x, packed, dy, dx, dw: Some((0, dw)) });
    }
}
