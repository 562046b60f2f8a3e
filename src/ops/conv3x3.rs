//! Standard 3x3 convolution, stride 1, padding 1: direct, or by Winograd's minimal filtering where that is faster.

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Conv, Element, winograd_pays};

#[derive(Debug)]
struct Conv3x3 {
    conv: Conv,
    winograd: bool,
}

impl Graph {
    /// `y[n,h,w,o]` = sum over taps (i, j) and channels c of `x[n, h+i-1, w+j-1, c]` * `w[i, j, c, o]`.
    ///
    /// `x` is `[n, h, w, cin]`, `w` `[3, 3, cin, cout]`; the map keeps its size.
    pub fn conv3x3(&mut self, x: Var, w: Param) -> Var {
        let conv = self.conv3x3_geometry("conv3x3", x, w);
        let winograd = winograd_pays(&conv);
        self.push(Conv3x3 { conv, winograd }, &[x], Operands { params: vec![w], ..Default::default() })
    }

    /// The geometry of `op` if weights `w` fit `x`.
    pub(super) fn conv3x3_geometry(&mut self, op: &'static str, x: Var, w: Param) -> Conv {
        let shape = self.shape(x);
        let dims = self.dims(w).to_vec();
        let fits = dims.len() == 4 && dims[..3] == [3, 3, shape.c];
        self.require(fits, op, &format!("weights [3, 3, {}, cout]", shape.c), format!("{dims:?}"));
        Conv { x: shape, cout: *dims.last().unwrap_or(&1), stride: 1 }
    }
}

impl Operation for Conv3x3 {
    fn spec(&self) -> Spec {
        let (y, cin) = (self.conv.y(), self.conv.x.c);
        // As the direct convolution counts them: Winograd's 4x fewer multiplications are not fewer results.
        let macs = (y.len() * 9 * cin) as u64;
        let terms = 9 * (cin + y.c) + y.pixels();
        Spec { reads_x: true, macs, terms, ..Spec::new("conv3x3", y) }
    }
}

impl<T: Element> Run<T> for Conv3x3 {
    fn scratch(&self) -> Scratch {
        let conv = &self.conv;
        if self.winograd {
            Scratch {
                forward: T::winograd_forward_scratch(conv),
                backward: T::winograd_backward_scratch(conv),
            }
        } else {
            Scratch { forward: T::conv3x3_forward_scratch(conv), backward: T::conv3x3_backward_scratch(conv) }
        }
    }

    fn forward(&self, io: Forward<'_, T>) {
        let forward = if self.winograd { T::winograd_forward } else { T::conv3x3_forward };
        forward(io.isa, &self.conv, io.x[0], io.w[0], io.y, io.scratch);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let backward = if self.winograd { T::winograd_backward } else { T::conv3x3_backward };
        backward(io.isa, &self.conv, io.into_conv());
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("conv3x3", |g, at| {
        let x = g.input(at.x());
        let w = g.param("w", &[3, 3, at.c, at.cout], Init::Uniform { fan_in: 9 * at.c });
        Checked::new(g.conv3x3(x, w), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
