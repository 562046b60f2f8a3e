//! Maximum over 3x3 windows with stride 2 and padding 1: what halves the maps.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct MaxPool(Shape);

impl Graph {
    /// `y[n,i,j,c]` = max of `x[n, 2i-1..=2i+1, 2j-1..=2j+1, c]` inside the map: `[n, ceil(h/2), ceil(w/2), c]`.
    pub fn max_pool(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(MaxPool(shape), &[x], Operands::default())
    }
}

impl Operation for MaxPool {
    fn spec(&self) -> Spec {
        let y = self.0.halved();
        // Of the windows that a pixel is in.
        Spec { index: y.len(), terms: 4, ..Spec::new("max_pool", y) }
    }
}

impl<T: Element> Run<T> for MaxPool {
    fn forward(&self, io: Forward<'_, T>) {
        T::max_pool_forward(io.isa, self.0, io.x[0], io.y, io.index);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::max_pool_backward(io.isa, self.0, io.index, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("max_pool", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.max_pool(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
