//! `moue crossval`.

use super::recipe::{RecipeArgs, default_folder};
use super::stop::stop_signal;
use super::{Context, data};
use crate::error::{Error, Result};
use crate::output::{errln, outln};
use crate::report::mean_and_deviation;
use crate::train::{Config, Fold, Folding, MAX_COPIES, Options, Report, Schedule, Session, Sets};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Cross-validate: train on all folds of the training split but one, test on that one, for each fold in turn.
///
/// Only the images that are trained on are augmented, after the cut, so that no copy of a tested face is seen in
/// training (--copies makes copies of tested images, too, and --paper-folds trains on some of those). A fold's result is
/// the accuracy after the last epoch: the best epoch would be chosen on the tested fold. Each fold is a run in its own
/// folder below --out; Ctrl-C stops, and the same command goes on.
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
    /// Make N fixed augmented copies of each image, of tested ones too, in place of new versions in every epoch
    /// [default: 0; with --paper-folds 5].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(..=MAX_COPIES as i64))]
    copies: Option<u8>,
    /// Cut the folds after the copies were made, as the paper does: copies of tested faces are then trained on, and the
    /// accuracy is not one of unseen faces. Without this option the same copies are made of the parts after the cut, so
    /// that the difference is what the leak is worth.
    #[arg(long)]
    paper_folds: bool,
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
    /// Fixed augmented copies of each image.
    copies: usize,
    /// Whether copies of tested images were trained on.
    leaky: bool,
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
        let unless_told = if self.paper_folds { Fold::PAPER_COPIES } else { 0 };
        Fold {
            copies: self.copies.map_or(unless_told, usize::from),
            leaky: self.paper_folds,
            ..Fold::new(self.folds as usize, index, self.by)
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let Fold { copies, leaky, by, .. } = self.fold(0);
        if leaky && copies == 0 {
            return Err(Error::Usage(
                "--paper-folds: without --copies there is nothing that leaks".to_owned(),
            ));
        }
        if leaky && by == Folding::Subject {
            let reason = "--paper-folds: with --by subject all copies of a face are in one fold";
            return Err(Error::Usage(reason.to_owned()));
        }
        if copies > 0 && self.recipe.unvaried() {
            return Err(Error::Usage("--copies: --augment none would make them all the same".to_owned()));
        }
        if self.recipe.schedule == Schedule::Plateau {
            let reason = "--schedule plateau: the fold that is tested would steer its own training";
            return Err(Error::Usage(reason.to_owned()));
        }
        Ok(())
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let options = Options {
        isa: context.isa,
        quiet: context.quiet,
        stop_after: None,
        stop_at: None,
        checkpoint_every: Duration::from_secs(args.checkpoint_every.into()),
        team: None,
    };
    let config = args.recipe.config(None)?;
    let dataset = data::open(&config.data, config.limit)?;
    for leak in (Config { fold: Some(args.fold(0)), ..config.clone() }).leaks(Some(&dataset.train)) {
        errln!("moue: warning: {leak}");
    }
    let out = args.out.clone().unwrap_or_else(|| {
        let folder = default_folder(&config);
        folder
            .with_file_name(format!("{}-crossval", folder.file_name().unwrap_or_default().to_string_lossy()))
    });
    // A fold that cannot be cut is told before those in front of it are trained. Copies made after the
    // cut have no say in it, and are not drawn twice.
    for index in 0..args.folds as usize {
        let fold = args.fold(index);
        Sets::fold(&dataset, Fold { copies: if fold.leaky { fold.copies } else { 0 }, ..fold }, &config)?;
    }
    let stop = stop_signal();
    let mut reports = Vec::new();
    for index in 0..args.folds as usize {
        let path = out.join(format!("fold{index}"));
        let mut config = Config { fold: Some(args.fold(index)), ..config.clone() };
        let sets = Sets::fold(&dataset, args.fold(index), &config)?;
        config.model.classes = sets.classes.len();
        let report = Session::run_in(&path, config, &sets, &options, &stop).map_err(|error| match error {
            Error::Interrupted(_) => {
                Error::Interrupted(format!("stopped in fold {index}; the same command goes on"))
            }
            error => error,
        });
        reports.push(report?);
    }
    let result = CrossValidation::new(args.fold(0), &reports);
    context.print(&result, || result.print());
    Ok(())
}

impl CrossValidation {
    fn new(fold: Fold, reports: &[Report]) -> Self {
        let folds: Vec<f64> = reports.iter().filter_map(|report| report.last_accuracy).collect();
        let (mean, std) = mean_and_deviation(&folds);
        let Report { model, loss, epochs, .. } = reports[0];
        let Fold { by, copies, leaky, .. } = fold;
        let seconds = reports.iter().map(|r| r.seconds).sum();
        Self { model, loss, by, copies, leaky, epochs, folds, mean, std, seconds }
    }

    fn print(&self) {
        for (i, accuracy) in self.folds.iter().enumerate() {
            outln!("fold {i}: {:.2} %", 100.0 * accuracy);
        }
        let Self { model, loss, epochs, seconds, .. } = self;
        let (mean, std) = (100.0 * self.mean, 100.0 * self.std);
        let copies = match self.copies {
            0 => String::new(),
            n => format!("; tested faces with {n} copies each"),
        };
        let leak = if self.leaky { ", and others of their copies were trained on" } else { "" };
        outln!("{model} with {loss}, {epochs} epochs: {mean:.2} % +- {std:.2}{copies}{leak}; {seconds:.1} s");
    }
}
