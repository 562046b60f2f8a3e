//! Bias per channel.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Bias(Shape);

impl Graph {
    /// `y[.., c]` = `x[.., c]` + `b[c]`; `b` is `[c]`.
    pub fn bias(&mut self, x: Var, b: Param) -> Var {
        let shape = self.shape(x);
        let dims = self.dims(b).to_vec();
        self.require(dims == [shape.c], "bias", &format!("a bias [{}]", shape.c), format!("{dims:?}"));
        self.push(Bias(shape), &[x], Operands { params: vec![b], ..Default::default() })
    }

    /// y = x w + b for `[n, 1, 1, cin]` (or any map, pixel by pixel); `w` is `[cin, cout]`, `b` `[cout]`.
    pub fn linear(&mut self, x: Var, w: Param, b: Param) -> Var {
        let y = self.pointwise(x, w, 1);
        self.bias(y, b)
    }
}

impl Operation for Bias {
    fn spec(&self) -> Spec {
        Spec { terms: self.0.pixels(), ..Spec::new("bias", self.0) }
    }
}

impl<T: Element> Run<T> for Bias {
    fn forward(&self, io: Forward<'_, T>) {
        T::bias_forward(io.isa, io.x[0], io.w[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [dx, _] = io.dx;
        let [db, ..] = io.dw;
        if let Some(dx) = dx {
            T::add_backward(io.isa, io.dy, dx);
        }
        if let Some(db) = db {
            T::bias_backward(io.isa, io.dy, db);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("bias", |g, at| {
        let x = g.input(at.x());
        let b = g.param("b", &[at.c], Init::Uniform { fan_in: at.c });
        Checked::new(g.bias(x, b), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
