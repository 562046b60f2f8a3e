//! The end of a residual block in one pass: both branches' batch norms, the main one's 3x3 maximum with stride 2,
//! their sum and its ReLU.

use crate::gemm::for_chunks;
use crate::lanes::{SERIAL, blocks, load, on_block, put, store};
use crate::norm::{Affine, AffineGrad, Sums};
use crate::reduce::combine;
use crate::rows::Ahead;
use crate::window::{Window, taken, window_bytes};
use crate::{Isa, Kernel, Mode, Shape, Simd};
use rayon::prelude::*;
use std::ops::Range;

/// A branch: its value and the norm that it owes, without a ReLU.
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a, T> {
    /// The value.
    pub x: &'a [T],
    /// Its norm.
    pub affine: Affine<'a, T>,
}

/// Arguments of [`ResidualKernels::residual_backward`].
#[derive(Debug)]
pub struct ResidualBackward<'a, T> {
    /// The main branch, `[n, h, w, c]`.
    pub main: Branch<'a, T>,
    /// The shortcut, `[n, ceil(h/2), ceil(w/2), c]`.
    pub short: Branch<'a, T>,
    /// Forward result.
    pub y: &'a [T],
    /// What forward left.
    pub index: &'a [u8],
    /// Gradient of the result.
    pub dy: &'a [T],
    /// Gradient of the main branch.
    pub dmain: AffineGrad<'a, T>,
    /// Gradient of the shortcut.
    pub dshort: AffineGrad<'a, T>,
    /// At least [`ResidualKernels::residual_backward_scratch`] elements.
    pub scratch: &'a mut [T],
}

/// y = max(0, maximum over 3x3 windows of norm(main) + norm(short)); `shape` is that of the main branch.
pub trait ResidualKernels: Sized {
    /// Scratch elements that [`Self::residual_backward`] wants.
    fn residual_backward_scratch(shape: Shape) -> usize;
    /// Overwrites `y`, and `index` as [`crate::PoolKernels::max_pool_forward`] does.
    fn residual_forward(
        isa: Isa,
        shape: Shape,
        main: Branch<'_, Self>,
        short: Branch<'_, Self>,
        y: &mut [Self],
        index: &mut [u8],
    );
    /// Gradients of both branches.
    fn residual_backward(isa: Isa, shape: Shape, args: ResidualBackward<'_, Self>);
}

fn check(shape: Shape, main: Branch<'_, f32>, short: Branch<'_, f32>) {
    assert_eq!(main.x.len(), shape.len(), "main is not {shape}");
    assert_eq!(short.x.len(), shape.halved().len(), "short is not {}", shape.halved());
    assert!(!main.affine.relu && !short.affine.relu, "a branch ends without a ReLU");
    main.affine.check(shape.c);
    short.affine.check(shape.c);
}

impl ResidualKernels for f32 {
    fn residual_backward_scratch(shape: Shape) -> usize {
        4 * shape.n * shape.c
    }

    fn residual_forward(
        isa: Isa,
        shape: Shape,
        main: Branch<'_, Self>,
        short: Branch<'_, Self>,
        y: &mut [Self],
        index: &mut [u8],
    ) {
        check(shape, main, short);
        let (from, to) = (shape.image_len(), shape.halved().image_len());
        assert_eq!(y.len(), shape.halved().len(), "y is not {}", shape.halved());
        assert_eq!(index.len(), y.len(), "index is not {}", shape.halved());
        let image = |(n, (y, index)): (usize, (&mut [f32], &mut [u8]))| {
            let main = Branch { x: &main.x[n * from..][..from], ..main };
            let short = Branch { x: &short.x[n * to..][..to], ..short };
            isa.run(Forward { shape, main, short, y, index });
        };
        if shape.len() <= SERIAL {
            y.chunks_mut(to).zip(index.chunks_mut(to)).enumerate().for_each(image);
        } else {
            y.par_chunks_mut(to).zip(index.par_chunks_mut(to)).enumerate().for_each(image);
        }
    }

    fn residual_backward(isa: Isa, shape: Shape, args: ResidualBackward<'_, Self>) {
        let ResidualBackward { main, short, y, index, dy, dmain, dshort, scratch } = args;
        check(shape, main, short);
        let (from, to, c) = (shape.image_len(), shape.halved().image_len(), shape.c);
        assert_eq!(y.len(), shape.halved().len(), "y is not {}", shape.halved());
        assert_eq!(index.len(), y.len(), "index is not {}", shape.halved());
        assert_eq!(dy.len(), y.len(), "dy is not {}", shape.halved());
        assert_eq!(dmain.dz.to.len(), shape.len(), "dmain is not {shape}");
        assert_eq!(dshort.dz.to.len(), y.len(), "dshort is not {}", shape.halved());
        for sums in [&dmain.sums, &dshort.sums] {
            assert!(sums.as_ref().is_none_or(|sums| sums.len() == 2 * c), "sums of {shape}");
        }
        let modes = [dmain.dz.mode, dshort.dz.mode];
        let (sums_main, sums_short) = scratch[..4 * shape.n * c].split_at_mut(2 * shape.n * c);
        let buffers =
            [(dmain.dz.to, from), (dshort.dz.to, to), (&mut *sums_main, 2 * c), (&mut *sums_short, 2 * c)];
        let parallel = shape.len() > SERIAL;
        for_chunks(0..shape.n, parallel, buffers, &|n, [dmain, dshort, sums_main, sums_short]| {
            let at = n * to..(n + 1) * to;
            let main = Branch { x: &main.x[n * from..][..from], ..main };
            let short = Branch { x: &short.x[at.clone()], ..short };
            isa.run(Backward {
                shape,
                main,
                short,
                y: &y[at.clone()],
                index: &index[at.clone()],
                dy: &dy[at],
                dx: [&mut *dmain, &mut *dshort],
                sums: [&mut *sums_main, &mut *sums_short],
                modes,
            });
            // Where this is not all of the gradient, the sums are over what others wrote, too.
            let results = [(main, dmain, sums_main), (short, dshort, sums_short)];
            for ((branch, dz, sums), mode) in results.into_iter().zip(modes) {
                if mode == Mode::Add {
                    sums.fill(0.0);
                    isa.run(Sums { affine: branch.affine, x: branch.x, dz, sums });
                }
            }
        });
        for (slots, sums) in [(sums_main, dmain.sums), (sums_short, dshort.sums)] {
            if let Some(sums) = sums {
                combine(isa, slots, 1, sums, Mode::Set);
            }
        }
    }
}

/// Both branches of an image, fetched a row of windows ahead.
#[inline(always)]
fn fetched<'a>(shape: Shape, main: &'a [f32], short: &'a [f32]) -> Ahead<'a> {
    let out = shape.halved();
    let behind = |x: &'a [f32], rows: usize, w: usize| &x[(rows * w * shape.c).min(x.len())..];
    Ahead::new([behind(main, 4, shape.w), behind(short, 2, out.w), &[], &[]], out.h * out.w)
}

/// One image.
struct Forward<'a> {
    shape: Shape,
    main: Branch<'a, f32>,
    short: Branch<'a, f32>,
    y: &'a mut [f32],
    index: &'a mut [u8],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, main, short, y, index } = self;
        let (out, c) = (shape.halved(), shape.c);
        let mut ahead = fetched(shape, main.x, short.x);
        let mut outputs = y.chunks_exact_mut(c).zip(index.chunks_exact_mut(c)).zip(short.x.chunks_exact(c));
        for i in 0..out.h {
            for (j, ((y, index), x)) in (0..out.w).zip(outputs.by_ref()) {
                ahead.fetch(s);
                let window = Window { shape, i, j };
                // Two vectors: four of constants, two of maxima and of positions, two of x.
                for block in blocks(c, 2) {
                    let (y, index) = (&mut y[block.clone()], &mut index[block.clone()]);
                    let short = Branch { x, ..short };
                    on_block!(block, 2, forward_block(s, window, &main, &short, block, y, index));
                }
            }
        }
    }
}

#[inline(always)]
fn forward_block<S: Simd, const N: usize>(
    s: S,
    window: Window,
    main: &Branch<'_, f32>,
    short: &Branch<'_, f32>,
    block: Range<usize>,
    y: &mut [f32],
    index: &mut [u8],
) {
    let scale = load::<S, N>(s, &main.affine.scale[block.clone()]);
    let shift = load::<S, N>(s, &main.affine.shift[block.clone()]);
    let normed = |mut x: [S::V; N]| {
        for k in 0..N {
            x[k] = s.mul_add(x[k], scale[k], shift[k]);
        }
        x
    };
    let mut sum = window.maximum::<S, N>(s, main.x, &block, normed, index);
    let x = load::<S, N>(s, &short.x[block.clone()]);
    let scale = load::<S, N>(s, &short.affine.scale[block.clone()]);
    let shift = load::<S, N>(s, &short.affine.shift[block.clone()]);
    for k in 0..N {
        // Zero first: x86 then keeps a NaN of the shortcut, so that a diverged network shows. One of the main branch
        // has been lost to the maximum there.
        sum[k] = s.max(s.zero(), s.add(sum[k], s.mul_add(x[k], scale[k], shift[k])));
    }
    store(s, sum, y);
}

/// One image; `dx` and `sums` of the main branch, then of the shortcut.
struct Backward<'a> {
    shape: Shape,
    main: Branch<'a, f32>,
    short: Branch<'a, f32>,
    y: &'a [f32],
    index: &'a [u8],
    dy: &'a [f32],
    dx: [&'a mut [f32]; 2],
    sums: [&'a mut [f32]; 2],
    modes: [Mode; 2],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { shape, main, short, y, index, dy, dx: [dmain, dshort], mut sums, modes } = self;
        let (out, c) = (shape.halved(), shape.c);
        sums.iter_mut().for_each(|sums| sums.fill(0.0));
        let mut ahead = fetched(shape, main.x, short.x);
        // The image stays in L2 between this and the additions.
        if modes[0] == Mode::Set {
            dmain.fill(0.0);
        }
        for i in 0..out.h {
            for j in 0..out.w {
                ahead.fetch(s);
                let at = (i * out.w + j) * c..(i * out.w + j + 1) * c;
                let pixel = Pixel {
                    window: Window { shape, i, j },
                    main: main.x,
                    means: [main.affine.mean, short.affine.mean],
                    short: &short.x[at.clone()],
                    y: &y[at.clone()],
                    index: &index[at.clone()],
                    dy: &dy[at.clone()],
                };
                let dshort = &mut dshort[at];
                for block in blocks(c, 2) {
                    on_block!(block, 2, backward_block(s, &pixel, block, dmain, dshort, &mut sums, modes[1]));
                }
            }
        }
    }
}

/// What the gradient of one output pixel reads.
struct Pixel<'a> {
    window: Window,
    main: &'a [f32],
    means: [&'a [f32]; 2],
    short: &'a [f32],
    y: &'a [f32],
    index: &'a [u8],
    dy: &'a [f32],
}

#[inline(always)]
fn backward_block<S: Simd, const N: usize>(
    s: S,
    pixel: &Pixel<'_>,
    block: Range<usize>,
    dmain: &mut [f32],
    dshort: &mut [f32],
    [sums_main, sums_short]: &mut [&mut [f32]; 2],
    mode: Mode,
) {
    let Pixel { window, main, means, short, y, index, dy } = *pixel;
    let c = window.shape.c;
    let zero = s.zero();
    let (y, mut left) = (load::<S, N>(s, &y[block.clone()]), load::<S, N>(s, &dy[block.clone()]));
    let (x, mean) = (load::<S, N>(s, &short[block.clone()]), load::<S, N>(s, &means[1][block.clone()]));
    let mut product = [zero; N];
    for k in 0..N {
        left[k] = s.select_gt(y[k], zero, left[k], zero);
        product[k] = s.mul(left[k], s.sub(x[k], mean[k]));
    }
    put(s, left, &mut dshort[block.clone()], mode);
    for sums in [&mut **sums_main, &mut **sums_short] {
        put(s, left, &mut sums[block.clone()], Mode::Add);
    }
    put(s, product, &mut sums_short[c..][block.clone()], Mode::Add);

    let at = window_bytes::<S, N>(s, &index[block.clone()]);
    let mean = load::<S, N>(s, &means[0][block.clone()]);
    let mut product = [zero; N];
    window.each(|tap, pixel| {
        let part = taken(s, tap, &at, &mut left);
        let place = pixel * c..(pixel + 1) * c;
        let x = load::<S, N>(s, &main[place.clone()][block.clone()]);
        for k in 0..N {
            product[k] = s.mul_add(part[k], s.sub(x[k], mean[k]), product[k]);
        }
        put(s, part, &mut dmain[place][block.clone()], Mode::Add);
    });
    put(s, product, &mut sums_main[c..][block], Mode::Add);
}
