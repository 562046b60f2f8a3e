//! Options that choose what faces are classified with.

use super::Context;
use crate::error::Result;
use crate::infer::Classifier;
use crate::pretrained;
use crate::views::Views;
use crate::weights::Weights;
use std::path::{Path, PathBuf};

/// Which weights.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct WeightsArgs {
    /// Weights of a run, such as runs/NAME/best.safetensors, or `pretrained`: those that ship with moue, of FER2013.
    #[arg(long, value_name = "FILE", default_value = pretrained::WORD)]
    weights: PathBuf,
}

impl WeightsArgs {
    pub(super) fn load(&self) -> Result<Weights> {
        pretrained::load(&self.weights)
    }

    /// What messages call them.
    pub(super) fn path(&self) -> &Path {
        pretrained::name_of(&self.weights)
    }
}

/// Which weights, and how often each face is looked at.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ClassifierArgs {
    #[command(flatten)]
    pub(super) weights: WeightsArgs,
    /// Views of each face whose answers are averaged.
    #[arg(long, value_enum, value_name = "VIEWS", default_value_t = Views::One)]
    views: Views,
}

impl ClassifierArgs {
    pub(super) fn load(&self, context: &Context) -> Result<Classifier> {
        Ok(Classifier::new(self.weights.load()?, context.isa)?.with_views(self.views))
    }
}
