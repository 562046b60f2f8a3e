//! The models that can be trained: where the CBAM sits and which loss is on top.

use super::layers::Trained;
use super::{Architecture, Attention};
use crate::graph::{Graph, Labels, Var};
use crate::params::Init;
use moue_datasets::SIDE;
use serde::{Deserialize, Serialize};

/// Length of the embedding.
pub const FEATURES: usize = 128;

/// Channels of the input module.
pub(super) const STEM: usize = 32;

/// Channels of the DNN's four residual blocks, or of the VGG's four stacks.
pub type Widths = [usize; 4];

/// Most channels of a block.
pub(crate) const MAX_WIDTH: usize = 512;

/// Identity blocks behind each of the four residual blocks.
pub type Depths = [usize; 4];

/// Most identity blocks behind each convolutional one.
pub(crate) const MAX_IDENTITY_BLOCKS: usize = 8;

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
    /// After every maximum pooling of the VGG or CNN.
    Pools,
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
    /// One-vs-rest L2-SVM (Tang 2013) of a linear layer.
    Svm,
}

impl Loss {
    /// AM-Softmax with its paper's constants.
    pub const AM_SOFTMAX: Self = Self::AmSoftmax { scale: 30.0, margin: 0.35 };

    /// `softmax`, `am-softmax` or `svm`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::AmSoftmax { .. } => "am-softmax",
            Self::Svm => "svm",
        }
    }
}

/// A model: all that must be known to record it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Network, without attention and head.
    #[serde(default)]
    pub architecture: Architecture,
    /// Where the attention module sits.
    pub cbam: CbamPosition,
    /// Which attention module sits there.
    #[serde(default)]
    pub attention: Attention,
    /// Identity residual blocks behind each convolutional one of the DNN.
    #[serde(default, with = "depths")]
    pub identity_blocks: Depths,
    /// Channels of the blocks, where they are not the architecture's own ([`Model::widths`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widths: Option<Widths>,
    /// Loss, which decides the head too.
    pub loss: Loss,
    /// Number of classes.
    pub classes: usize,
}

/// One number for all four, or four.
mod depths {
    use super::Depths;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "expected one number of identity blocks, or one for each of four blocks")]
    enum Counts {
        Same(usize),
        Each(Depths),
    }

    pub(super) fn serialize<S: Serializer>(depths: &Depths, serializer: S) -> Result<S::Ok, S::Error> {
        match *depths {
            [first, ..] if *depths == [first; 4] => Counts::Same(first),
            each => Counts::Each(each),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Depths, D::Error> {
        Counts::deserialize(deserializer).map(|counts| match counts {
            Counts::Same(count) => [count; 4],
            Counts::Each(each) => each,
        })
    }
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
    /// Embedding, `[n, 1, 1, features]`: see [`Architecture::features`].
    pub embedding: Var,
    /// Soft targets, `[n, 1, 1, classes]`, an input, with [`Targets::Soft`].
    pub targets: Option<Var>,
    /// One number.
    pub loss: Var,
}

/// What the loss compares a network's answers with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Targets {
    /// Labels.
    Labels {
        /// Share that is spread over all classes: see [`Graph::margin_softmax`].
        smoothing: f64,
    },
    /// Soft targets, distributions over the classes, with a cross-entropy whatever the model's loss is: see
    /// [`Graph::soft_cross_entropy`].
    Soft,
}

impl Model {
    /// The paper's network with a CBAM at this position.
    pub const fn new(cbam: CbamPosition, loss: Loss, classes: usize) -> Self {
        let (architecture, attention) = (Architecture::Dnn, Attention::Cbam);
        Self { architecture, cbam, attention, identity_blocks: [0; 4], widths: None, loss, classes }
    }

    /// Checks what a file can say and no one would ask for: the number of identity blocks or of channels, and a
    /// CBAM where the architecture has no place for it.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { architecture, cbam, identity_blocks, widths, .. } = *self;
        if let Some(count) = identity_blocks.iter().find(|&&count| count > MAX_IDENTITY_BLOCKS) {
            return Err(format!("a model cannot have {count} identity blocks behind another"));
        }
        if let Some(width) = widths.iter().flatten().find(|width| !(1..=MAX_WIDTH).contains(width)) {
            return Err(format!("a model cannot have {width} channels"));
        }
        if let (Architecture::Cnn, Some(widths)) = (architecture, widths) {
            return Err(format!("the network {} has no blocks of {widths:?} channels", self.name()));
        }
        if !architecture.takes(cbam) {
            return Err(format!("the network {} has no place {cbam:?} for a CBAM", self.name()));
        }
        Ok(())
    }

    /// Channels of the blocks: those that are asked for, or the architecture's own.
    pub fn widths(&self) -> &[usize] {
        self.widths.as_ref().map_or(self.architecture.widths(), |widths| widths)
    }

    /// The number of identity blocks that `other` has and the number here, where those are fewer: blocks can be added to
    /// a network, and none left out.
    pub(crate) fn lacks_blocks_of(&self, other: &Self) -> Option<(usize, usize)> {
        other.identity_blocks.into_iter().zip(self.identity_blocks).find(|(theirs, own)| own < theirs)
    }

    /// What the logits are multiplied with before the softmax: AM-Softmax's s, or 1. (An SVM's scores are no
    /// logarithms of odds: their softmax ranks classes, but is not calibrated.)
    pub fn logit_scale(&self) -> f64 {
        match self.loss {
            Loss::Softmax | Loss::Svm => 1.0,
            Loss::AmSoftmax { scale, .. } => scale,
        }
    }

    /// As on the command line: `dnn`, `vgg`, `dnn-cbam` or `vgg-cbam` with an attention module anywhere, `cnn-svm`.
    pub fn name(&self) -> &'static str {
        match (self.architecture, self.cbam) {
            (Architecture::Dnn, CbamPosition::None) => "dnn",
            (Architecture::Dnn, _) => "dnn-cbam",
            (Architecture::Vgg, CbamPosition::None) => "vgg",
            (Architecture::Vgg, _) => "vgg-cbam",
            (Architecture::Cnn, _) => "cnn-svm",
        }
    }

    /// Records the model for batches of `n` faces. A CBAM at a position that the architecture does not have is left
    /// out: see [`Architecture::takes`].
    pub fn record(&self, g: &mut Graph, n: usize) -> Network {
        self.record_for(g, n, Targets::Labels { smoothing: 0.0 })
    }

    /// Records the model with a loss against these targets; an SVM's labels are never smoothed.
    pub fn record_for(&self, g: &mut Graph, n: usize, targets: Targets) -> Network {
        let input = g.input([n, SIDE, SIDE, 1]);
        let embedding = self.embed(&mut Trained(g), input);
        let labels = g.labels(n);
        let logits = self.logits(g, embedding);
        let (loss, targets) = match targets {
            Targets::Labels { smoothing } => (self.loss(g, logits, labels, smoothing), None),
            Targets::Soft => {
                let targets = g.input([n, 1, 1, self.classes]);
                (g.soft_cross_entropy(logits, targets), Some(targets))
            }
        };
        g.keep(logits);
        Network { input, labels, logits, embedding, targets, loss }
    }

    fn loss(&self, g: &mut Graph, logits: Var, labels: Labels, smoothing: f64) -> Var {
        match self.loss {
            Loss::Softmax => g.margin_softmax(logits, labels, 1.0, 0.0, smoothing),
            Loss::AmSoftmax { scale, margin } => g.margin_softmax(logits, labels, scale, margin, smoothing),
            Loss::Svm => g.l2_svm(logits, labels),
        }
    }

    /// The head: scores of the classes.
    pub(super) fn logits(&self, g: &mut Graph, embedding: Var) -> Var {
        let features = self.architecture.features();
        let init = Init::Uniform { fan_in: features };
        match self.loss {
            Loss::Softmax | Loss::Svm => {
                let w = g.param("head.weight", &[features, self.classes], init);
                let b = g.param("head.bias", &[self.classes], init);
                g.linear(embedding, w, b)
            }
            Loss::AmSoftmax { .. } => {
                let w = g.param("head.weight", &[self.classes, features], init);
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
        Model::new(cbam, loss, 7)
    }

    /// The paper's network has 498,866 parameters (AM-Softmax, CBAM after block 4).
    #[test]
    fn parameters_and_cost_are_the_papers() {
        let mut g = Graph::new(Phase::Train);
        let am = Loss::AM_SOFTMAX;
        let net = model(CbamPosition::Block4, am).record(&mut g, 32);
        assert_eq!(g.init_params(&mut Rng::new(0)).count(), 498_866);
        let plan = g.compile::<f32>(net.loss, Isa::fastest()).unwrap();
        assert_eq!(plan.macs(), 32 * 43_577_586, "multiply-adds, summed by hand from the layers' shapes");
        assert!(2 * plan.arena_bytes() <= plan.unshared_bytes(), "liveness halves the memory at least");
    }

    /// One number where all four are the same, as in files written before they could differ.
    #[test]
    fn identity_blocks_are_one_number_or_four() {
        for (written, depths) in [("2", [2; 4]), ("[1,1,1,0]", [1, 1, 1, 0])] {
            let text = format!(
                r#"{{"architecture":"dnn","cbam":"none","attention":"cbam","identity_blocks":{written},"loss":"softmax","classes":7}}"#
            );
            let read: Model = serde_json::from_str(&text).unwrap();
            assert_eq!(read, Model { identity_blocks: depths, ..model(CbamPosition::None, Loss::Softmax) });
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            for wrong in ["[1,1,1]", "-1", "\"2\""] {
                let error =
                    serde_json::from_str::<Model>(&text.replace(written, wrong)).unwrap_err().to_string();
                assert!(error.contains("one for each of four blocks"), "{error}");
            }
        }
        let too_many = Model { identity_blocks: [0, 0, 9, 0], ..model(CbamPosition::None, Loss::Softmax) };
        assert!(too_many.check().unwrap_err().contains("9 identity blocks"));
    }

    /// Summed by hand from the layers' shapes, as above; softmax adds a bias to each class.
    #[test]
    fn a_wider_network_has_the_size_that_is_told() {
        let wide = Model { widths: Some([64, 128, 256, 256]), ..model(CbamPosition::Block4, Loss::Softmax) };
        let mut g = Graph::new(Phase::Train);
        wide.record(&mut g, 2);
        assert_eq!(g.init_params(&mut Rng::new(0)).count(), 697_785);
        let written = serde_json::to_value(wide).unwrap();
        assert_eq!(serde_json::from_value::<Model>(written).unwrap(), wide);
        let papers = serde_json::to_string(&model(CbamPosition::Block4, Loss::Softmax)).unwrap();
        assert!(!papers.contains("widths"), "files are as before there were other widths: {papers}");
        for widths in [[0, 64, 128, 256], [32, 64, 128, MAX_WIDTH + 1]] {
            assert!(Model { widths: Some(widths), ..wide }.check().is_err());
        }
    }

    /// 9 * cin * cout weights and 2 * cout numbers of a norm for each convolution, cin * cout + cout for each dense
    /// layer, summed by hand.
    #[test]
    fn the_other_networks_have_the_size_that_is_told() {
        let plain = Model::new(CbamPosition::None, Loss::Softmax, 7);
        for (architecture, widths, parameters, macs) in [
            (Architecture::Vgg, None, 7_112_519, 470_893_440),
            (Architecture::Vgg, Some([48, 96, 192, 256]), 2_924_535, 230_503_296),
            (Architecture::Cnn, None, 7_130_663, 15_725_568),
        ] {
            let mut g = Graph::new(Phase::Train);
            let model = Model { architecture, widths, ..plain };
            let net = model.record(&mut g, 2);
            assert_eq!(g.init_params(&mut Rng::new(0)).count(), parameters, "{model:?}");
            let plan = g.compile::<f32>(net.loss, Isa::fastest()).unwrap();
            assert_eq!(plan.macs() / 2, macs, "{model:?}");
        }
        let cnn = Model { architecture: Architecture::Cnn, widths: Some([32, 32, 64, 64]), ..plain };
        assert!(cnn.check().unwrap_err().contains("no blocks of"));
    }

    #[test]
    fn every_position_and_loss_records() {
        use CbamPosition::*;
        for cbam in [None, Input, Block1, Block2, Block3, Block4] {
            for loss in [Loss::Softmax, Loss::AM_SOFTMAX] {
                let mut g = Graph::new(Phase::Eval);
                let net = model(cbam, loss).record(&mut g, 1);
                assert_eq!(g.shape(net.logits).c, 7);
                g.compile_forward::<f32>(Isa::fastest()).unwrap();
            }
        }
    }
}
