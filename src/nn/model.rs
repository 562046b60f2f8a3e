//! The models that can be trained: where the CBAM sits and which loss is on top.

use super::{cbam, output_module, residual_block, stem};
use crate::graph::{Graph, Labels, Var};
use crate::ops::Operand;
use crate::params::Init;
use serde::{Deserialize, Serialize};

/// Length of the embedding.
pub const FEATURES: usize = 128;

/// Channels of the input module and of the four residual blocks.
pub(super) const STEM: usize = 32;
pub(super) const WIDTHS: [usize; 4] = [32, 64, 128, 256];

/// Side of the faces that the network sees.
pub(super) const SIDE: usize = 48;

/// Where the CBAM sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CbamPosition {
    /// Nowhere: the plain DNN.
    None,
    /// After the input module.
    Input,
    /// After the first residual block.
    Block1,
    /// After the second residual block.
    Block2,
    /// After the third residual block.
    Block3,
    /// Between middle and output module: the paper's choice.
    Block4,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Cross-entropy of a linear layer.
    Softmax,
    /// Additive-margin softmax (Wang et al. 2018) of cosines between embedding and class weights.
    AmSoftmax {
        /// s.
        scale: f64,
        /// m.
        margin: f64,
    },
}

impl Loss {
    /// `softmax` or `am-softmax`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::AmSoftmax { .. } => "am-softmax",
        }
    }
}

/// A model: all that must be known to record it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Where the CBAM sits.
    pub cbam: CbamPosition,
    /// Loss, which decides the head too.
    pub loss: Loss,
    /// Number of classes.
    pub classes: usize,
}

/// A recorded model.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Normalised faces, `[n, 48, 48, 1]`.
    pub input: Var,
    /// Class indices.
    pub labels: Labels,
    /// `[n, 1, 1, classes]`: softmax of these times [`Model::logit_scale`] gives the probabilities. Kept.
    pub logits: Var,
    /// Embedding, `[n, 1, 1, 128]`.
    pub embedding: Var,
    /// One number.
    pub loss: Var,
}

impl Model {
    /// What the logits are multiplied with before the softmax: AM-Softmax's s, or 1.
    pub fn logit_scale(&self) -> f64 {
        match self.loss {
            Loss::Softmax => 1.0,
            Loss::AmSoftmax { scale, .. } => scale,
        }
    }

    /// `dnn`, or `dnn-cbam` with a CBAM anywhere.
    pub fn name(&self) -> &'static str {
        match self.cbam {
            CbamPosition::None => "dnn",
            _ => "dnn-cbam",
        }
    }

    /// Records the model for batches of `n` faces.
    pub fn record(&self, g: &mut Graph, n: usize) -> Network {
        self.record_smoothed(g, n, 0.0)
    }

    /// Records the model with smoothed targets in its loss: see [`Graph::margin_softmax`].
    pub fn record_smoothed(&self, g: &mut Graph, n: usize, smoothing: f64) -> Network {
        let input = g.input([n, SIDE, SIDE, 1]);
        let attend = |g: &mut Graph, x: Operand, here: CbamPosition| {
            if self.cbam != here {
                return x;
            }
            let x = g.normed(x);
            cbam(g, x).into()
        };
        let h = stem(g, input, STEM);
        let mut h = attend(g, h, CbamPosition::Input);
        let after = [CbamPosition::Block1, CbamPosition::Block2, CbamPosition::Block3, CbamPosition::Block4];
        for (i, (&width, here)) in WIDTHS.iter().zip(after).enumerate() {
            let block = residual_block(g, &format!("block{}", i + 1), h, width);
            h = attend(g, block.into(), here);
        }
        let h = g.normed(h);
        let embedding = output_module(g, h, FEATURES);
        let labels = g.labels(n);
        let logits = self.logits(g, embedding);
        let loss = match self.loss {
            Loss::Softmax => g.margin_softmax(logits, labels, 1.0, 0.0, smoothing),
            Loss::AmSoftmax { scale, margin } => g.margin_softmax(logits, labels, scale, margin, smoothing),
        };
        g.keep(logits);
        Network { input, labels, logits, embedding, loss }
    }

    /// The head: scores of the classes.
    pub(super) fn logits(&self, g: &mut Graph, embedding: Var) -> Var {
        let init = Init::Uniform { fan_in: FEATURES };
        match self.loss {
            Loss::Softmax => {
                let w = g.param("head.weight", &[FEATURES, self.classes], init);
                let b = g.param("head.bias", &[self.classes], init);
                g.linear(embedding, w, b)
            }
            Loss::AmSoftmax { .. } => {
                let w = g.param("head.weight", &[self.classes, FEATURES], init);
                let w = g.read(w);
                let (e, w) = (g.l2_normalize(embedding), g.l2_normalize(w));
                g.matmul_nt(e, w)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Phase;
    use moue_datasets::Rng;
    use moue_kernels::Isa;

    fn model(cbam: CbamPosition, loss: Loss) -> Model {
        Model { cbam, loss, classes: 7 }
    }

    /// The paper's network has 498,866 parameters (AM-Softmax, CBAM after block 4).
    #[test]
    fn parameters_and_cost_are_the_papers() {
        let mut g = Graph::new(Phase::Train);
        let am = Loss::AmSoftmax { scale: 30.0, margin: 0.35 };
        let net = model(CbamPosition::Block4, am).record(&mut g, 32);
        assert_eq!(g.init_params(&mut Rng::new(0)).count(), 498_866);
        let plan = g.compile::<f32>(net.loss, Isa::fastest()).unwrap();
        let millions = plan.macs() as f64 / 32e6;
        assert!((43.5..43.7).contains(&millions), "{millions} M multiply-adds an image");
        assert!(2 * plan.arena_bytes() <= plan.unshared_bytes(), "liveness halves the memory at least");
    }

    #[test]
    fn every_position_and_loss_records() {
        use CbamPosition::*;
        for cbam in [None, Input, Block1, Block2, Block3, Block4] {
            for loss in [Loss::Softmax, Loss::AmSoftmax { scale: 30.0, margin: 0.35 }] {
                let mut g = Graph::new(Phase::Eval);
                let net = model(cbam, loss).record(&mut g, 1);
                assert_eq!(g.shape(net.logits).c, 7);
                g.compile_forward::<f32>(Isa::fastest()).unwrap();
            }
        }
    }
}
