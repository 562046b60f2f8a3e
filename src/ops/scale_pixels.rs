//! Product with one factor per pixel: how CBAM applies an attention map (Woo et al. 2018, eq. 1).

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct ScalePixels(Shape);

impl Graph {
    /// y = x * m, `x` `[n, h, w, c]`, `m` `[n, h, w, 1]`.
    pub fn scale_pixels(&mut self, x: Var, m: Var) -> Var {
        let shape = self.shape(x);
        let factors = shape.with_c(1);
        let got = self.shape(m);
        self.require(got == factors, "scale_pixels", &format!("factors {factors}"), got);
        self.push(ScalePixels(shape), &[x, m], Operands::default())
    }
}

impl Operation for ScalePixels {
    fn spec(&self) -> Spec {
        // Of the gradient of m.
        let terms = self.0.c;
        Spec { reads_x: true, terms, ..Spec::new("scale_pixels", self.0) }
    }
}

impl<T: Element> Run<T> for ScalePixels {
    fn forward(&self, io: Forward<'_, T>) {
        T::scale_pixels_forward(io.isa, self.0, io.x[0], io.x[1], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [dx, dm] = io.dx;
        T::scale_pixels_backward(io.isa, self.0, io.x[0], io.x[1], io.dy, dx, dm);
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("scale_pixels", |g, at| {
        let (x, m) = (g.input(at.x()), g.input([at.n, at.h, at.w, 1]));
        Checked::new(g.scale_pixels(x, m), [x, m])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
