//! Element by element: ReLU, sigmoid, sum, sum with ReLU, bias.

use crate::lanes::{Map, SERIAL, blocks, each_image, load, map, on_block, put};
use crate::reduce::Stack;
use crate::{Grad, Isa, Kernel, Mode, Simd};
use std::ops::Range;

/// All buffers of one call have the same length (but for the bias).
pub trait ElementwiseKernels: Sized {
    /// y = max(x, 0).
    fn relu_forward(isa: Isa, x: &[Self], y: &mut [Self]);
    /// dx = dy where y > 0, else 0 (so 0 at the kink).
    fn relu_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>);
    /// y = 1 / (1 + exp(-x)), without overflow at either end.
    fn sigmoid_forward(isa: Isa, x: &[Self], y: &mut [Self]);
    /// dx = dy * y * (1 - y).
    fn sigmoid_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>);
    /// y = a + b.
    fn add_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]);
    /// dx = dy: the gradient of either term.
    fn add_backward(isa: Isa, dy: &[Self], dx: Grad<'_, Self>);
    /// y = max(a + b, 0); each term's gradient is [`Self::relu_backward`].
    fn add_relu_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]);
    /// `y[r, c]` = `x[r, c]` + `b[c]`; `b.len()` divides `x.len()`.
    fn bias_forward(isa: Isa, x: &[Self], b: &[Self], y: &mut [Self]);
    /// `db[c]` = sum over rows, along their tree, of `dy[r, c]` (few rows: the head and CBAM's MLP); dx is
    /// [`Self::add_backward`].
    fn bias_backward(isa: Isa, dy: &[Self], db: Grad<'_, Self>);
}

impl ElementwiseKernels for f32 {
    fn relu_forward(isa: Isa, x: &[Self], y: &mut [Self]) {
        map(isa, Relu, [x], Grad::set(y));
    }
    fn relu_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        map(isa, ReluGrad, [y, dy], dx);
    }
    fn sigmoid_forward(isa: Isa, x: &[Self], y: &mut [Self]) {
        map(isa, Sigmoid, [x], Grad::set(y));
    }
    fn sigmoid_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        map(isa, SigmoidGrad, [y, dy], dx);
    }
    fn add_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        map(isa, Sum, [a, b], Grad::set(y));
    }
    fn add_backward(isa: Isa, dy: &[Self], dx: Grad<'_, Self>) {
        map(isa, Same, [dy], dx);
    }
    fn add_relu_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        map(isa, SumRelu, [a, b], Grad::set(y));
    }

    fn bias_forward(isa: Isa, x: &[Self], b: &[Self], y: &mut [Self]) {
        let c = b.len();
        assert!(c > 0 && x.len().is_multiple_of(c), "x is not rows of {c}");
        assert_eq!(x.len(), y.len(), "x and y differ in length");
        let rows = (SERIAL / c).max(1) * c;
        each_image(rows, x.len(), y, |i, y| isa.run(Bias { x: &x[i * rows..][..y.len()], b, y }));
    }

    fn bias_backward(isa: Isa, dy: &[Self], db: Grad<'_, Self>) {
        let c = db.to.len();
        assert!(c > 0 && dy.len().is_multiple_of(c), "dy is not rows of {c}");
        isa.run(BiasBackward { dy, db: db.to, mode: db.mode });
    }
}

/// Names a function of vectors for [`map`].
macro_rules! vector_function {
    ($name:ident, $inputs:literal, |$s:ident, $x:ident| $result:expr) => {
        #[derive(Clone, Copy)]
        struct $name;

        impl Map<$inputs> for $name {
            #[inline(always)]
            fn map<S: Simd>(self, $s: S, $x: [S::V; $inputs]) -> S::V {
                $result
            }
        }
    };
}

// The zero first: x86 then keeps a NaN, so that a diverged network shows.
vector_function!(Relu, 1, |s, x| s.max(s.zero(), x[0]));
vector_function!(ReluGrad, 2, |s, y_dy| s.select_gt(y_dy[0], s.zero(), y_dy[1], s.zero()));
vector_function!(SigmoidGrad, 2, |s, y_dy| {
    let [y, dy] = y_dy;
    s.mul(s.mul(dy, y), s.sub(s.splat(1.0), y))
});
vector_function!(Sum, 2, |s, x| s.add(x[0], x[1]));
vector_function!(SumRelu, 2, |s, x| s.max(s.zero(), s.add(x[0], x[1])));
vector_function!(Same, 1, |_s, x| x[0]);
vector_function!(Sigmoid, 1, |s, x| {
    // The network has a few thousand of these: the standard library's exp, lane by lane.
    let mut lanes = s.to_array(x[0]);
    for lane in &mut lanes {
        *lane = sigmoid(*lane);
    }
    s.load(&lanes)
});

/// exp is only taken of negative numbers, so it cannot overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = (-x.abs()).exp();
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

struct Bias<'a> {
    x: &'a [f32],
    b: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for Bias<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, b, y } = self;
        let c = b.len();
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            for block in blocks(c, 1) {
                let [x] = load::<S, 1>(s, &x[block.clone()]);
                let [b] = load::<S, 1>(s, &b[block.clone()]);
                put::<S, 1>(s, [s.add(x, b)], &mut y[block], Mode::Set);
            }
        }
    }
}

struct BiasBackward<'a> {
    dy: &'a [f32],
    db: &'a mut [f32],
    mode: Mode,
}

impl Kernel for BiasBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { dy, db, mode } = self;
        for block in blocks(db.len(), 4) {
            on_block!(block, 4, bias_backward_block(s, dy, block, db, mode));
        }
    }
}

#[inline(always)]
fn bias_backward_block<S: Simd, const N: usize>(
    s: S,
    dy: &[f32],
    block: Range<usize>,
    db: &mut [f32],
    mode: Mode,
) {
    let mut stack = Stack::<S::V, N>::new(dy.len() / db.len(), 1, s.zero());
    for row in dy.chunks_exact(db.len()) {
        let row = load::<S, N>(s, &row[block.clone()]);
        stack.push_vectors(s, row);
    }
    put(s, stack.total(), &mut db[block], mode);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_at_both_ends_and_relu_at_its_kink() {
        for isa in Isa::available() {
            let mut y = [f32::NAN; 3];
            f32::sigmoid_forward(isa, &[-1e4, 0.0, 1e4], &mut y);
            assert_eq!(y, [0.0, 0.5, 1.0]);
            let mut dx = [f32::NAN; 3];
            f32::relu_backward(isa, &[0.0, 1e-30, 2.0], &[7.0, 8.0, 9.0], Grad::set(&mut dx));
            assert_eq!(dx, [0.0, 8.0, 9.0]);
        }
    }
}
