//! Cross-entropy against distributions over the classes, in place of labels: what a teaching network says of a face
//! (Hinton et al. 2015, section 2, at a temperature of 1).

use super::margin_softmax::mean;
use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct SoftCrossEntropy {
    rows: usize,
    classes: usize,
}

impl Graph {
    /// Mean over rows of the sum over classes of `-target * log softmax(x)`: one number.
    ///
    /// `logits` and `targets` are `[n, 1, 1, classes]`. Both have gradients; rows of `targets` may have any sum.
    pub fn soft_cross_entropy(&mut self, logits: Var, targets: Var) -> Var {
        let shape = self.shape(logits);
        let same = shape == self.shape(targets);
        self.require(same, "soft_cross_entropy", &format!("targets {shape}"), self.shape(targets));
        let op = SoftCrossEntropy { rows: shape.pixels(), classes: shape.c };
        self.push(op, &[logits, targets], Operands::default())
    }
}

impl Operation for SoftCrossEntropy {
    fn spec(&self) -> Spec {
        Spec {
            reads_x: true,
            aux: self.rows * self.classes,
            // Of a row's exponentials, and of its targets.
            terms: 2 * self.classes,
            ..Spec::new("soft_cross_entropy", Shape::new(1, 1, 1, 1))
        }
    }
}

impl<T: Element> Run<T> for SoftCrossEntropy {
    fn forward(&self, io: Forward<'_, T>) {
        let [logits, targets] = io.x;
        T::soft_cross_entropy_forward(io.isa, self.classes, logits, targets, &mut *io.y, io.aux);
        io.batch.sum(io.y);
        io.y[0] = mean(io.y[0], io.batch, self.rows);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let dvalue = [mean(io.dy[0], io.batch, self.rows)];
        let [dx, dtargets] = io.dx;
        if let Some(dx) = dx {
            T::soft_cross_entropy_backward(io.isa, self.classes, io.aux, io.x[1], &dvalue, dx);
        }
        if let Some(dtargets) = dtargets {
            T::soft_cross_entropy_targets(io.isa, io.aux, &dvalue, dtargets);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("soft_cross_entropy", |g, at| {
        // Beside the mean of many rows the gradient of one is too small for differences.
        let rows = at.n * at.h;
        let (x, targets) = (g.input([rows, 1, 1, at.c]), g.input([rows, 1, 1, at.c]));
        Checked::new(g.soft_cross_entropy(x, targets), [x, targets])
    });
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Phase};
    use moue_datasets::Rng;
    use moue_kernels::Isa;

    /// exp of (0, ln 3) is 1, 3: a quarter of ln 4 and three of ln(4/3).
    #[test]
    fn targets_weigh_the_classes() {
        let mut g = Graph::new(Phase::Train);
        let (x, targets) = (g.input([1, 1, 1, 2]), g.input([1, 1, 1, 2]));
        g.watch(x);
        let loss = g.soft_cross_entropy(x, targets);
        let mut params = g.init_params(&mut Rng::new(0)).cast();
        let mut plan = g.compile::<f64>(loss, Isa::fastest()).unwrap();
        plan.set(x, &[0.0, 3f64.ln()]);
        plan.set(targets, &[0.25, 0.75]);
        plan.forward(&mut params);
        let expected = 0.25 * 4f64.ln() + 0.75 * (4f64 / 3.0).ln();
        assert!((plan.loss() - expected).abs() < 1e-12, "{}", plan.loss());
    }

    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
