//! Product with one factor per channel: how CBAM applies an attention map (Woo et al. 2018, eq. 1).

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct ScaleChannels(Shape);

impl Graph {
    /// y = x * a, `x` `[n, h, w, c]`, `a` `[n, 1, 1, c]`.
    pub fn scale_channels(&mut self, x: Var, a: Var) -> Var {
        let shape = self.shape(x);
        let factors = Shape::new(shape.n, 1, 1, shape.c);
        let got = self.shape(a);
        self.require(got == factors, "scale_channels", &format!("factors {factors}"), got);
        self.push(ScaleChannels(shape), &[x, a], Operands::default())
    }
}

impl Operation for ScaleChannels {
    fn spec(&self) -> Spec {
        // Of the gradient of a.
        let terms = self.0.h * self.0.w;
        Spec { reads_x: true, terms, ..Spec::new("scale_channels", self.0) }
    }
}

impl<T: Element> Run<T> for ScaleChannels {
    fn forward(&self, io: Forward<'_, T>) {
        T::scale_channels_forward(io.isa, self.0, io.x[0], io.x[1], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [dx, da] = io.dx;
        T::scale_channels_backward(io.isa, self.0, io.x[0], io.x[1], io.dy, dx, da);
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("scale_channels", |g, at| {
        let (x, a) = (g.input(at.x()), g.input([at.n, 1, 1, at.c]));
        Checked::new(g.scale_channels(x, a), [x, a])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
