//! Options that choose a model.

use super::{not_negative, positive};
use crate::error::{Error, Result};
use crate::nn::{CbamPosition, Loss, Model};
use clap::ValueEnum;

/// Networks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Network {
    DnnCbam,
    Dnn,
}

/// Losses by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossName {
    AmSoftmax,
    Softmax,
}

/// Options that choose a model.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// Network.
    #[arg(long, value_enum, default_value_t = Network::DnnCbam)]
    model: Network,
    /// Where the CBAM sits [default: block4, or none for dnn].
    #[arg(long, value_enum, value_name = "POSITION")]
    cbam: Option<CbamPosition>,
    /// What is minimised.
    #[arg(long, value_enum, default_value_t = LossName::AmSoftmax)]
    loss: LossName,
    /// AM-Softmax: factor of the cosines [default: 30].
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = positive)]
    scale: Option<f64>,
    /// AM-Softmax: margin of the true class's cosine [default: 0.35].
    #[arg(long, value_name = "M", allow_negative_numbers = true, value_parser = not_negative)]
    margin: Option<f64>,
}

impl ModelArgs {
    /// The model of `classes` classes that the options describe.
    pub(super) fn model(&self, classes: usize) -> Result<Model> {
        let cbam = match (self.model, self.cbam) {
            (Network::Dnn, None | Some(CbamPosition::None)) => CbamPosition::None,
            (Network::Dnn, Some(_)) => {
                return Err(Error::Usage("--cbam: the model dnn has none; use --model dnn-cbam".to_owned()));
            }
            (Network::DnnCbam, position) => position.unwrap_or(CbamPosition::Block4),
        };
        let loss = match self.loss {
            LossName::AmSoftmax => {
                Loss::AmSoftmax { scale: self.scale.unwrap_or(30.0), margin: self.margin.unwrap_or(0.35) }
            }
            LossName::Softmax if self.scale.is_some() || self.margin.is_some() => {
                return Err(Error::Usage("--scale, --margin: only for --loss am-softmax".to_owned()));
            }
            LossName::Softmax => Loss::Softmax,
        };
        Ok(Model { cbam, loss, classes })
    }
}
