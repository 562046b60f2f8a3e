//! Standard 3x3 convolution, stride 1, padding 1.

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Conv, Element};

#[derive(Debug)]
struct Conv3x3(Conv);

impl Graph {
    /// y[n,h,w,o] = sum over taps (i, j) and channels c of x[n, h+i-1, w+j-1, c] * w[i, j, c, o].
    ///
    /// `x` is `[n, h, w, cin]`, `w` `[3, 3, cin, cout]`; the map keeps its size.
    pub fn conv3x3(&mut self, x: Var, w: Param) -> Var {
        let shape = self.shape(x);
        let dims = self.dims(w).to_vec();
        let fits = dims.len() == 4 && dims[..3] == [3, 3, shape.c];
        self.require(fits, "conv3x3", &format!("weights [3, 3, {}, cout]", shape.c), format!("{dims:?}"));
        let conv = Conv { x: shape, cout: *dims.last().unwrap_or(&1), stride: 1 };
        self.push(Conv3x3(conv), &[x], Operands { params: vec![w], ..Default::default() })
    }
}

impl Operation for Conv3x3 {
    fn spec(&self) -> Spec {
        let y = self.0.y();
        let macs = (y.len() * 9 * self.0.x.c) as u64;
        Spec { reads_x: true, macs, ..Spec::new("conv3x3", y) }
    }
}

impl<T: Element> Run<T> for Conv3x3 {
    fn scratch(&self) -> Scratch {
        Scratch {
            forward: T::conv3x3_forward_scratch(&self.0),
            backward: T::conv3x3_backward_scratch(&self.0),
        }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::conv3x3_forward(io.isa, &self.0, io.x[0], io.w[0], io.y, io.scratch);
    }

    fn backward(&self, io: Backward<'_, T>) {
        T::conv3x3_backward(io.isa, &self.0, io.into_conv());
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    for (cin, cout, h, w) in [(1, 5, 4, 3), (3, 17, 3, 3), (9, 2, 1, 5)] {
        suite.add("conv3x3", move |g| {
            let x = g.input([2, h, w, cin]);
            let k = g.param("w", &[3, 3, cin, cout], Init::Uniform { fan_in: 9 * cin });
            Checked::new(g.conv3x3(x, k), [x])
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
