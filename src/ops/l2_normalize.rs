//! Rows of length one.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite, sweep};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct L2Normalize(Shape);

impl Graph {
    /// `y[r]` = `x[r]` / max(|`x[r]`|, 1e-12) for every row of c values.
    pub fn l2_normalize(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(L2Normalize(shape), &[x], Operands::default())
    }
}

impl Operation for L2Normalize {
    fn spec(&self) -> Spec {
        // Of the length, and of the product of y and its gradient.
        let terms = 2 * self.0.c;
        Spec { reads_y: true, aux: self.0.pixels(), terms, ..Spec::new("l2_normalize", self.0) }
    }
}

impl<T: Element> Run<T> for L2Normalize {
    fn forward(&self, io: Forward<'_, T>) {
        T::l2_normalize_forward(io.isa, self.0.c, io.x[0], io.y, io.aux);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::l2_normalize_backward(io.isa, self.0.c, io.y, io.aux, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    // The gradient of a row of one number is 0, and in f32 nothing but rounding.
    for at in sweep().filter(|at| at.c > 1) {
        suite.add("l2_normalize", move |g| {
            let x = g.input(at.x());
            Checked::new(g.l2_normalize(x), [x])
        });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
