//! y = 1 / (1 + exp(-x)), element by element.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Sigmoid(Shape);

impl Graph {
    /// y = 1 / (1 + exp(-x)).
    pub fn sigmoid(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(Sigmoid(shape), &[x], Operands::default())
    }
}

impl Operation for Sigmoid {
    fn spec(&self) -> Spec {
        Spec { reads_y: true, ..Spec::new("sigmoid", self.0) }
    }
}

impl<T: Element> Run<T> for Sigmoid {
    fn forward(&self, io: Forward<'_, T>) {
        T::sigmoid_forward(io.isa, io.x[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::sigmoid_backward(io.isa, io.y, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("sigmoid", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.sigmoid(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
