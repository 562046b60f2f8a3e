//! The result of a run.

use crate::output::lossily;
use crate::parallel::Cost;
use serde::Serialize;
use std::path::PathBuf;

/// What came out of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `dnn-cbam` and the like.
    pub model: &'static str,
    /// Name of the loss.
    pub loss: &'static str,
    /// Epochs trained.
    pub epochs: u64,
    /// Share of training images classified right during the last epoch, augmented.
    pub train_accuracy: f64,
    /// Mean loss of the last epoch.
    pub train_loss: f64,
    /// Accuracy of `weights` on `test_split`.
    pub test_accuracy: Option<f64>,
    /// Accuracy after the last epoch on the split that is watched.
    pub last_accuracy: Option<f64>,
    /// The test split, or validation where there is none, or nothing.
    pub test_split: Option<&'static str>,
    /// The split that is watched: it chooses the best epoch.
    pub watched_split: Option<&'static str>,
    /// The epoch whose weights are the best by the watched split.
    pub best_epoch: Option<u64>,
    /// Training speed over the whole run.
    pub images_per_second: f64,
    /// Duration of the run, evaluation included.
    pub seconds: f64,
    /// File with the weights of the best epoch, or of the last one if those are lost.
    #[serde(serialize_with = "lossily")]
    pub weights: PathBuf,
    /// What sharing the work took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communication: Option<Cost>,
}
