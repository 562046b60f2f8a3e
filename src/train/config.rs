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
    /// Adam's learning rate at the start.
    pub lr: f64,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// Seed of the first weights, of the order of images and of their augmentation.
    pub seed: u64,
    /// Augmentation of the training images.
    pub augment: Augmentation,
    /// What the paper's recipe leaves out.
    #[serde(default)]
    pub refinements: Refinements,
}

/// What the paper's recipe leaves out; 0 everywhere is the paper's recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct Refinements {
    /// Weight decay, decoupled from Adam's gradient (AdamW): weights shrink by lr * DECAY a step; norms and biases do
    /// not.
    // Loshchilov and Hutter 2019, algorithm 2.
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, allow_negative_numbers = true, value_parser = fraction)]
    pub weight_decay: f64,
    /// Label smoothing: share of the target that is spread over all classes.
    // Szegedy et al. 2016, section 7.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, allow_negative_numbers = true, value_parser = fraction)]
    pub smoothing: f64,
    /// Random erasing: probability that a rectangle of a training image is overwritten with noise.
    // Zhong et al. 2020.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0, allow_negative_numbers = true, value_parser = fraction)]
    pub erase: f64,
    /// Moving average of the weights: what is evaluated and saved keeps DECAY of itself at every step (0.999); 0
    /// takes the weights as they are.
    // Polyak and Juditsky 1992, with exponential weights.
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, allow_negative_numbers = true, value_parser = fraction)]
    pub average: f64,
}

/// A number from 0 to below 1.
fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (0.0..1.0).contains(&x) => Ok(x),
        _ => Err("not a number from 0 to below 1".to_owned()),
    }
}

/// One of the folds of a cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// Number of folds.
    pub of: usize,
    /// The fold that is tested, from 0.
    pub index: usize,
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Not at all, as in the paper.
    #[default]
    Constant,
    /// Down to 0 along half a cosine (Loshchilov and Hutter 2017, eq. 5, without restarts).
    Cosine,
}

impl Schedule {
    /// What the learning rate is multiplied with when `done` of the run's steps, 0 to 1, are made.
    pub fn factor(self, done: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done.clamp(0.0, 1.0)).cos()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_goes_from_one_through_a_half_to_nothing() {
        let at = |done| Schedule::Cosine.factor(done);
        assert_eq!(at(0.0), 1.0);
        assert!((at(0.5) - 0.5).abs() < 1e-15 && at(1.0).abs() < 1e-15 && at(1.5).abs() < 1e-15);
        assert!((at(1.0 / 3.0) - 0.75).abs() < 1e-15);
        assert_eq!(Schedule::Constant.factor(0.7), 1.0);
    }
}
