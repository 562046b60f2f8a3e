//! `moue train`.

use super::model::ModelArgs;
use super::{Context, data, positive};
use crate::error::{Error, Result};
use crate::output::{errln, outln};
use crate::train::{
    Augmentation, Config, Fold, Options, Refinements, Report, Resume, RunFolder, Schedule, Session, Sets,
};
use crate::train::{MAX_BATCH, MAX_EPOCHS};
use crate::{Graph, Phase};
use moue_datasets::message::shown;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Epochs on the built-in faces: two reach 99 %, and three take well under two minutes on two cores.
const SYNTHETIC_EPOCHS: u64 = 3;
/// Epochs on FER2013 in the paper.
const EPOCHS: u64 = 120;

/// Train a model.
///
/// Without options: DNN-CBAM with AM-Softmax on built-in synthetic faces. Ctrl-C (or SIGTERM) finishes the step,
/// writes a checkpoint and exits with status 130; --resume then continues bit for bit. A second one exits at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: data::DataArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Passes over the training images [default: 120; synthetic: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_EPOCHS))]
    epochs: Option<u64>,
    /// Images a step.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=MAX_BATCH as i64))]
    batch: u32,
    /// Learning rate of Adam at the start.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3, allow_negative_numbers = true, value_parser = positive)]
    lr: f64,
    /// How the learning rate changes; raising --epochs at a resume stretches what is left of the curve.
    #[arg(long, value_enum, default_value_t = Schedule::Constant)]
    schedule: Schedule,
    /// Seed of first weights, order of images and augmentation.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Variation of the training images.
    #[arg(long, value_enum, default_value_t = Augmentation::Paper)]
    augment: Augmentation,
    #[command(flatten)]
    refinements: Refinements,
    /// Folder for the run [default: a new one in runs/].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Continue the run in this folder; only --epochs may be given anew.
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "data", "limit", "model", "cbam", "attention", "identity_blocks", "loss", "scale", "margin", "batch", "lr", "schedule", "seed", "augment", "out",
        "folds", "fold", "plan", "weight_decay", "smoothing", "erase", "average",
    ])]
    resume: Option<PathBuf>,
    /// Cut the training split into K folds by image number...
    #[arg(long, value_name = "K", requires = "fold", value_parser = clap::value_parser!(u32).range(2..))]
    folds: Option<u32>,
    /// ...and test on fold I, from 0.
    #[arg(long, value_name = "I", requires = "folds")]
    fold: Option<u32>,
    /// Longest time between two checkpoints, which also end every epoch: what a killed process or a power cut costs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_every: u32,
    /// Print the plan of a training step and exit.
    #[arg(long)]
    plan: bool,
    /// Stop after N steps as Ctrl-C does.
    #[arg(long, value_name = "N", hide = true)]
    stop_after_steps: Option<u64>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let options = Options {
        isa: context.isa,
        quiet: context.quiet,
        stop_after: args.stop_after_steps,
        checkpoint_every: Duration::from_secs(args.checkpoint_every.into()),
    };
    let report = match &args.resume {
        Some(path) => {
            let resume = Resume::open(path, args.epochs)?;
            let config = resume.config();
            let sets = Sets::new(data::open(&config.data, config.limit, context)?, config)?;
            resume.session(&sets, &options)?.run(&stop_signal())?
        }
        None => {
            let mut config = args.config()?;
            let sets = Sets::new(data::open(&config.data, config.limit, context)?, &config)?;
            config.model.classes = sets.classes.len();
            if args.plan {
                return print_plan(&config, context);
            }
            let folder = match &args.out {
                Some(path) => RunFolder::create(path)?,
                None => RunFolder::create_unique(&default_folder(&config))?,
            };
            Session::start(config, &sets, folder, &options)?.run(&stop_signal())?
        }
    };
    context.print(&report, || print_report(&report));
    Ok(())
}

impl Args {
    /// Whether a run is to be started and not resumed.
    pub(super) fn is_new(&self) -> bool {
        self.resume.is_none()
    }

    /// The run that the options ask for; the number of classes is not known yet.
    pub(super) fn config(&self) -> Result<Config> {
        let synthetic = self.data.data == "synthetic";
        let fold = self.folds.zip(self.fold).map(|(of, index)| (of as usize, index as usize));
        if let Some((of, index)) = fold.filter(|(of, index)| index >= of) {
            return Err(Error::Usage(format!("--fold {index}: folds are counted from 0 to {}", of - 1)));
        }
        Ok(Config {
            data: self.data.data.clone(),
            limit: self.data.limit,
            fold: fold.map(|(of, index)| Fold { of, index }),
            model: self.model.model(0)?,
            epochs: self.epochs.unwrap_or(if synthetic { SYNTHETIC_EPOCHS } else { EPOCHS }),
            batch: self.batch as usize,
            lr: self.lr,
            schedule: self.schedule,
            seed: self.seed,
            augment: self.augment,
            refinements: self.refinements,
        })
    }
}

/// `runs/MODEL-LOSS-DATA`.
fn default_folder(config: &Config) -> PathBuf {
    let data = Path::new(&config.data).file_stem().unwrap_or_default().to_string_lossy();
    Path::new("runs").join(format!("{}-{}-{data}", config.model.name(), config.model.loss.name()))
}

/// Becomes true at the first Ctrl-C or SIGTERM; the second one ends the process at once.
///
/// SIGHUP keeps its meaning, so that `nohup` works.
fn stop_signal() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the shutdown looks at the flag before the same signal sets it.
        let registered = flag::register_conditional_shutdown(signal, 130, stop.clone())
            .and_then(|_| flag::register(signal, stop.clone()));
        if let Err(e) = registered {
            errln!("moue: warning: signal {signal} will not save a checkpoint: {e}");
        }
    }
    stop
}

fn print_plan(config: &Config, context: &Context) -> Result<()> {
    let mut graph = Graph::new(Phase::Train);
    let network = config.model.record(&mut graph, config.batch);
    let plan = graph.compile::<f32>(network.loss, context.isa)?;
    let json = serde_json::json!({ "arena_bytes": plan.arena_bytes(), "macs": plan.macs() });
    context.print(&json, || outln!("{plan}"));
    Ok(())
}

fn print_report(report: &Report) {
    let test = match (report.test_split, report.test_accuracy) {
        (Some(split), Some(accuracy)) => format!("{split} {:.2} %", 100.0 * accuracy),
        _ => "nothing to test on".to_owned(),
    };
    outln!(
        "{} with {}: {test}, train {:.2} % after {} epochs; {:.0} images/s, {:.1} s",
        report.model,
        report.loss,
        100.0 * report.train_accuracy,
        report.epochs,
        report.images_per_second,
        report.seconds,
    );
    outln!("weights: {}", shown(&report.weights));
}
