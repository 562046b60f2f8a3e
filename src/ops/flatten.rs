//! An image as one long row: what a dense layer reads.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Flatten(Shape);

impl Graph {
    /// All elements of an image as channels of one pixel: `[n, h, w, c]` becomes `[n, 1, 1, h * w * c]`, in the same
    /// order.
    pub fn flatten(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(Flatten(shape), &[x], Operands::default())
    }
}

impl Operation for Flatten {
    fn spec(&self) -> Spec {
        Spec::new("flatten", Shape::new(self.0.n, 1, 1, self.0.image_len()))
    }
}

impl<T: Element> Run<T> for Flatten {
    fn forward(&self, io: Forward<'_, T>) {
        io.y.copy_from_slice(io.x[0]);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::add_backward(io.isa, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("flatten", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.flatten(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
