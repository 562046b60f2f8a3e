//! Sum of two values: the residual connection without an activation.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Add(Shape);

impl Graph {
    /// y = a + b, two values of one shape.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        let shape = self.shape(a);
        self.require(shape == self.shape(b), "add", &format!("two values {shape}"), self.shape(b));
        self.push(Add(shape), &[a, b], Operands::default())
    }
}

impl Operation for Add {
    fn spec(&self) -> Spec {
        Spec::new("add", self.0)
    }
}

impl<T: Element> Run<T> for Add {
    fn forward(&self, io: Forward<'_, T>) {
        T::add_forward(io.isa, io.x[0], io.x[1], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        for dx in io.dx.into_iter().flatten() {
            T::add_backward(io.isa, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("add", |g, at| {
        let (a, b) = (g.input(at.x()), g.input(at.x()));
        Checked::new(g.add(a, b), [a, b])
    });
    // Gradients that are set by one reader and added to by the next.
    suite.sweep("add", |g, at| {
        let x = g.input(at.x());
        let s = g.sigmoid(x);
        let r = g.add(s, x);
        Checked::new(g.add(r, s), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
