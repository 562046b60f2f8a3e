//! The network for other engines: the blocks of `blocks` as elementary operations, each batch norm folded into the
//! convolution before it, weights in their plain layout.

use super::Model;
use super::folded::{find, fold_norm};
use super::layers::Layers;
use crate::error::Result;
use crate::graph::{Graph, Param, Phase, Var};
use crate::ops::Real;
use crate::params::{Init, Params};
use moue_datasets::{Rng, SIDE};

/// A recorded model with its parameters. Its operations are `conv3x3`, `dwconv`, `pointwise`, `conv7x7` and `bias`,
/// poolings, additions, products and activations: nothing is fused, and nothing owes a norm.
#[derive(Debug)]
pub(crate) struct Elementary<T> {
    pub(crate) graph: Graph,
    /// Normalised faces, `[n, 48, 48, 1]`.
    pub(crate) input: Var,
    /// As [`super::Network::logits`]. Kept.
    pub(crate) logits: Var,
    /// Weights have the names of the trained ones; the bias that is left of a norm has its convolution's.
    pub(crate) params: Params<T>,
}

/// A convolution whose norm is folded, by the names of its parameters.
struct Layer {
    weights: String,
    bias: String,
    norm: String,
}

/// Records layers and remembers what they are made of.
struct Recorder<'a> {
    g: &'a mut Graph,
    layers: Vec<Layer>,
}

impl Recorder<'_> {
    /// What is left of the batch norm called `norm` behind the convolution `conv`: a bias, and ReLU if asked for.
    fn shift(&mut self, x: Var, conv: &str, norm: String, relu: bool) -> Var {
        let bias = format!("{conv}.bias");
        let b = self.g.param(&bias, &[self.g.shape(x).c], Init::Constant(0.0));
        self.layers.push(Layer { weights: format!("{conv}.weight"), bias, norm });
        let y = self.g.bias(x, b);
        if relu { self.g.relu(y) } else { y }
    }

    fn weights(&mut self, conv: &str, dims: &[usize]) -> Param {
        self.g.param(format!("{conv}.weight"), dims, Init::Constant(0.0))
    }
}

impl Layers for Recorder<'_> {
    type Value = Var;

    fn graph(&mut self) -> &mut Graph {
        self.g
    }

    fn plain(&mut self, x: Var) -> Var {
        x
    }

    fn conv(&mut self, name: &str, index: &str, x: Var, cout: usize) -> Var {
        let conv = format!("{name}.conv{index}");
        let w = self.weights(&conv, &[3, 3, self.g.shape(x).c, cout]);
        let y = self.g.conv3x3(x, w);
        self.shift(y, &conv, format!("{name}.bn{index}"), true)
    }

    fn ds_conv(&mut self, name: &str, index: usize, x: Var, cout: usize, relu: bool) -> Var {
        let cin = self.g.shape(x).c;
        let w = self.weights(&format!("{name}.dw{index}"), &[3, 3, cin]);
        let y = self.g.dwconv(x, w);
        let conv = format!("{name}.pw{index}");
        let w = self.weights(&conv, &[cin, cout]);
        let y = self.g.pointwise(y, w, 1);
        self.shift(y, &conv, format!("{name}.bn{index}"), relu)
    }

    fn residual_block(&mut self, name: &str, x: Var, c: usize) -> Var {
        let h = self.ds_conv(name, 1, x, c, true);
        let h = self.ds_conv(name, 2, h, c, false);
        let main = self.g.max_pool(h);
        let conv = format!("{name}.short");
        let w = self.weights(&conv, &[self.g.shape(x).c, c]);
        let y = self.g.pointwise(x, w, 2);
        let short = self.shift(y, &conv, format!("{name}.short_bn"), false);
        self.g.add_relu(main, short)
    }
}

/// What is known of the network without its parameters.
struct Recorded {
    graph: Graph,
    input: Var,
    logits: Var,
    layers: Vec<Layer>,
}

impl Model {
    fn record_elementary(&self, n: usize) -> Result<Recorded> {
        let mut graph = Graph::new(Phase::Eval);
        let input = graph.input([n, SIDE, SIDE, 1]);
        let mut recorder = Recorder { g: &mut graph, layers: Vec::new() };
        let embedding = self.embed(&mut recorder, input);
        let layers = recorder.layers;
        let logits = self.logits(&mut graph, embedding);
        graph.keep(logits);
        graph.check()?;
        Ok(Recorded { graph, input, logits, layers })
    }

    /// The operations alone.
    ///
    /// # Errors
    /// A model that cannot be recorded.
    pub(crate) fn elementary_graph(&self) -> Result<Graph> {
        Ok(self.record_elementary(1)?.graph)
    }

    /// The network for `n` faces and its parameters, from trained ones.
    ///
    /// # Errors
    /// A model that cannot be recorded, or parameters of another one.
    pub(crate) fn elementary<T: Real>(&self, trained: &Params<T>, n: usize) -> Result<Elementary<T>> {
        let mut graph = Graph::new(Phase::Eval);
        self.record(&mut graph, 1);
        trained.check(graph.param_specs().0, graph.param_specs().1)?;

        let Recorded { graph, input, logits, layers } = self.record_elementary(n)?;
        let mut params: Params<T> = graph.init_params(&mut Rng::new(0)).cast();
        let mut set = |name: &str, values: &[T]| {
            params.get_mut(name).expect("a recorded parameter").copy_from_slice(values);
        };
        for spec in graph.param_specs().0 {
            if !layers.iter().any(|layer| [&layer.weights, &layer.bias].contains(&&spec.name)) {
                set(&spec.name, find(trained, &spec.name)?);
            }
        }
        for layer in &layers {
            let (weights, bias) = fold_norm(trained, &layer.weights, &layer.norm)?;
            set(&layer.weights, &weights);
            set(&layer.bias, &bias);
        }
        Ok(Elementary { graph, input, logits, params })
    }
}
