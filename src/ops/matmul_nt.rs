//! Rows times rows: cosines when both are normalised.

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Grad, Mode, Shape};

#[derive(Debug)]
struct MatmulNt {
    y: Shape,
    k: usize,
}

impl Graph {
    /// `y[i, j]` = sum over k of `a[i, k]` * `b[j, k]`: `a` `[m, 1, 1, k]`, `b` `[p, 1, 1, k]`, y `[m, 1, 1, p]`.
    ///
    /// Where images are a part of a batch, the rows of a belong to them, and those of b are the same for all.
    pub fn matmul_nt(&mut self, a: Var, b: Var) -> Var {
        let (m, p) = (self.shape(a), self.shape(b));
        self.require(m.c == p.c, "matmul_nt", &format!("rows of {}", m.c), p);
        let y = Shape::new(m.pixels(), 1, 1, p.pixels());
        self.push(MatmulNt { y, k: m.c }, &[a, b], Operands::default())
    }

    /// y = sum of a * b over all elements: `[1, 1, 1, 1]`. Turns any value into something to differentiate.
    pub fn dot(&mut self, a: Var, b: Var) -> Var {
        let shape = self.shape(a);
        self.require(shape == self.shape(b), "dot", &format!("two values {shape}"), self.shape(b));
        self.push(MatmulNt { y: Shape::new(1, 1, 1, 1), k: shape.len() }, &[a, b], Operands::default())
    }
}

impl Operation for MatmulNt {
    fn spec(&self) -> Spec {
        let (y, k) = (self.y, self.k);
        // Of y, and of the gradients of b and a.
        let terms = k + y.pixels() + y.c;
        Spec { reads_x: true, macs: (y.len() * k) as u64, terms, ..Spec::new("matmul_nt", y) }
    }
}

impl<T: Element> Run<T> for MatmulNt {
    fn forward(&self, io: Forward<'_, T>) {
        T::matmul_nt_forward(io.isa, self.k, io.x[0], io.x[1], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [da, mut db] = io.dx;
        let mine = db.as_mut().map(|db| Grad { to: &mut *db.to, mode: db.mode });
        T::matmul_nt_backward(io.isa, self.k, io.x[0], io.x[1], io.dy, da, mine);
        if let Some(db) = db.filter(|_| io.batch.is_part()) {
            assert!(db.mode == Mode::Set, "what others added is summed already");
            io.batch.sum(db.to);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("matmul_nt", |g, at| {
        let (a, b) = (g.input(at.x()), g.input([at.cout, 1, 1, at.c]));
        Checked::new(g.matmul_nt(a, b), [a, b])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
