//! `moue crossval`.

use super::recipe::{RecipeArgs, default_folder, stop_signal};
use super::{Context, data};
use crate::error::{Error, Result};
use crate::output::{errln, outln};
use crate::train::{Config, Fold, Folding, Options, Report, Resume, RunFolder, Session, Sets};
use moue_datasets::Dataset;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Cross-validate: train on all folds of the training split but one, test on that one, for each fold in turn.
///
/// Only the images that are trained on are augmented, after the cut, so that no copy of a tested face is seen in
/// training. A fold's result is the accuracy after the last epoch: the best epoch would be chosen on the tested fold.
/// Each fold is a run in its own folder below --out; Ctrl-C stops, and the same command goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Number of folds.
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    folds: u32,
    /// What is dealt to the folds.
    #[arg(long, value_enum, default_value_t = Folding::Image)]
    by: Folding,
    /// Folder for the folds' runs; what it holds of them is continued [default: runs/MODEL-LOSS-DATA-crossval].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Longest time between two checkpoints, which also end every epoch.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_every: u32,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct CrossValidation {
    model: &'static str,
    loss: &'static str,
    by: Folding,
    epochs: u64,
    /// Accuracy on each fold after the last epoch, 0 to 1.
    folds: Vec<f64>,
    mean: f64,
    /// Standard deviation of the folds (of a sample: divided by their number less one).
    std: f64,
    seconds: f64,
}

impl Args {
    fn fold(&self, index: usize) -> Fold {
        Fold { of: self.folds as usize, index, by: self.by }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.recipe.config(Some(self.fold(0))).map(drop)
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let options = Options {
        isa: context.isa,
        quiet: context.quiet,
        stop_after: None,
        checkpoint_every: Duration::from_secs(args.checkpoint_every.into()),
        team: None,
    };
    let config = args.recipe.config(None)?;
    let dataset = data::open(&config.data, config.limit, context)?;
    if args.by == Folding::Image && dataset.train.subjects.is_some() && !context.quiet {
        errln!(
            "moue: warning: cut by image, a person may be in both parts, and is recognised again; see --by subject"
        );
    }
    let out = args.out.clone().unwrap_or_else(|| {
        let folder = default_folder(&config);
        folder
            .with_file_name(format!("{}-crossval", folder.file_name().unwrap_or_default().to_string_lossy()))
    });
    let stop = stop_signal();
    let mut reports = Vec::new();
    for index in 0..args.folds as usize {
        let path = out.join(format!("fold{index}"));
        reports.push(train(config.clone(), args.fold(index), &dataset, &path, &options, &stop)?);
    }
    let result = CrossValidation::new(args.by, &reports);
    context.print(&result, || result.print());
    Ok(())
}

/// Trains on one fold, or goes on with it.
fn train(
    mut config: Config,
    fold: Fold,
    data: &Dataset,
    path: &Path,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Report> {
    let sets = Sets::fold(data, fold)?;
    config.fold = Some(fold);
    config.model.classes = sets.classes.len();
    if !RunFolder::holds_run(path) {
        return Session::start(config, &sets, RunFolder::create(path)?, options)?.run(stop);
    }
    let resume = Resume::open(path, Some(config.epochs), true)?;
    if *resume.config() != config {
        let reason = "was started with other options; repeat those, or choose another --out";
        return Err(Error::format(path, reason));
    }
    resume.session(&sets, options)?.run(stop)
}

impl CrossValidation {
    fn new(by: Folding, reports: &[Report]) -> Self {
        let folds: Vec<f64> = reports.iter().filter_map(|report| report.last_accuracy).collect();
        let (mean, std) = mean_and_deviation(&folds);
        let Report { model, loss, epochs, .. } = reports[0];
        Self { model, loss, by, epochs, folds, mean, std, seconds: reports.iter().map(|r| r.seconds).sum() }
    }

    fn print(&self) {
        for (i, accuracy) in self.folds.iter().enumerate() {
            outln!("fold {i}: {:.2} %", 100.0 * accuracy);
        }
        let Self { model, loss, epochs, seconds, .. } = self;
        let (mean, std) = (100.0 * self.mean, 100.0 * self.std);
        outln!("{model} with {loss}, {epochs} epochs: {mean:.2} % +- {std:.2}; {seconds:.1} s");
    }
}

/// Mean and standard deviation of a sample.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_of_a_sample() {
        let (mean, std) = mean_and_deviation(&[0.5, 0.6, 0.7]);
        assert!((mean - 0.6).abs() < 1e-15 && (std - 0.1).abs() < 1e-15);
    }
}
