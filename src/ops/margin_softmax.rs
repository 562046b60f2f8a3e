//! Cross-entropy of a softmax with additive margin: AM-Softmax (Wang et al. 2018, eq. 6) on cosines, and the
//! plain softmax cross-entropy as its case of scale 1 and margin 0.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Labels, Var};
use crate::parallel::Batch;
use moue_kernels::{Element, MarginSoftmax as Constants, Shape};

#[derive(Debug)]
struct MarginSoftmax {
    rows: usize,
    constants: Constants,
}

impl Graph {
    /// Mean over rows of the sum over classes of `-target * log softmax(scale * (x - margin * onehot(label)))`: one
    /// number. The target is `(1 - smoothing) * onehot(label) + smoothing / classes` (Szegedy et al. 2016, section 7).
    ///
    /// `logits` is `[n, 1, 1, classes]`, `labels` n class indices.
    pub fn margin_softmax(
        &mut self,
        logits: Var,
        labels: Labels,
        scale: f64,
        margin: f64,
        smoothing: f64,
    ) -> Var {
        let shape = self.shape(logits);
        let rows = self.require_labels("margin_softmax", logits, labels);
        self.require(scale > 0.0, "margin_softmax", "a positive scale", scale);
        self.require(margin >= 0.0, "margin_softmax", "a margin of 0 or more", margin);
        let smooth = (0.0..1.0).contains(&smoothing);
        self.require(smooth, "margin_softmax", "a smoothing from 0 to below 1", smoothing);
        let constants = Constants { classes: shape.c, scale, margin, smoothing };
        let operands = Operands { labels: Some(labels), ..Default::default() };
        self.push(MarginSoftmax { rows, constants }, &[logits], operands)
    }

    /// Mean over rows of -log `softmax(x)[label]`.
    pub fn cross_entropy(&mut self, logits: Var, labels: Labels) -> Var {
        self.margin_softmax(logits, labels, 1.0, 0.0, 0.0)
    }
}

impl Operation for MarginSoftmax {
    fn spec(&self) -> Spec {
        Spec {
            aux: self.rows * self.constants.classes,
            // Of a row's exponentials.
            terms: self.constants.classes,
            ..Spec::new("margin_softmax", Shape::new(1, 1, 1, 1))
        }
    }
}

impl<T: Element> Run<T> for MarginSoftmax {
    fn forward(&self, io: Forward<'_, T>) {
        T::margin_softmax_forward(io.isa, &self.constants, io.x[0], io.labels, &mut *io.y, io.aux);
        io.batch.sum(io.y);
        io.y[0] = mean(io.y[0], io.batch, self.rows);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            let dvalue = [mean(io.dy[0], io.batch, self.rows)];
            T::margin_softmax_backward(io.isa, &self.constants, io.aux, io.labels, &dvalue, dx);
        }
    }
}

/// A sum over the rows of the batch divided by their number, where `rows` are at hand.
pub(super) fn mean<T: Element>(sum: T, batch: Batch<'_>, rows: usize) -> T {
    T::from_f64(sum.to_f64() / batch.count(rows) as f64)
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    for (scale, margin, smoothing) in [(1.0, 0.0, 0.0), (30.0, 0.35, 0.0), (2.0, 0.5, 0.2)] {
        suite.sweep("margin_softmax", move |g, at| {
            // Beside the mean of many rows the gradient of one is too small for differences.
            let rows = at.n * at.h;
            let x = g.input([rows, 1, 1, at.c]);
            let labels = g.labels(rows);
            let classes: Vec<u32> = (0..rows).map(|r| ((5 * r + 3) % at.c) as u32).collect();
            let loss = g.margin_softmax(x, labels, scale, margin, smoothing);
            Checked::new(loss, [x]).labels(labels, &classes)
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Phase};
    use moue_datasets::Rng;
    use moue_kernels::Isa;

    /// exp of (0, ln 3) is 1, 3: -ln(1/4).
    #[test]
    fn cross_entropy_has_neither_scale_nor_margin() {
        let mut g = Graph::new(Phase::Train);
        let (x, labels) = (g.input([1, 1, 1, 2]), g.labels(1));
        g.watch(x);
        let loss = g.cross_entropy(x, labels);
        let mut params = g.init_params(&mut Rng::new(0)).cast();
        let mut plan = g.compile::<f64>(loss, Isa::fastest()).unwrap();
        plan.set(x, &[0.0, 3f64.ln()]);
        plan.set_labels(labels, &[0]);
        plan.forward(&mut params);
        assert!((plan.loss() - 4f64.ln()).abs() < 1e-12, "{}", plan.loss());
    }

    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
