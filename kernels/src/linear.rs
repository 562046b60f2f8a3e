//! Small dense pieces of the head: rows times rows, and L2 normalisation of rows.

use crate::lanes::{blocks, each_image, load, on_block, put};
use crate::reduce::Stack;
use crate::{Grad, Isa, Kernel, Mode, Simd};
use std::ops::Range;

/// Matrices are row-major; `k` is the length of a row.
pub trait LinearKernels: Sized {
    /// `y[i, j]` = sum over k of `a[i, k]` * `b[j, k]`: a `[m, k]`, b `[p, k]`, y `[m, p]`.
    fn matmul_nt_forward(isa: Isa, k: usize, a: &[Self], b: &[Self], y: &mut [Self]);
    /// `da[i, k]` = sum over j of `dy[i, j]` * `b[j, k]`; `db[j, k]` = sum over i, along
    /// the tree over rows, of `dy[i, j]` * `a[i, k]`.
    #[allow(clippy::too_many_arguments, reason = "the operands of two gradients")]
    fn matmul_nt_backward(
        isa: Isa,
        k: usize,
        a: &[Self],
        b: &[Self],
        dy: &[Self],
        da: Option<Grad<'_, Self>>,
        db: Option<Grad<'_, Self>>,
    );
    /// y = x / max(|x|, 1e-12) row by row; `norms` gets max(|x|, 1e-12) of each row.
    fn l2_normalize_forward(isa: Isa, k: usize, x: &[Self], y: &mut [Self], norms: &mut [Self]);
    /// dx = (dy - y * sum(dy * y)) / norm, row by row.
    fn l2_normalize_backward(isa: Isa, k: usize, y: &[Self], norms: &[Self], dy: &[Self], dx: Grad<'_, Self>);
}

impl LinearKernels for f32 {
    fn matmul_nt_forward(isa: Isa, k: usize, a: &[Self], b: &[Self], y: &mut [Self]) {
        let (_, p) = rows(k, a, b, y.len(), "y");
        let work = y.len() * k / MULTIPLY_ADDS;
        each_image(p, work, y, |i, y| isa.run(Dots { a: &a[i * k..][..k], b, y }));
    }

    fn matmul_nt_backward(
        isa: Isa,
        k: usize,
        a: &[Self],
        b: &[Self],
        dy: &[Self],
        da: Option<Grad<'_, Self>>,
        db: Option<Grad<'_, Self>>,
    ) {
        let (_, p) = rows(k, a, b, dy.len(), "dy");
        let work = dy.len() * k / MULTIPLY_ADDS;
        if let Some(Grad { to, mode }) = da {
            assert_eq!(to.len(), a.len(), "da and a differ in length");
            each_image(k, work, to, |i, to| {
                isa.run(Combination { factors: &dy[i * p..], stride: 1, rows: b, to, mode, tree: false });
            });
        }
        if let Some(Grad { to, mode }) = db {
            assert_eq!(to.len(), b.len(), "db and b differ in length");
            each_image(k, work, to, |j, to| {
                isa.run(Combination { factors: &dy[j..], stride: p, rows: a, to, mode, tree: true });
            });
        }
    }

    fn l2_normalize_forward(isa: Isa, k: usize, x: &[Self], y: &mut [Self], norms: &mut [Self]) {
        assert_eq!(x.len(), norms.len() * k, "x is not [{}, {k}]", norms.len());
        assert_eq!(x.len(), y.len(), "x and y differ in length");
        isa.run(Normalize { k, x, y, norms });
    }

    fn l2_normalize_backward(
        isa: Isa,
        k: usize,
        y: &[Self],
        norms: &[Self],
        dy: &[Self],
        dx: Grad<'_, Self>,
    ) {
        assert_eq!(y.len(), norms.len() * k, "y is not [{}, {k}]", norms.len());
        assert_eq!(dy.len(), y.len(), "dy and y differ in length");
        assert_eq!(dx.to.len(), y.len(), "dx and y differ in length");
        isa.run(NormalizeBackward { k, y, norms, dy, dx: dx.to, mode: dx.mode });
    }
}

/// Multiply-adds that take about as long as an element of a memory-bound kernel.
const MULTIPLY_ADDS: usize = 4;

/// Rows of a and of b, after checking that `product` elements are one for each pair of them.
fn rows(k: usize, a: &[f32], b: &[f32], product: usize, name: &str) -> (usize, usize) {
    assert!(k > 0 && a.len().is_multiple_of(k), "a is not rows of {k}");
    assert!(b.len().is_multiple_of(k), "b is not rows of {k}");
    let (m, p) = (a.len() / k, b.len() / k);
    assert_eq!(product, m * p, "{name} is not [{m}, {p}]");
    (m, p)
}

/// `y[j]` = a . `b[j]`.
struct Dots<'a> {
    a: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, y } = self;
        for (b, y) in b.chunks_exact(a.len()).zip(y) {
            *y = dot(s, a, b);
        }
    }
}

#[inline(always)]
fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    // Four sums hide the latency of the additions.
    let mut wide = [s.zero(); 4];
    let mut rest = [s.zero(); 1];
    for block in blocks(a.len(), 4) {
        let (a, b) = (&a[block.clone()], &b[block.clone()]);
        let sums: &mut [S::V] = if block.len() == 32 { &mut wide } else { &mut rest };
        if block.len() == 32 {
            let (a, b) = (load::<S, 4>(s, a), load::<S, 4>(s, b));
            for i in 0..4 {
                sums[i] = s.mul_add(a[i], b[i], sums[i]);
            }
        } else {
            let ([a], [b]) = (load::<S, 1>(s, a), load::<S, 1>(s, b));
            sums[0] = s.mul_add(a, b, sums[0]);
        }
    }
    let pairs = s.add(s.add(wide[0], wide[1]), s.add(wide[2], wide[3]));
    s.sum(s.add(pairs, rest[0]))
}

/// to = sum over r of `factors[r * stride]` * `rows[r]`.
struct Combination<'a> {
    factors: &'a [f32],
    stride: usize,
    rows: &'a [f32],
    to: &'a mut [f32],
    mode: Mode,
    /// Rows are images: they are added along the tree.
    tree: bool,
}

impl Kernel for Combination<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { factors, stride, rows, to, mode, tree } = self;
        for block in blocks(to.len(), 4) {
            if tree {
                on_block!(block, 4, tree_combination_block(s, (factors, stride), rows, block, to, mode));
            } else {
                on_block!(block, 4, combination_block(s, (factors, stride), rows, block, to, mode));
            }
        }
    }
}

#[inline(always)]
fn combination_block<S: Simd, const N: usize>(
    s: S,
    (factors, stride): (&[f32], usize),
    rows: &[f32],
    block: Range<usize>,
    to: &mut [f32],
    mode: Mode,
) {
    let mut sum = [s.zero(); N];
    for (row, factor) in rows.chunks_exact(to.len()).zip(factors.iter().step_by(stride)) {
        let row = load::<S, N>(s, &row[block.clone()]);
        let factor = s.splat(*factor);
        for i in 0..N {
            sum[i] = s.mul_add(factor, row[i], sum[i]);
        }
    }
    put(s, sum, &mut to[block], mode);
}

/// The same, added along the tree over rows.
#[inline(always)]
fn tree_combination_block<S: Simd, const N: usize>(
    s: S,
    (factors, stride): (&[f32], usize),
    rows: &[f32],
    block: Range<usize>,
    to: &mut [f32],
    mode: Mode,
) {
    let mut stack = Stack::<S::V, N>::new(rows.len() / to.len(), 1, s.zero());
    for (row, factor) in rows.chunks_exact(to.len()).zip(factors.iter().step_by(stride)) {
        let mut row = load::<S, N>(s, &row[block.clone()]);
        let factor = s.splat(*factor);
        for x in &mut row {
            *x = s.mul(factor, *x);
        }
        stack.push_vectors(s, row);
    }
    put(s, stack.total(), &mut to[block], mode);
}

struct Normalize<'a> {
    k: usize,
    x: &'a [f32],
    y: &'a mut [f32],
    norms: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { k, x, y, norms } = self;
        for ((x, y), norm) in x.chunks_exact(k).zip(y.chunks_exact_mut(k)).zip(norms) {
            *norm = dot(s, x, x).sqrt().max(FLOOR);
            let norm = s.splat(*norm);
            for block in blocks(k, 1) {
                let [x] = load::<S, 1>(s, &x[block.clone()]);
                put::<S, 1>(s, [s.div(x, norm)], &mut y[block], Mode::Set);
            }
        }
    }
}

/// Smallest norm that a row is divided by, as in PyTorch's `normalize`.
const FLOOR: f32 = 1e-12;

struct NormalizeBackward<'a> {
    k: usize,
    y: &'a [f32],
    norms: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    mode: Mode,
}

impl Kernel for NormalizeBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { k, y, norms, dy, dx, mode } = self;
        let rows = y.chunks_exact(k).zip(dy.chunks_exact(k)).zip(dx.chunks_exact_mut(k));
        for (((y, dy), dx), norm) in rows.zip(norms) {
            // Below the floor y is x by a constant.
            let along = s.splat(if *norm > FLOOR { -dot(s, y, dy) } else { 0.0 });
            let inverse = s.splat(1.0 / norm);
            for block in blocks(k, 1) {
                let [y] = load::<S, 1>(s, &y[block.clone()]);
                let [dy] = load::<S, 1>(s, &dy[block.clone()]);
                put::<S, 1>(s, [s.mul(s.mul_add(y, along, dy), inverse)], &mut dx[block], mode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_three_four_five_triangle() {
        for isa in Isa::available() {
            let (mut y, mut norms, mut dx) = ([f32::NAN; 4], [f32::NAN; 2], [f32::NAN; 4]);
            f32::l2_normalize_forward(isa, 2, &[3.0, 4.0, 0.0, 0.0], &mut y, &mut norms);
            assert_eq!((y, norms), ([0.6, 0.8, 0.0, 0.0], [5.0, 1e-12]));
            // Along y nothing changes the result; across it, dx = dy / norm.
            f32::l2_normalize_backward(isa, 2, &y[..2], &norms[..1], &[-8.0, 6.0], Grad::set(&mut dx[..2]));
            assert!((dx[0] + 1.6).abs() < 1e-6 && (dx[1] - 1.2).abs() < 1e-6, "{dx:?}");
            // Below the floor, y is x by a constant: the gradient is dy by the same, in both number types.
            for x in [[0.0; 2], [5e-13, 0.0]] {
                let (mut y, mut norms, mut dx) = ([f32::NAN; 2], [f32::NAN], [f32::NAN; 2]);
                f32::l2_normalize_forward(isa, 2, &x, &mut y, &mut norms);
                f32::l2_normalize_backward(isa, 2, &y, &norms, &[1.0, 2.0], Grad::set(&mut dx));
                assert!(
                    (dx[0] / 1e12 - 1.0).abs() < 1e-6 && (dx[1] / 2e12 - 1.0).abs() < 1e-6,
                    "{x:?}: {dx:?}"
                );
                let x = x.map(f64::from);
                let (mut y, mut norms, mut dx) = ([f64::NAN; 2], [f64::NAN], [f64::NAN; 2]);
                f64::l2_normalize_forward(isa, 2, &x, &mut y, &mut norms);
                f64::l2_normalize_backward(isa, 2, &y, &norms, &[1.0, 2.0], Grad::set(&mut dx));
                assert!((dx[0] / 1e12 - 1.0).abs() < 1e-12 && (dx[1] / 2e12 - 1.0).abs() < 1e-12, "{dx:?}");
            }
        }
    }
}
