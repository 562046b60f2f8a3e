//! `moue reproduce`.

use super::stop::stop_signal;
use super::{Context, at_least_one, data, positive};
use crate::error::{Error, Result};
use crate::output::{errln, outln, quoted};
use crate::report::Document;
use crate::report::paper::{
    self, Data, EXPERIMENTS, Experiment, Found, Inputs, Mean, Measured, Outcome, Progress, Run, Source,
};
use crate::train::{MAX_EPOCHS, Options, Session, Sets};
use moue_datasets::SYNTHETIC;
use moue_datasets::message::shown;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest time kept back from --hours for an evaluation, a checkpoint and a report of few runs.
const RESERVE: Duration = Duration::from_secs(60);

/// Run the paper's experiments, and one change of its recipe at a time, and put its tables and figures beside ours, in
/// one report.
///
/// Each experiment is a run, or one a fold, in its own folder below --out; what is there is continued. Ctrl-C, or the
/// end of --hours, writes a checkpoint and the report; the same command goes on. What was not run is called so.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// FER2013; or `synthetic`, drawn faces in place of all data sets, to try the command.
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// CK+.
    #[arg(long, value_name = "D")]
    ckplus: Option<String>,
    /// Use at most N images of each split, all classes in proportion: to try the command.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Folder for the runs and the report.
    #[arg(long, value_name = "FOLDER", default_value = "runs/reproduce")]
    out: PathBuf,
    /// Epochs of each run [default: the paper's, 120 on FER2013 and 300 on CK+].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_EPOCHS))]
    epochs: Option<u64>,
    /// Train each model on FER2013 with N seeds, from 0 on: all with the first one, then all with the next.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Stop training such that the report of a few runs is written within this time (of many, measuring takes minutes
    /// more); what is then not finished goes on with the same command.
    #[arg(long, value_name = "H", value_parser = hours)]
    hours: Option<f64>,
    /// Run these experiments only (see --list); the report has all.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// List the experiments and how far they have come, and exit.
    #[arg(long, conflicts_with = "report_only")]
    list: bool,
    /// Train nothing; write the report of what is there.
    #[arg(long)]
    report_only: bool,
    /// Longest time between two checkpoints, which also end every epoch.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    checkpoint_every: u32,
    /// Stop after N steps of a run as Ctrl-C does.
    #[arg(long, value_name = "N", hide = true)]
    stop_after_steps: Option<u64>,
}

/// Parses an option's value: up to a century.
fn hours(text: &str) -> std::result::Result<f64, String> {
    positive(text)
        .and_then(|h| if h <= 1e6 { Ok(h) } else { Err("expected at most a million hours".to_owned()) })
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Reproduction {
    /// The report; null with `--list`.
    path: Option<String>,
    experiments: Vec<Row>,
}

/// An experiment.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    data: &'static str,
    model: &'static str,
    loss: &'static str,
    /// The name of a [`State`](paper::State).
    state: &'static str,
    #[serde(flatten)]
    progress: Progress,
    /// Mean over its runs, 0 to 1.
    accuracy: Option<f64>,
    /// Standard deviation over its runs, if there are several.
    std: Option<f64>,
}

impl Args {
    pub(super) fn check(&self) -> Result<()> {
        let usage = |reason| Err(Error::Usage(reason));
        let known = EXPERIMENTS.map(|experiment| experiment.name);
        if let Some(name) = self.only.iter().find(|name| !known.contains(&name.as_str())) {
            return usage(format!("--only {name}: no such experiment; there are {}", known.join(", ")));
        }
        if self.list || self.report_only {
            return Ok(());
        }
        let without_data = |e: &Experiment| self.spec(e.source).is_none();
        match self.wanted().find(without_data) {
            Some(e) if !self.only.is_empty() => {
                usage(format!("--only {}: needs {} {}", e.name, option(e.source), e.source.name()))
            }
            Some(_) if self.wanted().all(|e| without_data(&e)) => {
                usage("nothing to train on: give --data, --ckplus or both".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The data of `source`, if they were given.
    fn spec(&self, source: Source) -> Option<&String> {
        let synthetic = self.data.as_ref().filter(|spec| *spec == SYNTHETIC);
        match source {
            Source::Fer2013 => self.data.as_ref(),
            Source::CkPlus => self.ckplus.as_ref().or(synthetic),
        }
    }

    fn experiments(&self) -> impl Iterator<Item = Experiment> {
        EXPERIMENTS.into_iter().map(|experiment| Experiment { seeds: self.seeds, ..experiment })
    }

    fn wanted(&self) -> impl Iterator<Item = Experiment> {
        let wanted = |e: &Experiment| self.only.is_empty() || self.only.iter().any(|name| name == e.name);
        self.experiments().filter(wanted)
    }

    /// The command that goes on with all experiments; it names the data sets that are yet to be given.
    fn command(&self) -> String {
        let mut words = vec!["moue reproduce".to_owned()];
        let mut add = |option: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{option} {}", quoted(&value))));
        };
        for source in [Source::Fer2013, Source::CkPlus] {
            add(option(source), Some(self.spec(source).map_or(source.name(), String::as_str).to_owned()));
        }
        add("--limit", self.limit.map(|n| n.to_string()));
        add("--epochs", self.epochs.map(|n| n.to_string()));
        add("--seeds", Some(self.seeds).filter(|n| *n > 1).map(|n| n.to_string()));
        add("--out", Some(self.out.display().to_string()));
        words.join(" ")
    }

    fn page(&self) -> PathBuf {
        self.out.join("reproduce.html")
    }
}

/// The option that says where the data of `source` are.
fn option(source: Source) -> &'static str {
    match source {
        Source::Fer2013 => "--data",
        Source::CkPlus => "--ckplus",
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let begin = Instant::now();
    let inputs = open(&args)?;
    if args.list {
        let progress = |e: Experiment| {
            let Found { records, damaged } = e.found(&args.out, &inputs)?;
            damaged.iter().for_each(|reason| errln!("moue: warning: {}: {reason}", e.name));
            Ok(Row::new(e, e.progress(&records, &inputs, args.epochs), None))
        };
        let experiments = args.experiments().map(progress).collect::<Result<_>>()?;
        let list = Reproduction { path: None, experiments };
        context.print(&list, || list.print());
        return Ok(());
    }
    // What a report could not be written of is told before hours of training.
    args.experiments().try_for_each(|e| e.found(&args.out, &inputs).map(drop))?;
    Document::check(&args.page())?;
    let stop = stop_signal();
    let trained = if args.report_only { Ok(()) } else { train_all(&args, &inputs, begin, context, &stop) };
    // A signal would be heard by nobody now: the next one ends the process.
    stop.store(true, Ordering::Relaxed);
    if !context.quiet {
        errln!("measuring what there is, for the report");
    }
    let outcomes = write_report(&args, &inputs, context)?;
    for Outcome { experiment, runs, damaged, .. } in &outcomes {
        damaged.iter().for_each(|reason| errln!("moue: warning: {}: {reason}", experiment.name));
        for run in runs.iter().filter(|_| inputs.get(experiment.source).is_some()) {
            let reasons = [run.evaluated.as_ref().err(), run.by_views.as_ref().err()];
            if let Some(reason) = reasons.into_iter().flatten().next() {
                errln!("moue: warning: {}, {}: {reason}", experiment.name, run.name());
            }
        }
    }
    if let Err(Error::Interrupted(_)) = trained {
        let page = shown(&args.page());
        return Err(Error::Interrupted(format!("stopped; the same command goes on; so far: {page}")));
    }
    let row = |outcome: &Outcome| {
        Row::new(outcome.experiment, outcome.progress.clone(), outcome.mean(Measured::accuracy))
    };
    let reproduction = Reproduction {
        path: Some(args.page().to_string_lossy().into_owned()),
        experiments: outcomes.iter().map(row).collect(),
    };
    context.print(&reproduction, || reproduction.print());
    trained
}

fn open(args: &Args) -> Result<Inputs> {
    let open = |source: Source| {
        let Some(spec) = args.spec(source) else { return Ok(None) };
        let dataset = data::open(spec, args.limit)?;
        Ok::<_, Error>(Some(Data { spec: spec.clone(), limit: args.limit, dataset }))
    };
    Ok(Inputs { fer2013: open(Source::Fer2013)?, ckplus: open(Source::CkPlus)? })
}

/// Trains what is not finished, in the order of the list. A run that fails is told of, and the others are still trained.
///
/// # Errors
/// [`Error::Interrupted`]; [`Error::Runs`] in the end, if any failed.
fn train_all(
    args: &Args,
    inputs: &Inputs,
    begin: Instant,
    context: &Context,
    stop: &AtomicBool,
) -> Result<()> {
    let budget = args.hours.map(|hours| Duration::from_secs_f64(3600.0 * hours));
    let options = Options {
        isa: context.isa,
        quiet: context.quiet,
        stop_after: args.stop_after_steps,
        stop_at: budget.map(|budget| begin + budget - RESERVE.min(budget / 10)),
        checkpoint_every: Duration::from_secs(args.checkpoint_every.into()),
        team: None,
    };
    let stopped = || stop.load(Ordering::Relaxed);
    let over = || options.stop_at.is_some_and(|moment| Instant::now() >= moment);
    let mut runs = Vec::new();
    for experiment in args.wanted() {
        let (name, Some(data)) = (experiment.name, inputs.get(experiment.source)) else { continue };
        match experiment.missing(inputs) {
            Some(reason) => errln!("moue: warning: {name}: {reason}"),
            None => {
                let config = experiment.config(data, experiment.runs()[0], 1);
                for leak in config.leaks(Some(&data.dataset.train)) {
                    errln!("moue: warning: {name}: {leak}");
                }
                runs.extend(experiment.runs().into_iter().map(|run| (experiment, data, run)))
            }
        }
    }
    // Stable: the order of the list within a seed.
    runs.sort_by_key(|(.., run)| run.seed);
    let mut failed = 0;
    for (experiment, data, run) in runs {
        let (name, seed) = (experiment.name, run.seed);
        if stopped() {
            return Err(Error::Interrupted(format!("stopped before {name}, seed {seed}")));
        }
        if over() {
            break;
        }
        match train(args, experiment, data, run, &options, stop) {
            Ok(()) => {}
            // The end of --hours ends the work, and is no failure.
            Err(Error::Interrupted(_)) if over() && !stopped() => break,
            Err(error @ Error::Interrupted(_)) => return Err(error),
            Err(error) => {
                errln!("moue: warning: {name}, seed {seed}: {error}");
                failed += 1;
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::Runs { failed }) }
}

/// Trains one run to its last epoch, unless it is there, or there is one that leads elsewhere.
fn train(
    args: &Args,
    experiment: Experiment,
    data: &Data,
    run: Run,
    options: &Options,
    stop: &AtomicBool,
) -> Result<()> {
    let (path, epochs) = (experiment.folder(&args.out, run), experiment.epochs(args.epochs));
    let (name, seed) = (experiment.name, run.seed);
    if let Some(record) = experiment.record(&args.out, run)? {
        if !record.leads_to(epochs) {
            let why = match record.config.is_laid_out_for(epochs) {
                true => format!("it has had {}", record.epochs()),
                false => format!("its learning rate was laid out for {}", record.config.epochs),
            };
            errln!("moue: warning: {name}, seed {seed}: left out, as it cannot have {epochs} epochs: {why}");
            return Ok(());
        }
        if record.epochs() == epochs {
            return Ok(());
        }
    }
    if !options.quiet {
        errln!("{name}: {}, seed {seed}", experiment.title);
    }
    let config = experiment.config(data, run, epochs);
    let sets = Sets::new(data.dataset.clone(), &config)?;
    Session::run_in(&path, config, &sets, options, stop).map(drop)
}

fn write_report(args: &Args, inputs: &Inputs, context: &Context) -> Result<Vec<Outcome>> {
    let measure = |e: Experiment| Outcome::of(e, &args.out, inputs, args.epochs, context.isa);
    let outcomes = args.experiments().map(measure).collect::<Result<Vec<_>>>()?;
    paper::paper_report(&outcomes, inputs, &args.command(), context.isa)?.save(&args.page())?;
    Ok(outcomes)
}

impl Row {
    fn new(experiment: Experiment, progress: Progress, accuracy: Option<Mean>) -> Self {
        Self {
            name: experiment.name,
            data: experiment.source.name(),
            model: experiment.model.name(),
            loss: experiment.model.loss.name(),
            state: progress.state().name(),
            progress,
            accuracy: accuracy.map(|(mean, _)| mean),
            std: accuracy.and_then(|(_, std)| std),
        }
    }

    fn print(&self) {
        let Self { name, state, progress: Progress { epochs, of, missing, .. }, .. } = self;
        let accuracy = self.accuracy.map_or(String::new(), |a| format!("  {:.2} %", 100.0 * a));
        let std = self.std.map_or(String::new(), |s| format!(" +- {:.2}", 100.0 * s));
        let missing = missing.as_ref().map_or(String::new(), |reason| format!("  ({reason})"));
        outln!("{name:<20} {state:<12} {epochs:>5} of {of} epochs{accuracy}{std}{missing}");
    }
}

impl Reproduction {
    fn print(&self) {
        self.experiments.iter().for_each(Row::print);
        if let Some(path) = &self.path {
            outln!("report: {}", shown(Path::new(path)));
        }
    }
}
