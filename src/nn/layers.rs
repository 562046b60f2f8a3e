//! What models are made of, recorded either for training or for inference, so that a model is written once.

use super::blocks::{conv_bn_relu, ds_conv_bn, residual_block};
use crate::graph::{Graph, Var};
use crate::ops::Operand;

/// Records layers with their parameters. All convolutions are followed by a batch norm.
pub(super) trait Layers {
    /// A value between layers, which may owe a batch norm.
    type Value: Copy + From<Var>;

    fn graph(&mut self) -> &mut Graph;
    /// The value after all that it owes.
    fn plain(&mut self, x: Self::Value) -> Var;
    /// Standard 3x3 convolution, batch norm, ReLU; `index` tells several in one block apart.
    fn conv(&mut self, name: &str, index: &str, x: Self::Value, cout: usize) -> Self::Value;
    /// Depthwise 3x3 and pointwise convolution, batch norm, ReLU if asked for.
    fn ds_conv(&mut self, name: &str, index: usize, x: Self::Value, cout: usize, relu: bool) -> Self::Value;
    /// Input module: two 3x3 convolutions to `c` channels: `[n, h, w, cin]` to `[n, h, w, c]`.
    fn stem(&mut self, x: Var, c: usize) -> Self::Value {
        let h = self.conv("stem", "1", x.into(), c);
        self.conv("stem", "2", h, c)
    }
    /// See [`residual_block`].
    fn residual_block(&mut self, name: &str, x: Self::Value, c: usize) -> Var;
    /// Output module: 3x3 convolution to `c` channels, global average: of `[n, h, w, cin]` an embedding `[n, 1, 1, c]`.
    fn output_module(&mut self, x: Var, c: usize) -> Var {
        let h = self.conv("out", "", x.into(), c);
        let h = self.plain(h);
        self.graph().name("out", h);
        self.graph().global_avg(h)
    }
}

/// For training, and for evaluation with the trained parameters as they are.
pub(super) struct Trained<'a>(pub(super) &'a mut Graph);

impl Layers for Trained<'_> {
    type Value = Operand;

    fn graph(&mut self) -> &mut Graph {
        self.0
    }

    fn plain(&mut self, x: Operand) -> Var {
        self.0.normed(x)
    }

    fn conv(&mut self, name: &str, index: &str, x: Operand, cout: usize) -> Operand {
        conv_bn_relu(self.0, name, index, x, cout)
    }

    fn ds_conv(&mut self, name: &str, index: usize, x: Operand, cout: usize, relu: bool) -> Operand {
        ds_conv_bn(self.0, name, index, x, cout, relu)
    }

    fn residual_block(&mut self, name: &str, x: Operand, c: usize) -> Var {
        residual_block(self.0, name, x, c)
    }
}
