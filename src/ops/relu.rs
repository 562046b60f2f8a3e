//! y = max(x, 0), element by element.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Relu(Shape);

impl Graph {
    /// y = max(x, 0).
    pub fn relu(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(Relu(shape), &[x], Operands::default())
    }
}

impl Operation for Relu {
    fn spec(&self) -> Spec {
        Spec { reads_y: true, ..Spec::new("relu", self.0) }
    }
}

impl<T: Element> Run<T> for Relu {
    fn forward(&self, io: Forward<'_, T>) {
        T::relu_forward(io.isa, io.x[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::relu_backward(io.isa, io.y, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("relu", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.relu(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
