//! Applies the batch norm (and ReLU) that a value owes, for operations that read plain values. Its gradient is
//! checked with those that leave it a norm to apply: `norm_conv` and `residual`.

use super::norm_conv::{Operand, split, split_grad};
use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Normed {
    shape: Shape,
    relu: bool,
}

impl Graph {
    /// The value itself if it owes no norm, or the value after it.
    pub fn normed(&mut self, x: impl Into<Operand>) -> Var {
        let Operand { var, norm } = x.into();
        let Some(relu) = norm else { return var };
        let shape = self.shape(var);
        self.push(Normed { shape, relu }, &[var], Operands::default())
    }
}

impl Operation for Normed {
    fn spec(&self) -> Spec {
        Spec { reads_x: true, ..Spec::new("normed", self.shape) }
    }
}

impl<T: Element> Run<T> for Normed {
    fn scratch(&self) -> Scratch {
        Scratch { forward: 0, backward: T::affine_backward_scratch(self.shape) }
    }

    fn forward(&self, io: Forward<'_, T>) {
        let (x, affine) = split(io.x[0], self.shape, Some(self.relu));
        T::affine_forward(io.isa, self.shape, x, affine.expect("a norm is owed"), io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let (x, affine) = split(io.x[0], self.shape, Some(self.relu));
        if let [Some(dx), _] = io.dx {
            let (affine, dx) = (affine.expect("a norm is owed"), split_grad(dx, self.shape, io.dx_last[0]));
            T::affine_backward(io.isa, self.shape, x, affine, io.dy, dx, io.scratch);
        }
    }
}
