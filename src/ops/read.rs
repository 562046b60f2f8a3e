//! A parameter as a value, for operations that take values (AM-Softmax normalises its class weights).

use super::{Backward, Forward, Gradient, MAX_PARAMS, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Param, Var};
use crate::params::Init;
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct Read(Shape);

impl Graph {
    /// The parameter `[rows, c]` as a value `[rows, 1, 1, c]`.
    pub fn read(&mut self, p: Param) -> Var {
        let dims = self.dims(p).to_vec();
        self.require(dims.len() == 2, "read", "a parameter [rows, c]", format!("{dims:?}"));
        let shape = Shape::new(*dims.first().unwrap_or(&1), 1, 1, *dims.last().unwrap_or(&1));
        self.push(Read(shape), &[], Operands { params: vec![p], ..Default::default() })
    }
}

impl Operation for Read {
    fn spec(&self) -> Spec {
        Spec { gradients: [Gradient::Batch; MAX_PARAMS], ..Spec::new("read", self.0) }
    }
}

impl<T: Element> Run<T> for Read {
    fn forward(&self, io: Forward<'_, T>) {
        io.y.copy_from_slice(io.w[0]);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dw), ..] = io.dw {
            T::add_backward(io.isa, io.dy, dw);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("read", |g, at| {
        let w = g.param("w", &[at.cout, at.c], Init::Uniform { fan_in: at.c });
        Checked::new(g.read(w), [])
    });
}

#[cfg(test)]
mod tests {
    use crate::{Graph, Init, Isa, Phase};

    #[test]
    fn a_parameter_without_dimensions_is_refused() {
        let mut g = Graph::new(Phase::Train);
        let w = g.param("w", &[], Init::Constant(1.0));
        g.read(w);
        let message = g.compile_forward::<f32>(Isa::fastest()).unwrap_err().to_string();
        assert!(message.contains("read: expected a parameter [rows, c], got []"), "{message}");
    }

    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
