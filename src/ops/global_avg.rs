//! The mean of each channel over the whole map.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct GlobalAvg(Shape);

impl Graph {
    /// `y[n,c]` = mean over h and w: `[n, 1, 1, c]`.
    pub fn global_avg(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(GlobalAvg(shape), &[x], Operands::default())
    }
}

impl Operation for GlobalAvg {
    fn spec(&self) -> Spec {
        let y = Shape::new(self.0.n, 1, 1, self.0.c);
        Spec { terms: self.0.h * self.0.w, ..Spec::new("global_avg", y) }
    }
}

impl<T: Element> Run<T> for GlobalAvg {
    fn forward(&self, io: Forward<'_, T>) {
        T::global_avg_forward(io.isa, self.0, io.x[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::global_avg_backward(io.isa, self.0, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("global_avg", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.global_avg(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
