//! The end of a residual block: ReLU(max pool(main) + shortcut), with the batch norms that both branches owe.

use super::batch_norm::phase_for;
use super::norm_conv::{Operand, split, split_grad};
use super::{Backward, Forward, NormParams, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite, sweep};
use crate::graph::{Graph, Phase, Var};
use crate::params::Init;
use moue_kernels::{Branch, Element, ResidualBackward, Shape};

/// Shape of the main branch.
#[derive(Debug)]
struct Residual(Shape);

impl Graph {
    /// `add_relu(max_pool(main), short)`; branches may owe a batch norm without ReLU.
    ///
    /// `main` is `[n, h, w, c]`, `short` and the result `[n, ceil(h/2), ceil(w/2), c]`.
    pub fn residual(&mut self, main: impl Into<Operand>, short: impl Into<Operand>) -> Var {
        let (main, short) = (main.into(), short.into());
        if (main.norm, short.norm) != (Some(false), Some(false)) {
            let (main, short) = (self.normed(main), self.normed(short));
            let main = self.max_pool(main);
            return self.add_relu(main, short);
        }
        let shape = self.shape(main.var);
        let (expected, got) = (shape.halved(), self.shape(short.var));
        self.require(got == expected, "residual", &format!("a shortcut {expected}"), got);
        self.push(Residual(shape), &[main.var, short.var], Operands::default())
    }
}

impl Operation for Residual {
    fn spec(&self) -> Spec {
        let y = self.0.halved();
        // As of the pooling; the sums for the norms that it reads are among the terms of those who owe them.
        let terms = 4;
        Spec { reads_x: true, reads_y: true, index: y.len(), terms, ..Spec::new("residual", y) }
    }
}

impl Residual {
    fn branches<'a, T: Element>(&self, x: [&'a [T]; 2]) -> [Branch<'a, T>; 2] {
        let branch = |x, shape| {
            let (x, affine) = split(x, shape, Some(false));
            Branch { x, affine: affine.expect("a norm is owed") }
        };
        [branch(x[0], self.0), branch(x[1], self.0.halved())]
    }
}

impl<T: Element> Run<T> for Residual {
    fn scratch(&self) -> Scratch {
        Scratch { forward: 0, backward: T::residual_backward_scratch(self.0) }
    }

    fn forward(&self, io: Forward<'_, T>) {
        let [main, short] = self.branches(io.x);
        T::residual_forward(io.isa, self.0, main, short, io.y, io.index);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [main, short] = self.branches(io.x);
        // A value that owes a norm has parameters, so that its gradient is always wanted.
        let [dmain, dshort] = io.dx.map(|dx| dx.expect("a branch with parameters"));
        let args = ResidualBackward {
            main,
            short,
            y: io.y,
            index: io.index,
            dy: io.dy,
            dmain: split_grad(dmain, self.0, io.dx_last[0]),
            dshort: split_grad(dshort, self.0.halved(), io.dx_last[1]),
            scratch: io.scratch,
        };
        T::residual_backward(io.isa, self.0, args);
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    for (i, at) in sweep().enumerate() {
        // A norm in training undoes any scale: the gradient of a weight alone in its channel is only rounding.
        let phase = match at.c {
            1 => Phase::Eval,
            _ => phase_for(at.n * at.h.div_ceil(2) * at.w.div_ceil(2)),
        };
        suite.add_in(phase, "residual", move |g| {
            let x = g.input(at.x());
            let mut branch = |name: &str, stride| {
                let w = g.param(name, &[at.c, at.cout], Init::Uniform { fan_in: at.c });
                let norm = NormParams::new(g, &format!("{name}.bn"), at.cout);
                g.pointwise_norm(x, w, stride, norm, false)
            };
            let (main, short) = (branch("main", 1), branch("short", 2));
            // Another reader of a branch: behind, it leaves a gradient to add to; before, it completes the gradient.
            let read = |g: &mut Graph, branch| match branch {
                1 => g.normed(short),
                _ => {
                    let main = g.normed(main);
                    g.max_pool(main)
                }
            };
            let (before, behind) = (i % 5, (i % 5).saturating_sub(2));
            let before = (1..=2).contains(&before).then(|| read(g, before));
            let y = g.residual(main, short);
            let behind = (1..=2).contains(&behind).then(|| read(g, behind));
            let y = before.into_iter().chain(behind).fold(y, |y, other| g.add(y, other));
            Checked::new(y, [x])
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
