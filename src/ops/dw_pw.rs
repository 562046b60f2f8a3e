//! Depthwise 3x3 followed by pointwise, fused (MobileNet, Howard et al. 2017, section 3.1, with nothing between).

use super::{Backward, Forward, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Conv, DwPwBackward, Element};

#[derive(Debug)]
struct DwPw(Conv);

impl Graph {
    /// `pointwise(dwconv(x, wd), wp, 1)` without the value in between, which backward computes again.
    ///
    /// `x` is `[n, h, w, cin]`, `wd` `[3, 3, cin]`, `wp` `[cin, cout]`.
    pub fn dw_pw(&mut self, x: Var, wd: Param, wp: Param) -> Var {
        let conv = self.dw_pw_geometry("dw_pw", x, wd, wp);
        self.push(DwPw(conv), &[x], Operands { params: vec![wd, wp], ..Default::default() })
    }

    /// The geometry of `op` if weights `wd` and `wp` fit `x`.
    pub(super) fn dw_pw_geometry(&mut self, op: &'static str, x: Var, wd: Param, wp: Param) -> Conv {
        let shape = self.shape(x);
        let (d, p) = (self.dims(wd).to_vec(), self.dims(wp).to_vec());
        let fits = d == [3, 3, shape.c] && p.len() == 2 && p[0] == shape.c;
        let expected = format!("weights [3, 3, {0}] and [{0}, cout]", shape.c);
        self.require(fits, op, &expected, format!("{d:?} and {p:?}"));
        Conv { x: shape, cout: *p.last().unwrap_or(&1), stride: 1 }
    }
}

impl Operation for DwPw {
    fn spec(&self) -> Spec {
        let Conv { x, cout, .. } = self.0;
        let macs = (x.pixels() * x.c * (9 + cout)) as u64;
        let terms = (9 + x.c) + (cout + 9) + x.pixels();
        Spec { reads_x: true, macs, terms, ..Spec::new("dw_pw", self.0.y()) }
    }
}

impl<T: Element> Run<T> for DwPw {
    fn scratch(&self) -> Scratch {
        Scratch { forward: T::dw_pw_forward_scratch(&self.0), backward: T::dw_pw_backward_scratch(&self.0) }
    }

    fn forward(&self, io: Forward<'_, T>) {
        T::dw_pw_forward(io.isa, &self.0, io.x[0], io.w[0], io.w[1], io.y, io.scratch);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [dx, _] = io.dx;
        let [Some(dwd), Some(dwp), ..] = io.dw else { unreachable!("two parameters") };
        let args = DwPwBackward {
            x: io.x[0],
            wd: io.w[0],
            wp: io.w[1],
            dy: io.dy,
            dx,
            dwd,
            dwp,
            scratch: io.scratch,
        };
        T::dw_pw_backward(io.isa, &self.0, args);
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("dw_pw", |g, at| {
        let x = g.input(at.x());
        let wd = g.param("wd", &[3, 3, at.c], Init::Uniform { fan_in: 9 });
        let wp = g.param("wp", &[at.c, at.cout], Init::Uniform { fan_in: at.c });
        Checked::new(g.dw_pw(x, wd, wp), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
