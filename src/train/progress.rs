//! How far a run has come, and what is told of it.

use super::Config;
use super::config::MAX_STEPS;
use moue_datasets::Split;
use serde::{Deserialize, Serialize};

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Images trained on.
    pub images: u64,
    /// Those of them that were classified right.
    pub correct: u64,
    /// Loss, summed over images.
    pub loss: f64,
    /// Time of the steps in seconds.
    pub seconds: f64,
}

impl Tally {
    /// Counts a step in.
    pub fn add(&mut self, step: &super::Step, seconds: f64) {
        self.images += step.images as u64;
        self.correct += step.correct as u64;
        self.loss += step.loss * step.images as f64;
        self.seconds += seconds;
    }

    /// Counts another tally in.
    pub fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.correct += other.correct;
        self.loss += other.loss;
        self.seconds += other.seconds;
    }

    /// Whether a run can have come to these sums.
    fn is_possible(&self) -> bool {
        self.images <= MAX_STEPS
            && self.correct <= self.images
            && self.loss.is_finite()
            && is_duration(self.seconds)
    }

    /// Mean loss over the images.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    /// Share classified right, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images as f64
    }

    /// Images a second.
    pub fn speed(&self) -> f64 {
        self.images as f64 / self.seconds
    }
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Which one, from 1.
    pub epoch: u64,
    /// Its accuracy on the watched split.
    pub accuracy: f64,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Epochs finished.
    pub epoch: u64,
    /// Steps finished in the epoch under way.
    pub batch: usize,
    /// Steps finished in all.
    pub step: u64,
    /// The epoch under way.
    pub tally: Tally,
    /// The last epoch that was finished.
    pub last: Tally,
    /// All finished epochs together.
    pub total: Tally,
    /// Best epoch.
    pub best: Option<Best>,
    /// How often the learning rate was cut: see [`Schedule::Plateau`](super::Schedule::Plateau)...
    #[serde(default)]
    pub cuts: u32,
    /// ...and after which epoch the last time.
    #[serde(default)]
    pub cut: u64,
    /// Time in seconds, evaluation included, over all processes that worked on the run.
    pub seconds: f64,
}

impl Progress {
    /// Cuts the learning rate if `patience` epochs have passed since the best one and the last cut.
    pub(super) fn cut_on_plateau(&mut self, patience: u64) {
        let since = self.best.map_or(0, |best| best.epoch).max(self.cut);
        if self.epoch >= since + patience {
            self.cuts += 1;
            self.cut = self.epoch;
        }
    }

    /// Checks that a run of `config` can have come here: that adding to these numbers cannot overflow.
    pub(crate) fn check(&self, config: &Config) -> Result<(), String> {
        let best = self.best.unwrap_or(Best { epoch: 0, accuracy: 0.0 });
        let possible = self.epoch <= config.epochs
            && self.step <= MAX_STEPS
            && self.batch as u64 <= self.step
            && best.epoch <= self.epoch
            && self.cut <= self.epoch
            && u64::from(self.cuts) <= self.epoch
            && best.accuracy.is_finite()
            && is_duration(self.seconds)
            && [&self.tally, &self.last, &self.total].into_iter().all(Tally::is_possible);
        possible.then_some(()).ok_or_else(|| "a progress that no run can have made".to_owned())
    }
}

/// Whether a run can take these seconds: up to 30 million years.
fn is_duration(seconds: f64) -> bool {
    (0.0..=1e15).contains(&seconds)
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// From 1.
    pub epoch: u64,
    /// Steps since the run began.
    pub step: u64,
    /// Mean training loss.
    pub loss: f64,
    /// Share of the training images classified right while training on them, augmented.
    pub train_accuracy: f64,
    /// Accuracy on the validation split, if it is the watched one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub validation_accuracy: Option<f64>,
    /// Accuracy on the test split, if it is the watched one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_accuracy: Option<f64>,
    /// Training speed.
    pub images_per_second: f64,
    /// Learning rate of the epoch's last step.
    pub lr: f64,
    /// Time since the run began.
    pub seconds: f64,
}

impl EpochRow {
    /// The watched split and the accuracy on it, if there is one.
    pub fn watched(&self) -> Option<(Split, f64)> {
        let validation = self.validation_accuracy.map(|accuracy| (Split::Validation, accuracy));
        validation.or(self.test_accuracy.map(|accuracy| (Split::Test, accuracy)))
    }

    /// Accuracy on the watched split, if there is one.
    pub fn watched_accuracy(&self) -> Option<f64> {
        self.watched().map(|(_, accuracy)| accuracy)
    }

    /// As a line for people.
    pub fn line(&self, epochs: u64) -> String {
        let watched = self
            .watched()
            .map_or(String::new(), |(split, accuracy)| format!(", {split} {:.2} %", 100.0 * accuracy));
        format!(
            "epoch {}/{epochs}: loss {:.4}, train {:.2} %{watched}, {:.0} images/s",
            self.epoch,
            self.loss,
            100.0 * self.train_accuracy,
            self.images_per_second,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best epoch is the second, and later the ninth.
    #[test]
    fn a_plateau_is_counted_from_the_best_epoch_and_from_the_last_cut() {
        let mut progress = Progress::default();
        let mut cuts = Vec::new();
        for epoch in 1..=14 {
            progress.epoch = epoch;
            if [2, 9].contains(&epoch) {
                progress.best = Some(Best { epoch, accuracy: 0.5 });
            }
            progress.cut_on_plateau(3);
            cuts.push(progress.cuts);
        }
        assert_eq!(cuts, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]);
    }
}
