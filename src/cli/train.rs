//! `moue train`.

use super::recipe::{RECIPE, RecipeArgs, default_folder};
use super::stop::stop_signal;
use super::{Context, data};
use crate::error::Result;
use crate::output::{errln, outln};
use crate::parallel::{Cooperation, Team};
use crate::train::{Config, Fold, Folding, Options, Report, Resume, RunFolder, Session, Sets};
use crate::{Graph, Phase};
use moue_datasets::message::shown;
use moue_datasets::{Alone, Peers};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Train a model.
///
/// Without options: DNN-CBAM with AM-Softmax on built-in synthetic faces. Ctrl-C (or SIGTERM) finishes the step,
/// writes a checkpoint and exits with status 130; --resume then continues bit for bit. A second one exits at once.
///
/// `mpirun -n R moue train` (a build with --features mpi) shares every batch among R processes, to the same bits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Folder for the run [default: a new one in runs/].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Continue the run in this folder; only --epochs may be given anew.
    #[arg(long, value_name = "RUN", conflicts_with_all = RECIPE, conflicts_with_all = ["out", "folds", "fold", "by", "plan", "reduce", "batch_norm"])]
    resume: Option<PathBuf>,
    /// Cut the training split into K folds...
    #[arg(long, value_name = "K", requires = "fold", value_parser = clap::value_parser!(u32).range(2..))]
    folds: Option<u32>,
    /// ...and test on fold I, from 0.
    #[arg(long, value_name = "I", requires = "folds")]
    fold: Option<u32>,
    /// What is dealt to the folds.
    #[arg(long, value_enum, default_value_t = Folding::Image, requires = "folds")]
    by: Folding,
    /// Longest time between two checkpoints, which also end every epoch: what a killed process or a power cut costs.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_every: u32,
    /// Print the plan of a training step and exit.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    cooperation: Cooperation,
    /// Stop after N steps as Ctrl-C does.
    #[arg(long, value_name = "N", hide = true)]
    stop_after_steps: Option<u64>,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let leads = context.link.as_ref().is_none_or(|link| link.rank() == 0);
    let (resume, mut config) = match &args.resume {
        Some(path) => {
            let resume = Resume::open(path, args.recipe.epochs, leads)?;
            let config = resume.config().clone();
            (Some(resume), config)
        }
        None => (None, args.config()?),
    };
    let team = context.link.as_ref().map(|link| Arc::new(Team::new(link.clone(), config.cooperation)));
    let peers: &dyn Peers = team.as_deref().map_or(&Alone, |team| team);
    let sets = Sets::new(data::open_with(&config.data, config.limit, peers)?, &config)?;
    // From here on a signal has something to wait for; while data are read, it ends the process.
    let stop = context.stop.clone().unwrap_or_else(stop_signal);
    if leads {
        for leak in config.leaks(Some(&sets.train)) {
            errln!("moue: warning: {leak}");
        }
    }
    let options = Options {
        isa: context.isa,
        quiet: context.quiet,
        stop_after: args.stop_after_steps,
        stop_at: None,
        checkpoint_every: Duration::from_secs(args.checkpoint_every.into()),
        team,
    };
    let mut session = match resume {
        Some(resume) => resume.session(&sets, &options)?,
        None => {
            config.model.classes = sets.classes.len();
            if args.plan {
                return if leads { print_plan(&config, context) } else { Ok(()) };
            }
            let default = default_folder(&config);
            let folder = || match &args.out {
                _ if !leads => Ok(None),
                Some(path) => RunFolder::create(path).map(Some),
                None => RunFolder::create_unique(&default).map(Some),
            };
            Session::begin(config, &sets, folder, &options)?
        }
    };
    let report = session.run(&stop)?;
    if leads {
        context.print(&report, || print_report(&report));
    }
    Ok(())
}

impl Args {
    /// The run that the options ask for; the number of classes is not known yet.
    fn config(&self) -> Result<Config> {
        let fold = self.folds.zip(self.fold);
        let config =
            self.recipe.config(fold.map(|(of, index)| Fold::new(of as usize, index as usize, self.by)))?;
        Ok(Config { cooperation: self.cooperation, ..config })
    }
}

fn print_plan(config: &Config, context: &Context) -> Result<()> {
    let mut graph = Graph::new(Phase::Train);
    let network = config.model.record_for(&mut graph, config.batch, config.targets());
    let plan = graph.compile::<f32>(network.loss, context.isa)?;
    let json = serde_json::json!({ "arena_bytes": plan.arena_bytes(), "macs": plan.macs() });
    context.print(&json, || outln!("{plan}"));
    Ok(())
}

fn print_report(report: &Report) {
    let test = match (report.test_split, report.test_accuracy) {
        (Some(split), Some(accuracy)) => {
            let same = report.test_split == report.watched_split;
            let last = report.last_accuracy.filter(|_| same).map(|last| 100.0 * last);
            let chosen = report.best_epoch.zip(last).map_or(String::new(), |(epoch, last)| {
                format!(" (epoch {epoch}, chosen by these images; {last:.2} % after the last)")
            });
            format!("{split} {:.2} %{chosen}", 100.0 * accuracy)
        }
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
    if let Some(cost) = &report.communication {
        outln!(
            "{} processes, a step: {:.2} MB sent, {:.1} ms for statistics, {:.1} ms for gradients ({:.1} ms not hidden)",
            cost.ranks,
            cost.bytes_per_step / 1e6,
            cost.statistics_ms,
            cost.gradients_ms,
            cost.gradients_left_ms,
        );
    }
    outln!("weights: {}", shown(&report.weights));
}
