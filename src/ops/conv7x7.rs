//! 7x7 convolution from two channels to one: CBAM's spatial attention (Woo et al. 2018, eq. 3).

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite, Swept, sweep};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Conv7x7(Shape);

impl Graph {
    /// `y[n,h,w]` = sum over taps (i, j) and c of `x[n, h+i-3, w+j-3, c]` * `w[i, j, c]`.
    ///
    /// `x` is `[n, h, w, 2]`, `w` `[7, 7, 2]`, the result `[n, h, w, 1]`.
    pub fn conv7x7(&mut self, x: Var, w: Param) -> Var {
        let shape = self.shape(x);
        let dims = self.dims(w).to_vec();
        self.require(shape.c == 2, "conv7x7", "two channels", shape);
        self.require(dims == [7, 7, 2], "conv7x7", "weights [7, 7, 2]", format!("{dims:?}"));
        self.push(Conv7x7(shape), &[x], Operands { params: vec![w], ..Default::default() })
    }
}

impl Operation for Conv7x7 {
    fn spec(&self) -> Spec {
        let macs = (self.0.pixels() * 98) as u64;
        let terms = 98 + 49 + self.0.pixels();
        Spec { reads_x: true, macs, terms, ..Spec::new("conv7x7", self.0.with_c(1)) }
    }
}

impl<T: Element> Run<T> for Conv7x7 {
    fn scratch(&self) -> Scratch {
        Scratch { forward: 0, backward: T::conv7x7_backward_scratch(self.0) }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::conv7x7_forward(io.isa, self.0, io.x[0], io.w[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        T::conv7x7_backward(io.isa, self.0, io.into_conv());
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    // Channels are always two: the first 21 shapes of the sweep are all maps at all batches.
    for Swept { n, h, w, .. } in sweep().take(21) {
        suite.add("conv7x7", move |g| {
            let x = g.input([n, h, w, 2]);
            let k = g.param("w", &[7, 7, 2], Init::Uniform { fan_in: 98 });
            Checked::new(g.conv7x7(x, k), [x])
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
