//! Depthwise 3x3 convolution, stride 1, padding 1.

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct DwConv(Shape);

impl Graph {
    /// `y[n,h,w,c]` = sum over taps (i, j) of `x[n, h+i-1, w+j-1, c]` * `w[i, j, c]`.
    ///
    /// `x` is `[n, h, w, c]`, `w` `[3, 3, c]`; the shape stays.
    pub fn dwconv(&mut self, x: Var, w: Param) -> Var {
        let shape = self.shape(x);
        let dims = self.dims(w).to_vec();
        self.require(
            dims == [3, 3, shape.c],
            "dwconv",
            &format!("weights [3, 3, {}]", shape.c),
            format!("{dims:?}"),
        );
        self.push(DwConv(shape), &[x], Operands { params: vec![w], ..Default::default() })
    }
}

impl Operation for DwConv {
    fn spec(&self) -> Spec {
        let (macs, terms) = (9 * self.0.len() as u64, 9 + 9 + self.0.pixels());
        Spec { reads_x: true, macs, terms, ..Spec::new("dwconv", self.0) }
    }
}

impl<T: Element> Run<T> for DwConv {
    fn scratch(&self) -> Scratch {
        Scratch { forward: 0, backward: T::dwconv_backward_scratch(self.0) }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::dwconv_forward(io.isa, self.0, io.x[0], io.w[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        T::dwconv_backward(io.isa, self.0, io.into_conv());
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("dwconv", |g, at| {
        let x = g.input(at.x());
        let w = g.param("w", &[3, 3, at.c], Init::Uniform { fan_in: 9 });
        Checked::new(g.dwconv(x, w), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
