//! Options that choose a model.

use crate::error::{Error, Result};
use crate::nn::{CbamPosition, Loss, Model};
use clap::ValueEnum;

/// Model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// Residual network with a CBAM.
    DnnCbam,
    /// The same without.
    Dnn,
}

/// Loss by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LossName {
    /// Softmax of cosines with an additive margin.
    AmSoftmax,
    /// Softmax of a linear layer.
    Softmax,
}

/// CBAM position by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Position {
    /// Nowhere.
    None,
    /// After the input module.
    Input,
    /// After the first residual block.
    Block1,
    /// After the second.
    Block2,
    /// After the third.
    Block3,
    /// After the fourth.
    Block4,
}

/// Options that choose a model.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// Model.
    #[arg(long, value_enum, default_value_t = Name::DnnCbam)]
    model: Name,
    /// Where the CBAM sits [default: block4, or none with --model dnn].
    #[arg(long, value_enum)]
    cbam: Option<Position>,
    /// Loss.
    #[arg(long, value_enum, default_value_t = LossName::AmSoftmax)]
    loss: LossName,
    /// AM-Softmax's s.
    #[arg(long, default_value_t = 30.0)]
    scale: f64,
    /// AM-Softmax's m.
    #[arg(long, default_value_t = 0.35)]
    margin: f64,
}

impl ModelArgs {
    /// The model of `classes` classes that the options describe.
    pub(super) fn model(&self, classes: usize) -> Result<Model> {
        let cbam = match (self.model, self.cbam) {
            (Name::Dnn, Some(Position::None) | None) | (Name::DnnCbam, Some(Position::None)) => {
                CbamPosition::None
            }
            (Name::Dnn, Some(_)) => {
                return Err(Error::Usage("--cbam: --model dnn has none; use --model dnn-cbam".into()));
            }
            (Name::DnnCbam, Some(Position::Input)) => CbamPosition::Input,
            (Name::DnnCbam, Some(Position::Block1)) => CbamPosition::Block1,
            (Name::DnnCbam, Some(Position::Block2)) => CbamPosition::Block2,
            (Name::DnnCbam, Some(Position::Block3)) => CbamPosition::Block3,
            (Name::DnnCbam, Some(Position::Block4) | None) => CbamPosition::Block4,
        };
        let loss = match self.loss {
            LossName::AmSoftmax => Loss::AmSoftmax { scale: self.scale, margin: self.margin },
            LossName::Softmax => Loss::Softmax,
        };
        Ok(Model { cbam, loss, classes })
    }
}
