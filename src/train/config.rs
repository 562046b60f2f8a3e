//! What defines a run.

use crate::nn::Model;
use moue_datasets::Augment;
use serde::{Deserialize, Serialize};

/// Everything that decides a run's result; stored as `config.json` and in each checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `synthetic` or the path of a data set.
    pub data: String,
    /// At most this many images of each split.
    pub limit: Option<usize>,
    /// Cross-validation: which fold of the training split is tested.
    pub fold: Option<Fold>,
    /// Model with its loss.
    pub model: Model,
    /// Passes over the training images.
    pub epochs: u64,
    /// Images a step.
    pub batch: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Seed of the first weights, of the order of images and of their augmentation.
    pub seed: u64,
    /// Augmentation of the training images.
    pub augment: Augmentation,
}

/// One of the folds of a cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// Number of folds.
    pub of: usize,
    /// The fold that is tested, from 0.
    pub index: usize,
}

/// How training images are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Augmentation {
    /// Rotation, zoom, shear, shift and mirroring: see [`Augment::paper`].
    Paper,
    /// Images as they are.
    None,
}

impl Augmentation {
    /// Its ranges.
    pub fn ranges(self) -> Augment {
        match self {
            Self::Paper => Augment::paper(),
            Self::None => Augment::none(),
        }
    }
}
