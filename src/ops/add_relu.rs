//! Sum with ReLU: the end of a residual block.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct AddRelu(Shape);

impl Graph {
    /// y = max(a + b, 0), two values of one shape.
    pub fn add_relu(&mut self, a: Var, b: Var) -> Var {
        let shape = self.shape(a);
        self.require(shape == self.shape(b), "add_relu", &format!("two values {shape}"), self.shape(b));
        self.push(AddRelu(shape), &[a, b], Operands::default())
    }
}

impl Operation for AddRelu {
    fn spec(&self) -> Spec {
        Spec { reads_y: true, ..Spec::new("add_relu", self.0) }
    }
}

impl<T: Element> Run<T> for AddRelu {
    fn forward(&self, io: Forward<'_, T>) {
        T::add_relu_forward(io.isa, io.x[0], io.x[1], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        for dx in io.dx.into_iter().flatten() {
            T::relu_backward(io.isa, io.y, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("add_relu", |g, at| {
        let (a, b) = (g.input(at.x()), g.input(at.x()));
        Checked::new(g.add_relu(a, b), [a, b])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
