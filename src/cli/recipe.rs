//! Options that say what is trained and how: those of every command that trains.

use super::model::ModelArgs;
use super::{data, positive};
use crate::error::{Error, Result};
use crate::nn::Model;
use crate::optim::Method;
use crate::pretrained;
use crate::train::{
    Augmentation, Config, Distillation, Fold, MAX_BATCH, MAX_EPOCHS, Refinements, Schedule, is_share,
};
use moue_datasets::SYNTHETIC;
use std::path::{Path, PathBuf};

/// Epochs on the built-in faces: two reach 99 %, and three take well under two minutes on two cores.
const SYNTHETIC_EPOCHS: u64 = 3;
/// Epochs on FER2013 in the paper.
const EPOCHS: u64 = 120;

/// Data, model and recipe.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RecipeArgs {
    #[command(flatten)]
    pub(super) data: data::DataArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Passes over the training images [default: 120; synthetic: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_EPOCHS))]
    pub(super) epochs: Option<u64>,
    /// Images a step.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=MAX_BATCH as i64))]
    batch: u32,
    /// Optimiser.
    #[arg(long, value_enum, default_value_t = Method::Adam)]
    optimizer: Method,
    /// Learning rate at the start [default: 0.001 for adam, 0.01 for sgd].
    #[arg(long, value_name = "RATE", value_parser = positive)]
    lr: Option<f64>,
    /// How the learning rate changes; raising --epochs at `train --resume` stretches what is left of the curve.
    #[arg(long, value_enum, default_value_t = Schedule::Constant)]
    pub(super) schedule: Schedule,
    /// Seed of first weights, order of images and augmentation.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Variation of the training images.
    #[arg(long, value_enum, default_value_t = Augmentation::Paper)]
    augment: Augmentation,
    #[command(flatten)]
    refinements: Refinements,
    /// Fine-tune: start from these weights, or from `pretrained`, those that ship with moue [default: random ones]. They
    /// decide the network and, unless told, the loss; the head is new where classes or loss are others. More
    /// --identity-blocks than theirs grow the network: they begin as the identity.
    #[arg(long, value_name = "WEIGHTS", conflicts_with_all = ["model", "cbam", "attention", "widths"])]
    init: Option<String>,
    /// Knowledge distillation: learn from this trained network of the same classes, or from `pretrained`; given several
    /// times, from the mean of their answers. Only for --loss softmax.
    #[arg(long, value_name = "WEIGHTS")]
    teacher: Vec<String>,
    /// The teachers' share of the target; the rest is the label's [default: 0.7].
    #[arg(long, value_name = "SHARE", requires = "teacher", value_parser = share)]
    teacher_share: Option<f64>,
}

/// Unless told.
const TEACHER_SHARE: f64 = 0.7;

/// Parses an option's value.
fn share(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|&x| is_share(x)).ok_or_else(|| "not a number above 0 and up to 1".to_owned())
}

/// Names of the options above but for the epochs, for --resume to exclude them.
pub(super) const RECIPE: [&str; 25] = [
    "data",
    "limit",
    "model",
    "cbam",
    "attention",
    "identity_blocks",
    "widths",
    "loss",
    "scale",
    "margin",
    "batch",
    "optimizer",
    "lr",
    "schedule",
    "seed",
    "augment",
    "weight_decay",
    "smoothing",
    "erase",
    "mixup",
    "average",
    "balance",
    "init",
    "teacher",
    "teacher_share",
];

impl RecipeArgs {
    /// Whether training images are taken as they are.
    pub(super) fn unvaried(&self) -> bool {
        self.augment == Augmentation::None
    }

    /// The run that the options ask for; the number of classes is not known yet.
    pub(super) fn config(&self, fold: Option<Fold>) -> Result<Config> {
        if let Some(Fold { of, index, .. }) = fold.filter(|fold| fold.index >= fold.of) {
            return Err(Error::Usage(format!("--fold {index}: folds are counted from 0 to {}", of - 1)));
        }
        let model = match &self.init {
            Some(from) => self.model.like(pretrained::load(from)?.model)?,
            None => self.model.model(0)?,
        };
        self.refinements.check(&model).map_err(|reason| Error::Usage(format!("--smoothing: {reason}")))?;
        let distillation = self.distillation(&model)?;
        let synthetic = self.data.data == SYNTHETIC;
        Ok(Config {
            data: self.data.data.clone(),
            limit: self.data.limit,
            fold,
            model,
            epochs: self.epochs.unwrap_or(if synthetic { SYNTHETIC_EPOCHS } else { EPOCHS }),
            batch: self.batch as usize,
            optimizer: self.optimizer,
            lr: self.lr.unwrap_or(self.optimizer.lr()),
            schedule: self.schedule,
            seed: self.seed,
            augment: self.augment,
            refinements: self.refinements,
            init: self.init.clone(),
            distillation,
            cooperation: Default::default(),
        })
    }

    fn distillation(&self, student: &Model) -> Result<Option<Distillation>> {
        if self.teacher.is_empty() {
            return Ok(None);
        }
        let share = self.teacher_share.unwrap_or(TEACHER_SHARE);
        let how = Distillation { teachers: self.teacher.clone(), share };
        how.check(student).map_err(|reason| Error::Usage(format!("--teacher: {reason}")))?;
        Ok(Some(how))
    }
}

/// `runs/MODEL-LOSS-DATA`.
pub(super) fn default_folder(config: &Config) -> PathBuf {
    let data = Path::new(&config.data).file_stem().unwrap_or_default().to_string_lossy();
    Path::new("runs").join(format!("{}-{}-{data}", config.model.name(), config.model.loss.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// One that were forgotten could be given with --resume, and would do nothing.
    #[test]
    fn every_option_of_a_recipe_but_the_epochs_is_excluded_by_resume() {
        let command = <RecipeArgs as clap::Args>::augment_args(clap::Command::new("train"));
        let options: BTreeSet<&str> = command.get_arguments().map(|arg| arg.get_id().as_str()).collect();
        assert_eq!(options, RECIPE.into_iter().chain(["epochs"]).collect());
    }
}
