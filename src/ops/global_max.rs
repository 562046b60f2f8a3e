//! The maximum of each channel over the whole map.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct GlobalMax(Shape);

impl Graph {
    /// `y[n,c]` = maximum over h and w: `[n, 1, 1, c]`.
    pub fn global_max(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(GlobalMax(shape), &[x], Operands::default())
    }
}

impl Operation for GlobalMax {
    fn spec(&self) -> Spec {
        let y = Shape::new(self.0.n, 1, 1, self.0.c);
        Spec { reads_x: true, reads_y: true, ..Spec::new("global_max", y) }
    }
}

impl<T: Element> Run<T> for GlobalMax {
    fn forward(&self, io: Forward<'_, T>) {
        T::global_max_forward(io.isa, self.0, io.x[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::global_max_backward(io.isa, self.0, io.x[0], io.y, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("global_max", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.global_max(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
