//! Element by element: ReLU, sigmoid, sum, sum with ReLU, bias.

use crate::{Grad, Isa};

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
    /// y[r, c] = x[r, c] + b[c]; `b.len()` divides `x.len()`.
    fn bias_forward(isa: Isa, x: &[Self], b: &[Self], y: &mut [Self]);
    /// db[c] = sum over rows of dy[r, c] (few rows: the head and CBAM's MLP); dx is [`Self::add_backward`].
    fn bias_backward(isa: Isa, dy: &[Self], db: Grad<'_, Self>);
}

impl ElementwiseKernels for f32 {
    fn relu_forward(isa: Isa, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn relu_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn sigmoid_forward(isa: Isa, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn sigmoid_backward(isa: Isa, y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn add_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn add_backward(isa: Isa, dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn add_relu_forward(isa: Isa, a: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn bias_forward(isa: Isa, x: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn bias_backward(isa: Isa, dy: &[Self], db: Grad<'_, Self>) {
        unimplemented!()
    }
}
