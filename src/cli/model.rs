//! Options that choose a model.

use super::{not_negative, positive};
use crate::error::{Error, Result};
use crate::nn::{
    Architecture, Attention, CbamPosition, Depths, Loss, MAX_IDENTITY_BLOCKS, MAX_WIDTH, Model, Widths,
};
use clap::ValueEnum;

/// Networks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Network {
    DnnCbam,
    Dnn,
    Vgg,
    VggCbam,
    CnnSvm,
}

impl Network {
    fn architecture(self) -> Architecture {
        match self {
            Self::DnnCbam | Self::Dnn => Architecture::Dnn,
            Self::Vgg | Self::VggCbam => Architecture::Vgg,
            Self::CnnSvm => Architecture::Cnn,
        }
    }

    /// Where the attention module sits unless it is said.
    fn position(self) -> CbamPosition {
        match self {
            Self::DnnCbam => CbamPosition::Block4,
            Self::VggCbam => CbamPosition::Pools,
            Self::Dnn | Self::Vgg | Self::CnnSvm => CbamPosition::None,
        }
    }
}

/// Losses by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossName {
    AmSoftmax,
    Softmax,
    Svm,
}

/// Options that choose a model.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// Network.
    #[arg(long, value_enum, default_value_t = Network::DnnCbam)]
    model: Network,
    /// Where the attention module sits [default: block4 for dnn-cbam, pools for vgg-cbam].
    #[arg(long, value_enum, value_name = "POSITION")]
    cbam: Option<CbamPosition>,
    /// Which attention module sits there.
    #[arg(long, value_enum, default_value_t = Attention::Cbam)]
    attention: Attention,
    /// Identity residual blocks behind each of the DNN's four convolutional ones, or as many behind each: a deeper
    /// network [default: 0].
    #[arg(long, value_name = "N|A,B,C,D", value_parser = depths)]
    identity_blocks: Option<Depths>,
    /// Channels of the DNN's four residual blocks or of the VGG's four stacks: a wider or narrower network [default:
    /// 32,64,128,256 for dnn-cbam and dnn, 64,128,256,512 for vgg and vgg-cbam].
    #[arg(long, value_name = "A,B,C,D", value_parser = widths)]
    widths: Option<Widths>,
    /// What is minimised [default: svm for cnn-svm, else am-softmax].
    #[arg(long, value_enum)]
    loss: Option<LossName>,
    /// AM-Softmax: factor of the cosines [default: 30].
    #[arg(long, value_name = "S", value_parser = positive)]
    scale: Option<f64>,
    /// AM-Softmax: margin of the true class's cosine [default: 0.35].
    #[arg(long, value_name = "M", value_parser = not_negative)]
    margin: Option<f64>,
}

/// Parses an option's value.
fn depths(text: &str) -> Result<Depths, String> {
    text.parse()
        .map(|count| [count; 4])
        .ok()
        .or_else(|| four(text))
        .filter(|counts| counts.iter().all(|&count| count <= MAX_IDENTITY_BLOCKS))
        .ok_or_else(|| format!("not a number from 0 to {MAX_IDENTITY_BLOCKS}, nor four such as 1,1,1,0"))
}

/// Four numbers with commas between them.
fn four(text: &str) -> Option<[usize; 4]> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers?.try_into().ok()
}

/// Parses an option's value.
fn widths(text: &str) -> Result<Widths, String> {
    four(text)
        .filter(|widths| widths.iter().all(|width| (1..=MAX_WIDTH).contains(width)))
        .ok_or_else(|| format!("not four numbers from 1 to {MAX_WIDTH}, such as 64,128,256,256"))
}

impl ModelArgs {
    /// The model of `classes` classes that the options describe.
    pub(super) fn model(&self, classes: usize) -> Result<Model> {
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        let architecture = self.model.architecture();
        let default = self.model.position();
        let cbam = self.cbam.unwrap_or(default);
        if !architecture.takes(cbam) {
            return usage("--cbam: input and block1 to block4 are places in dnn-cbam, pools in vgg-cbam");
        }
        if default == CbamPosition::None && cbam != default {
            return usage("--cbam: this model has none; use --model dnn-cbam or vgg-cbam");
        }
        if cbam == CbamPosition::None && self.attention != Attention::Cbam {
            return usage("--attention: this model has no attention module");
        }
        if self.identity_blocks.is_some() && architecture != Architecture::Dnn {
            return usage("--identity-blocks: only for --model dnn-cbam or dnn");
        }
        if self.widths.is_some() && architecture == Architecture::Cnn {
            return usage("--widths: not for --model cnn-svm");
        }
        let loss = self.loss(if self.model == Network::CnnSvm { Loss::Svm } else { Loss::AM_SOFTMAX })?;
        Ok(Model {
            architecture,
            attention: self.attention,
            identity_blocks: self.identity_blocks.unwrap_or_default(),
            // One way to say it, so that asking for a network's own channels is no other network.
            widths: self.widths.filter(|widths| widths != architecture.widths()),
            ..Model::new(cbam, loss, classes)
        })
    }

    /// The network of `model`, with the loss and the identity blocks that the options ask for or its own; the number
    /// of classes is not known yet.
    pub(super) fn like(&self, model: Model) -> Result<Model> {
        let identity_blocks = self.identity_blocks.unwrap_or(model.identity_blocks);
        if identity_blocks != model.identity_blocks && model.architecture != Architecture::Dnn {
            return Err(Error::Usage(format!("--identity-blocks: the weights are of a {}", model.name())));
        }
        let asked = Model { identity_blocks, ..model };
        if let Some((own, count)) = asked.lacks_blocks_of(&model) {
            return Err(Error::Usage(format!(
                "--identity-blocks: the weights have {own} where {count} are asked for; blocks can only be added"
            )));
        }
        Ok(Model { loss: self.loss(model.loss)?, classes: 0, ..asked })
    }

    fn loss(&self, default: Loss) -> Result<Loss> {
        let loss = match (self.loss, default) {
            // Asking for what it is keeps its constants.
            (None, own) | (Some(LossName::AmSoftmax), own @ Loss::AmSoftmax { .. }) => own,
            (Some(LossName::AmSoftmax), _) => Loss::AM_SOFTMAX,
            (Some(LossName::Softmax), _) => Loss::Softmax,
            (Some(LossName::Svm), _) => Loss::Svm,
        };
        match loss {
            Loss::AmSoftmax { scale, margin } => Ok(Loss::AmSoftmax {
                scale: self.scale.unwrap_or(scale),
                margin: self.margin.unwrap_or(margin),
            }),
            _ if self.scale.is_some() || self.margin.is_some() => {
                Err(Error::Usage("--scale, --margin: only for --loss am-softmax".to_owned()))
            }
            loss => Ok(loss),
        }
    }
}
