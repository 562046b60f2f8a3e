//! One-vs-rest L2-SVM loss (Tang 2013, eq. 10, without the weights' penalty).

use super::margin_softmax::mean;
use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Labels, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct L2Svm {
    classes: usize,
}

impl Graph {
    /// Mean over rows of the classes' sum of `max(0, 1 - t x)^2`, t being 1 for the label and -1 for other classes: one
    /// number. The penalty of the weights is left to weight decay.
    ///
    /// `logits` is `[n, 1, 1, classes]`, `labels` n class indices.
    pub fn l2_svm(&mut self, logits: Var, labels: Labels) -> Var {
        self.require_labels("l2_svm", logits, labels);
        let operands = Operands { labels: Some(labels), ..Default::default() };
        self.push(L2Svm { classes: self.shape(logits).c }, &[logits], operands)
    }
}

impl Operation for L2Svm {
    fn spec(&self) -> Spec {
        Spec { reads_x: true, ..Spec::new("l2_svm", Shape::new(1, 1, 1, 1)) }
    }
}

impl<T: Element> Run<T> for L2Svm {
    fn forward(&self, io: Forward<'_, T>) {
        T::l2_svm_forward(io.isa, self.classes, io.x[0], io.labels, &mut *io.y);
        io.batch.sum(io.y);
        io.y[0] = mean(io.y[0], io.batch, io.labels.len());
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            let dvalue = [mean(io.dy[0], io.batch, io.labels.len())];
            T::l2_svm_backward(io.isa, self.classes, io.x[0], io.labels, &dvalue, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("l2_svm", |g, at| {
        // Inputs stay within -1..1, so that every class is inside its margin; twice that crosses it, too.
        let rows = at.n * at.h;
        let x = g.input([rows, 1, 1, at.c]);
        let twice = g.input([rows, 1, 1, at.c]);
        let sum = g.add(x, twice);
        let labels = g.labels(rows);
        let classes: Vec<u32> = (0..rows).map(|r| ((5 * r + 3) % at.c) as u32).collect();
        let loss = g.l2_svm(sum, labels);
        Checked::new(loss, [x, twice]).labels(labels, &classes)
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
