//! Mean and maximum over channels: what CBAM's spatial attention looks at (Woo et al. 2018, eq. 3).

use super::{Backward, Forward, Operands, Operation, Run, Spec};
use crate::gradcheck::{Checked, Suite};
use crate::graph::{Graph, Var};
use moue_kernels::{Element, Shape};

#[derive(Debug)]
struct ChannelPool(Shape);

impl Graph {
    /// `y[n,h,w]` = (mean over channels, max over channels): `[n, h, w, 2]`.
    pub fn channel_pool(&mut self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(ChannelPool(shape), &[x], Operands::default())
    }
}

impl Operation for ChannelPool {
    fn spec(&self) -> Spec {
        let (terms, y) = (self.0.c, self.0.with_c(2));
        Spec { reads_x: true, reads_y: true, terms, ..Spec::new("channel_pool", y) }
    }
}

impl<T: Element> Run<T> for ChannelPool {
    fn forward(&self, io: Forward<'_, T>) {
        T::channel_pool_forward(io.isa, self.0, io.x[0], io.y);
    }

    fn backward(&self, io: Backward<'_, T>) {
        if let [Some(dx), _] = io.dx {
            T::channel_pool_backward(io.isa, self.0, io.x[0], io.y, io.dy, dx);
        }
    }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    suite.sweep("channel_pool", |g, at| {
        let x = g.input(at.x());
        Checked::new(g.channel_pool(x), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
