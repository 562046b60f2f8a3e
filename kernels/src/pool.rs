//! Pooling over space: 3x3 maximum with stride 2 and padding 1, global average, global maximum.

use crate::{Grad, Isa, Shape};

/// `shape` is x's throughout.
pub trait PoolKernels: Sized {
    /// y[n,i,j,c] = max over the window of x[n, 2i-1..=2i+1, 2j-1..=2j+1, c] inside the map. `index` gets the
    /// position 0..9 in the window of the first maximum in row-major order, one byte an output.
    fn max_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self], index: &mut [u8]);
    /// Adds each dy to the x it came from.
    fn max_pool_backward(isa: Isa, shape: Shape, index: &[u8], dy: &[Self], dx: Grad<'_, Self>);
    /// y[n,c] = mean over h, w.
    fn global_avg_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]);
    /// dx = dy / (h w).
    fn global_avg_backward(isa: Isa, shape: Shape, dy: &[Self], dx: Grad<'_, Self>);
    /// y[n,c] = max over h, w.
    fn global_max_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]);
    /// dy goes to the first pixel in row-major order that equals the maximum `y`.
    fn global_max_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>);
}

impl PoolKernels for f32 {
    fn max_pool_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self], index: &mut [u8]) {
        unimplemented!()
    }
    fn max_pool_backward(isa: Isa, shape: Shape, index: &[u8], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn global_avg_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn global_avg_backward(isa: Isa, shape: Shape, dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
    fn global_max_forward(isa: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        unimplemented!()
    }
    fn global_max_backward(isa: Isa, shape: Shape, x: &[Self], y: &[Self], dy: &[Self], dx: Grad<'_, Self>) {
        unimplemented!()
    }
}
