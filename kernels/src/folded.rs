//! Inference: convolutions with a bias and an optional ReLU, into which batch norm has been folded, and whose
//! weights are put once into the form that the kernels read. There is no backward pass.

use crate::columns::interleave;
use crate::conv3x3::{NARROW, Packed, conv3x3_packed};
use crate::dw_pw::{dw_pw_packed, dw_pw_strips_len};
use crate::epilogue::Bias;
use crate::gemm::NR;
use crate::gemm::for_chunks;
use crate::gemm::pack::{pack, packed_len};
use crate::lanes::{blocks, load, on_block, store};
use crate::pointwise::{pointwise_packed, pointwise_strided};
use crate::simd::LANES;
use crate::window::Window;
use crate::winograd::{Weights, winograd_transformed, winograd_weights, winograd_work_len, zero_len};
use crate::{Conv, Isa, Kernel, Mode, Simd};
use std::ops::Range;

/// Which convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldedKind {
    /// As [`crate::Conv3x3Kernels`]; weights `[3, 3, cin, cout]`.
    Conv3x3,
    /// As [`crate::WinogradKernels`]; weights `[3, 3, cin, cout]`.
    Winograd,
    /// As [`crate::DwPwKernels`]; weights `[3, 3, cin]` and `[cin, cout]`.
    DwPw,
    /// As [`crate::PointwiseKernels`]; weights `[cin, cout]`.
    Pointwise,
}

/// A layer of inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Which convolution.
    pub kind: FoldedKind,
    /// Its geometry.
    pub conv: Conv,
    /// Whether a ReLU follows.
    pub relu: bool,
    /// Whether a call may use several threads. The work is cut by shape, and the results are the same bits.
    pub threads: bool,
}

/// Operations below which a call stays on one thread: about 5 us of work. A third of what training asks for: here
/// every step is large or short, so that a second thread is seldom asleep.
const SERIAL_FLOPS: usize = 600_000;

impl Folded {
    /// Lengths of the weights, the second 0 where there is only one.
    pub const fn weights(&self) -> [usize; 2] {
        let (cin, dense) = (self.conv.x.c, self.conv.x.c * self.conv.cout);
        match self.kind {
            FoldedKind::Conv3x3 | FoldedKind::Winograd => [9 * dense, 0],
            FoldedKind::DwPw => [9 * cin, dense],
            FoldedKind::Pointwise => [dense, 0],
        }
    }

    /// Multiply-adds, those of Winograd's counted as of the direct convolution.
    pub const fn macs(&self) -> usize {
        let [a, b] = self.weights();
        self.conv.y().pixels() * (a + b)
    }

    /// Elements of the prepared weights; the batch does not matter.
    pub const fn prepared_len(&self) -> usize {
        let (cin, cout) = (self.conv.x.c, self.conv.cout);
        let weights = match self.kind {
            FoldedKind::Conv3x3 => Packed::len(cin, cout),
            FoldedKind::Winograd => Weights::len(cin, cout) + zero_len(&self.conv),
            FoldedKind::DwPw => packed_len(cin, cout) + 9 * cin,
            FoldedKind::Pointwise => packed_len(cin, cout),
        };
        cout.next_multiple_of(NR) + weights
    }

    /// Whether a call uses several threads.
    pub(crate) const fn parallel(&self) -> bool {
        self.threads && 2 * self.macs() >= SERIAL_FLOPS
    }

    /// Output columns of a task where a map is too small to be cut into rows and weights are what takes time: at
    /// 3x3x256 -> 128 they are 1.2 MB for 49 products of pixels. 0: all.
    const fn columns(&self) -> usize {
        let narrow = self.conv.x.w <= NARROW && self.conv.x.n < 8;
        let direct = matches!(self.kind, FoldedKind::Conv3x3) && self.conv.cout.is_multiple_of(4 * NR);
        if narrow && direct && self.parallel() { 2 * NR } else { 0 }
    }
}

/// y = convolution(x) + bias, then max(y, 0) if asked for.
pub trait FoldedKernels: Sized {
    /// Scratch elements that [`Self::folded_forward`] wants.
    fn folded_scratch(layer: &Folded) -> usize;
    /// Writes weights (as long as [`Folded::weights`] says) and bias, `[cout]`, to `prepared`,
    /// [`Folded::prepared_len`] elements in a form that depends on the instruction set's kernels and on nothing
    /// else, to be read by the calls below.
    fn folded_prepare(isa: Isa, layer: &Folded, weights: [&[Self]; 2], bias: &[Self], prepared: &mut [Self]);
    /// Overwrites `y`.
    fn folded_forward(
        isa: Isa,
        layer: &Folded,
        x: &[Self],
        prepared: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    );
    /// The end of a residual block: y = max pool(h) + convolution(x) + bias, then max(y, 0) if asked for. The
    /// convolution is pointwise with stride 2, the pool's windows are 3x3 with stride 2 and padding 1; h is
    /// `[n, h, w, cout]`.
    fn residual_end(isa: Isa, layer: &Folded, h: &[Self], x: &[Self], prepared: &[Self], y: &mut [Self]);
}

impl Folded {
    /// Bias and weights.
    pub(crate) fn split<'a, T>(&self, prepared: &'a [T]) -> (&'a [T], &'a [T]) {
        assert_eq!(prepared.len(), self.prepared_len(), "prepared weights of {self:?}");
        prepared.split_at(self.conv.cout.next_multiple_of(NR))
    }
}

impl FoldedKernels for f32 {
    fn folded_scratch(layer: &Folded) -> usize {
        let (conv, parallel) = (&layer.conv, layer.parallel());
        match layer.kind {
            FoldedKind::Conv3x3 if layer.columns() > 0 => conv.y().len(),
            FoldedKind::Conv3x3 | FoldedKind::Pointwise => 0,
            FoldedKind::Winograd => winograd_work_len(conv, parallel),
            FoldedKind::DwPw => dw_pw_strips_len(conv, parallel),
        }
    }

    fn folded_prepare(isa: Isa, layer: &Folded, weights: [&[Self]; 2], bias: &[Self], prepared: &mut [Self]) {
        let (conv, cin, cout) = (&layer.conv, layer.conv.x.c, layer.conv.cout);
        assert_eq!(weights.map(<[_]>::len), layer.weights(), "weights of {layer:?}");
        assert_eq!(bias.len(), cout, "bias of {layer:?}");
        assert_eq!(prepared.len(), layer.prepared_len(), "prepared weights of {layer:?}");
        prepared.fill(0.0);
        let (to_bias, to) = prepared.split_at_mut(cout.next_multiple_of(NR));
        to_bias[..cout].copy_from_slice(bias);
        match layer.kind {
            FoldedKind::Conv3x3 => _ = Packed::forward(cin, cout, weights[0], to),
            FoldedKind::Winograd => {
                winograd_weights(isa, conv, weights[0], &mut to[..Weights::len(cin, cout)]);
            }
            FoldedKind::DwPw => {
                let (panels, depthwise) = to.split_at_mut(packed_len(cin, cout));
                pack(cin, cout, weights[1], panels);
                depthwise.copy_from_slice(weights[0]);
            }
            FoldedKind::Pointwise => pack(cin, cout, weights[0], to),
        }
    }

    fn folded_forward(
        isa: Isa,
        layer: &Folded,
        x: &[Self],
        prepared: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        let (conv, parallel) = (&layer.conv, layer.parallel());
        let (cin, cout) = (conv.x.c, conv.cout);
        assert!(conv.stride == 1 || layer.kind == FoldedKind::Pointwise, "stride of {layer:?}");
        assert_eq!(x.len(), conv.x.len(), "x of {layer:?}");
        assert_eq!(y.len(), conv.y().len(), "y of {layer:?}");
        let (bias, weights) = layer.split(prepared);
        let e = Bias::new(bias, Mode::Set, layer.relu);
        match layer.kind {
            FoldedKind::Conv3x3 => {
                let (panels, zero) = weights.split_at(weights.len() - cin);
                match layer.columns() {
                    0 => conv3x3_packed(isa, conv, x, Packed { panels, zero }, y, parallel, e),
                    columns => {
                        let scratch = &mut scratch[..y.len()];
                        column_tasks(isa, layer, columns, x, (panels, zero, bias), scratch);
                        interleave(columns, scratch, y, cout, Mode::Set);
                    }
                }
            }
            FoldedKind::Winograd => {
                let (points, zero) = weights.split_at(Weights::len(cin, cout));
                winograd_transformed(isa, conv, x, Weights { points, zero }, y, scratch, parallel, e);
            }
            FoldedKind::DwPw => {
                let (packed, wd) = weights.split_at(packed_len(cin, cout));
                dw_pw_packed(isa, conv, x, [wd, packed], y, scratch, parallel, e);
            }
            FoldedKind::Pointwise => pointwise_packed(isa, conv, x, weights, y, parallel, e),
        }
    }

    fn residual_end(isa: Isa, layer: &Folded, h: &[Self], x: &[Self], prepared: &[Self], y: &mut [Self]) {
        let (conv, out) = (&layer.conv, layer.conv.y());
        assert!(conv.stride == 2 && layer.kind == FoldedKind::Pointwise, "a shortcut, not {layer:?}");
        assert_eq!(x.len(), conv.x.len(), "x of {layer:?}");
        assert_eq!(h.len(), conv.x.with_c(conv.cout).len(), "h of {layer:?}");
        assert_eq!(y.len(), out.len(), "y of {layer:?}");
        let (bias, packed) = layer.split(prepared);
        let e = Bias::new(bias, Mode::Add, layer.relu);
        // Rows that make four tasks of one image: the sums stay in the first-level cache from pool to convolution.
        let rows = (out.h.div_ceil(4)..out.h).find(|rows| out.h.is_multiple_of(*rows)).unwrap_or(out.h);
        let blocks = out.h / rows;
        for_chunks(0..out.n * blocks, layer.parallel(), [(y, rows * out.w * out.c)], &|i, [y]| {
            let (image, first) = (i / blocks, i % blocks * rows);
            let len = conv.x.with_c(conv.cout).image_len();
            let h = &h[image * len..][..len];
            isa.run(End { conv, image, rows: first..first + rows, h, x, packed, y, e });
        });
    }
}

/// A convolution whose tasks each compute `columns` output channels: `to` is `[task, n, h, w, columns]`.
fn column_tasks(
    isa: Isa,
    layer: &Folded,
    columns: usize,
    x: &[f32],
    (panels, zero, bias): (&[f32], &[f32], &[f32]),
    to: &mut [f32],
) {
    let conv = Conv { cout: columns, ..layer.conv };
    let weights = packed_len(9 * conv.x.c, columns);
    let tasks = layer.conv.cout / columns;
    for_chunks(0..tasks, true, [(to, conv.y().len())], &|i, [y]| {
        let packed = Packed { panels: &panels[i * weights..][..weights], zero };
        let e = Bias::new(&bias[i * columns..][..columns], Mode::Set, layer.relu);
        conv3x3_packed(isa, &conv, x, packed, y, false, e);
    });
}

/// Some rows of one image of [`FoldedKernels::residual_end`].
struct End<'a> {
    conv: &'a Conv,
    image: usize,
    /// Of the output.
    rows: Range<usize>,
    /// Of the image.
    h: &'a [f32],
    /// Of all images.
    x: &'a [f32],
    packed: &'a [f32],
    y: &'a mut [f32],
    e: Bias<'a>,
}

impl Kernel for End<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, image, rows, h, x, packed, y, e } = self;
        let (out, c) = (conv.y(), conv.cout);
        let shape = conv.x.with_c(c);
        for (i, y) in rows.clone().zip(y.chunks_exact_mut(out.w * c)) {
            for (j, y) in y.chunks_exact_mut(c).enumerate() {
                let window = Window { shape, i, j };
                for block in blocks(c, 4) {
                    let y = &mut y[block.clone()];
                    on_block!(block, 4, maximum(s, window, h, block, y));
                }
            }
        }
        let first = (image * out.h + rows.start) * out.w;
        pointwise_strided(s, conv, first, x, packed, y, e);
    }
}

/// The maximum of a window.
#[inline(always)]
fn maximum<S: Simd, const N: usize>(s: S, window: Window, h: &[f32], block: Range<usize>, y: &mut [f32]) {
    let Window { shape, i, j } = window;
    // The pixel in the middle is inside any map.
    let mut best = load::<S, N>(s, &h[(2 * i * shape.w + 2 * j) * shape.c..][block.clone()]);
    window.each(|_, pixel| {
        let x = load::<S, N>(s, &h[pixel * shape.c..][block.clone()]);
        for k in 0..N {
            best[k] = s.max(x[k], best[k]);
        }
    });
    store(s, best, y);
}

const _: () = assert!(NR.is_multiple_of(LANES), "a bias holds whole vectors");
