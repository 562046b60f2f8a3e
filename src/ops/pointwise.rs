//! 1x1 convolution with stride 1 or 2; a linear layer is the case of a 1x1 map.

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Conv, Element};

#[derive(Debug)]
struct Pointwise(Conv);

impl Graph {
    /// `y[n,h,w,o]` = sum over c of `x[n, s*h, s*w, c]` * `w[c, o]`, s the stride (1 or 2).
    ///
    /// `x` is `[n, h, w, cin]`, `w` `[cin, cout]`.
    pub fn pointwise(&mut self, x: Var, w: Param, stride: usize) -> Var {
        let conv = self.pointwise_geometry("pointwise", x, w, stride);
        self.push(Pointwise(conv), &[x], Operands { params: vec![w], ..Default::default() })
    }

    /// The geometry of `op` if weights `w` fit `x`.
    pub(super) fn pointwise_geometry(&mut self, op: &'static str, x: Var, w: Param, stride: usize) -> Conv {
        let shape = self.shape(x);
        let dims = self.dims(w).to_vec();
        let fits = dims.len() == 2 && dims[0] == shape.c;
        self.require(fits, op, &format!("weights [{}, cout]", shape.c), format!("{dims:?}"));
        self.require(matches!(stride, 1 | 2), op, "stride 1 or 2", stride);
        Conv { x: shape, cout: *dims.last().unwrap_or(&1), stride }
    }
}

impl Operation for Pointwise {
    fn spec(&self) -> Spec {
        let (y, cin) = (self.0.y(), self.0.x.c);
        let (macs, terms) = ((y.len() * cin) as u64, cin + y.c + y.pixels());
        Spec { reads_x: true, macs, terms, ..Spec::new("pointwise", y) }
    }
}

impl<T: Element> Run<T> for Pointwise {
    fn scratch(&self) -> Scratch {
        Scratch {
            forward: T::pointwise_forward_scratch(&self.0),
            backward: T::pointwise_backward_scratch(&self.0),
        }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::pointwise_forward(io.isa, &self.0, io.x[0], io.w[0], io.y, io.scratch);
    }

    fn backward(&self, io: Backward<'_, T>) {
        T::pointwise_backward(io.isa, &self.0, io.into_conv());
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    for stride in [1, 2] {
        suite.sweep("pointwise", move |g, at| {
            let x = g.input(at.x());
            let w = g.param("w", &[at.c, at.cout], Init::Uniform { fan_in: at.c });
            Checked::new(g.pointwise(x, w, stride), [x])
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
