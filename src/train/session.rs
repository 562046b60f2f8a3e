//! A run: epochs of steps, evaluation, files, interruption and resuming.

use super::checkpoint::State;
use super::config::PATIENCE;
use super::console::Console;
use super::data::checksum;
use super::evaluate::accuracy;
use super::init::start_from;
use super::{
    Best, Config, Distillation, EpochRow, Helpers, Recipe, Report, Resume, RunFolder, Schedule, Sets,
    Teachers, Trainer,
};
use crate::archive::not_finite;
use crate::error::{Error, Result};
use crate::infer::Forward;
use crate::output::quoted;
use crate::parallel::Team;
use crate::weights::{Facts, Weights};
use moue_datasets::message::one_line;
use moue_datasets::{Normalisation, Split};
use moue_kernels::Isa;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What does not change the result of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// Says nothing while working.
    pub quiet: bool,
    /// Stops after this many steps as if interrupted.
    pub stop_after: Option<u64>,
    /// Stops at this moment as if interrupted.
    pub stop_at: Option<Instant>,
    /// Between two checkpoints within an epoch: the most work that a killed process loses.
    pub checkpoint_every: Duration,
    /// The processes that share the work.
    pub team: Option<Arc<Team>>,
}

impl Options {
    /// Whether this process writes files and speaks.
    fn leads(&self) -> bool {
        self.team.as_ref().is_none_or(|team| team.leads())
    }
}

/// A run at work.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) state: State,
    sets: &'a Sets,
    /// Of the process that writes files.
    folder: Option<RunFolder>,
    team: Option<Arc<Team>>,
    pub(super) trainer: Trainer<'a>,
    forward: Forward,
    console: Console,
    stop_after: Option<u64>,
    stop_at: Option<Instant>,
    checkpoint_every: Duration,
    /// When the last checkpoint was written.
    saved: Instant,
    /// When `state.progress.seconds` was last brought up to date.
    clock: Instant,
}

impl<'a> Session<'a> {
    /// A new run. `folder` makes its folder, when all else is found to be right, and gives none in a process that
    /// writes no files.
    ///
    /// # Errors
    /// A model, batch or learning rate that cannot be trained with, weights to start or learn from that cannot be read
    /// or do not fit, or a folder that cannot be written to.
    pub fn begin(
        config: Config,
        sets: &'a Sets,
        folder: impl FnOnce() -> Result<Option<RunFolder>>,
        options: &Options,
    ) -> Result<Self> {
        config.check().map_err(Error::Usage)?;
        if sets.train.is_empty() {
            return Err(Error::format(&config.data, "has no training split"));
        }
        config.check_classes(sets).map_err(|reason| Error::format(&config.data, reason))?;
        if config.schedule == Schedule::Plateau && sets.watched().is_none() {
            let reason = format!("--schedule plateau watches a held-out split, and {} has none", config.data);
            return Err(Error::Usage(reason));
        }
        let normalisation = Normalisation::of(&sets.train);
        let mut weights =
            Weights::new(config.model, sets.classes.clone(), normalisation, config.seed, options.isa)?;
        let taken = config.init.as_deref().map(|from| start_from(from, &mut weights)).transpose()?;
        let state = State::new(config, sets);
        weights.facts = Facts {
            data: state.config.data.clone(),
            images: sets.train.len(),
            seed: state.config.seed,
            moue: env!("CARGO_PKG_VERSION").to_owned(),
            trained_on: Some(state.data),
            watched: sets.watched().map(|(_, faces)| checksum(faces)),
            ..Facts::default()
        };
        let mut session = Self::new(state, weights, sets, None, options)?;
        session.compare()?;
        session.folder = folder()?;
        session.save_config()?;
        session.introduce()?;
        if let Some(taken) = taken {
            session.say(&taken)?;
        }
        if let Some(Distillation { teachers, share }) = &session.state.config.distillation {
            let line = format!("{share} of the target by {}", one_line(teachers.join(", ")));
            session.say(&line)?;
        }
        Ok(session)
    }

    pub(super) fn new(
        mut state: State,
        weights: Weights,
        sets: &'a Sets,
        folder: Option<RunFolder>,
        options: &Options,
    ) -> Result<Self> {
        let (config, progress) = (&state.config, &state.progress);
        let recipe = Recipe {
            batch: config.batch,
            optimizer: config.optimizer,
            lr: config.lr,
            schedule: config.schedule,
            epochs: config.epochs,
            seed: config.seed,
            augment: config.variation(),
            refinements: config.refinements,
        };
        let position = (progress.epoch, progress.batch);
        let team = options.team.clone();
        team.iter().for_each(|team| team.forget_traffic());
        let (smoothing, isa) = (config.refinements.smoothing, options.isa);
        let teachers = config.distillation.as_ref();
        let teachers = teachers.map(|how| Teachers::load(how, &weights, smoothing, isa)).transpose()?;
        let checksum = teachers.as_ref().map(Teachers::checksum);
        if state.teachers.is_some() && state.teachers != checksum {
            let path = folder.as_ref().map_or(Path::new("checkpoint"), RunFolder::path);
            return Err(Error::format(path, "not the teachers that the run was started with"));
        }
        let helpers = Helpers { team: team.clone(), teachers };
        let mut trainer = Trainer::with_helpers(weights, &sets.train, &recipe, position, isa, helpers)?;
        trainer.set_cuts(progress.cuts);
        if progress.batch >= trainer.steps_per_epoch() {
            let (done, steps) = (progress.batch, trainer.steps_per_epoch());
            let path = folder.as_ref().map_or(Path::new("checkpoint"), RunFolder::path);
            return Err(Error::format(path, format!("{done} steps into an epoch of {steps}")));
        }
        let steps = config.epochs.saturating_mul(trainer.steps_per_epoch() as u64);
        let forward = Forward::new(config.model, &trainer.weights().params, isa)?;
        state.teachers = checksum;
        state.isa = Some(isa.name().to_owned());
        Ok(Self {
            console: Console::new(options.quiet || !options.leads(), steps, progress.step),
            forward,
            state,
            sets,
            folder,
            team,
            trainer,
            stop_after: options.stop_after,
            stop_at: options.stop_at,
            checkpoint_every: options.checkpoint_every,
            saved: Instant::now(),
            clock: Instant::now(),
        })
    }

    /// Starts the run of `config` in the folder at `path`, or goes on with what is there of it; `config` may ask for
    /// more epochs than it was started with, unless they would bend its schedule. Then as [`Session::run`].
    ///
    /// # Errors
    /// As [`Session::begin`], [`Resume::open`], [`Session::run`]; and a run of other options in the folder.
    pub fn run_in(
        path: &Path,
        config: Config,
        sets: &'a Sets,
        options: &Options,
        stop: &AtomicBool,
    ) -> Result<Report> {
        if !RunFolder::holds_run(path) {
            let folder = || RunFolder::create(path).map(Some);
            return Self::begin(config, sets, folder, options)?.run(stop);
        }
        let there = RunFolder::load_config(path)?;
        if !there.is_laid_out_for(config.epochs) {
            let reason =
                format!("its learning rate was laid out for {} epochs; choose another --out", there.epochs);
            return Err(Error::format(path, reason));
        }
        let resume = Resume::open(path, Some(config.epochs), true)?;
        if !resume.config().agrees_with(&config) {
            return Err(Error::other_options(path));
        }
        resume.session(sets, options)?.run(stop)
    }

    /// Writes what the run is, once nothing speaks against it.
    pub(super) fn save_config(&self) -> Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.save_config(&self.state.config))
    }

    /// Trains to the last epoch.
    ///
    /// When `stop` becomes true, the step under way is finished, a checkpoint is written, and
    /// [`Error::Interrupted`] says how to resume.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::NotFinite`] if the loss or a weight is no number: files then keep their
    /// last good state; [`Error::Io`] if a file cannot be written.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<Report> {
        let result = self.train(stop).and_then(|()| self.report());
        self.console.finish();
        if let Err(error) = &result {
            // The error itself is what matters; the log may be what could not be written.
            self.log(&format!("stopped: {error}")).ok();
        }
        result
    }

    fn train(&mut self, stop: &AtomicBool) -> Result<()> {
        let first = self.state.progress.step;
        while self.state.progress.epoch < self.state.config.epochs {
            self.step()?;
            let progress = &self.state.progress;
            let enough = self.stop_after.is_some_and(|n| progress.step - first >= n)
                || self.stop_at.is_some_and(|moment| Instant::now() >= moment);
            let finished = progress.epoch >= self.state.config.epochs;
            let stop = enough || stop.load(Ordering::Relaxed);
            let stop = self.team.as_ref().map_or(stop, |team| team.any(stop));
            if stop && !finished {
                return self.pause();
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let begin = Instant::now();
        let step = self.trainer.step()?;
        let progress = &mut self.state.progress;
        progress.tally.add(&step, begin.elapsed().as_secs_f64());
        progress.step += 1;
        progress.batch += 1;
        self.console.show(progress, self.state.config.epochs);
        if step.ends_epoch {
            self.end_epoch()
        } else if self.saved.elapsed() >= self.checkpoint_every {
            self.save_checkpoint()
        } else {
            Ok(())
        }
    }

    /// Evaluates, and brings all files up to date.
    fn end_epoch(&mut self) -> Result<()> {
        if let Some(name) = not_finite(&self.trainer.weights().params) {
            let step = self.state.progress.step;
            return Err(Error::NotFinite(format!("step {step}: `{name}` is not finite any more")));
        }
        let mut result = self.trainer.result();
        let accuracy = self.watch(&result)?;
        self.tick();
        let progress = &mut self.state.progress;
        progress.epoch += 1;
        progress.batch = 0;
        progress.total.merge(&progress.tally);
        progress.last = std::mem::take(&mut progress.tally);

        let facts = &mut result.facts;
        facts.epochs = progress.epoch;
        facts.split = accuracy.map(|(split, _)| split.name().to_owned());
        facts.accuracy = accuracy.map(|(_, accuracy)| accuracy);
        self.trainer.weights_mut().facts = facts.clone();
        // Without a split to watch, every epoch counts as better than the one before.
        let better = accuracy.is_none_or(|(_, a)| progress.best.is_none_or(|best| a > best.accuracy));
        if better {
            progress.best = accuracy.map(|(_, accuracy)| Best { epoch: progress.epoch, accuracy });
        }
        let row = self.row(accuracy);
        if let Some(folder) = &self.folder {
            if better {
                result.save(&folder.best())?;
            }
            result.save(&folder.last())?;
            folder.save_metrics(&row)?;
        }
        if self.state.config.schedule == Schedule::Plateau {
            self.state.progress.cut_on_plateau(PATIENCE);
            self.trainer.set_cuts(self.state.progress.cuts);
        }
        self.save_checkpoint()?;
        self.say(&row.line(self.state.config.epochs))
    }

    /// Accuracy on the watched split.
    fn watch(&mut self, weights: &Weights) -> Result<Option<(Split, f64)>> {
        let Some((split, faces)) = self.sets.watched() else { return Ok(None) };
        let team = self.team.as_deref();
        let accuracy = accuracy(&mut self.forward, &weights.params, faces, weights.normalisation, team)?;
        Ok(Some((*split, accuracy)))
    }

    fn row(&self, accuracy: Option<(Split, f64)>) -> EpochRow {
        let progress = &self.state.progress;
        let on = |wanted| accuracy.filter(|(split, _)| *split == wanted).map(|(_, accuracy)| accuracy);
        EpochRow {
            epoch: progress.epoch,
            step: progress.step,
            loss: progress.last.mean_loss(),
            train_accuracy: progress.last.accuracy(),
            validation_accuracy: on(Split::Validation),
            test_accuracy: on(Split::Test),
            images_per_second: progress.last.speed(),
            lr: self.trainer.optimizer().lr(),
            seconds: progress.seconds,
        }
    }

    fn pause(&mut self) -> Result<()> {
        // The end of an epoch has written one already.
        if self.state.progress.batch > 0 {
            self.save_checkpoint()?;
        }
        let (step, folder) = (self.state.progress.step, quoted(&self.path().to_string_lossy()));
        let text = format!("stopped after step {step}; continue with: moue train --resume {folder}");
        Err(Error::Interrupted(text))
    }

    pub(super) fn save_checkpoint(&mut self) -> Result<()> {
        self.tick();
        let trainer = &self.trainer;
        if let Some(folder) = &self.folder {
            self.state.save(folder.path(), trainer.weights(), trainer.optimizer(), trainer.average())?;
        }
        self.saved = Instant::now();
        Ok(())
    }

    /// Adds the time since the last call to the run's.
    fn tick(&mut self) {
        self.state.progress.seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
    }

    fn report(&mut self) -> Result<Report> {
        let (best, watched) = (self.state.progress.best, self.sets.watched());
        let weights = self.folder.as_ref().map_or(PathBuf::new(), |folder| match (watched, best) {
            // Its file was lost or damaged, and no epoch came after.
            (Some(_), None) => folder.last(),
            _ => folder.best(),
        });
        let on_test = match (self.sets.tested(), watched, best) {
            (Some((tested, _)), Some((watched, _)), Some(best)) if tested == watched => {
                Some((*tested, best.accuracy))
            }
            // By the process that has the weights at hand.
            (Some((split, faces)), ..) if self.folder.is_some() => {
                let Weights { params, normalisation, .. } = Weights::load(&weights)?;
                Some((*split, accuracy(&mut self.forward, &params, faces, normalisation, None)?))
            }
            _ => None,
        };
        self.tick();
        let State { config, progress, .. } = &self.state;
        Ok(Report {
            model: config.model.name(),
            loss: config.model.loss.name(),
            epochs: progress.epoch,
            train_accuracy: progress.last.accuracy(),
            train_loss: progress.last.mean_loss(),
            test_accuracy: on_test.map(|(_, accuracy)| accuracy),
            last_accuracy: self.trainer.weights().facts.accuracy,
            test_split: on_test.map(|(split, _)| split.name()),
            watched_split: watched.map(|(split, _)| split.name()),
            best_epoch: best.map(|b| b.epoch),
            images_per_second: progress.total.speed(),
            seconds: progress.seconds,
            weights,
            communication: self.team.as_ref().map(|team| team.cost()),
        })
    }

    fn introduce(&mut self) -> Result<()> {
        let held = match (self.sets.watched(), self.sets.tested()) {
            (None, _) | (_, None) => "no split held out to evaluate on (see --folds)".to_owned(),
            (Some((a, x)), Some((b, _))) if a == b => format!("{} for {a}", x.len()),
            (Some((a, x)), Some((b, y))) => format!("{} for {a}, {} for {b}", x.len(), y.len()),
        };
        let (config, images) = (&self.state.config, self.sets.train.len());
        let line = format!(
            "{} with {}, {} parameters; {images} images of {} to train on, {held}; {}",
            config.model.name(),
            config.model.loss.name(),
            self.trainer.weights().params.count(),
            config.data,
            self.path().display(),
        );
        self.say(&line)
    }

    pub(super) fn say(&mut self, line: &str) -> Result<()> {
        self.console.say(line);
        self.log(line)
    }

    fn log(&mut self, line: &str) -> Result<()> {
        self.folder.as_mut().map_or(Ok(()), |folder| folder.log(line))
    }

    /// The run's folder, where this process has one.
    fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), RunFolder::path)
    }

    /// Checks that all processes begin with the same.
    pub(super) fn compare(&self) -> Result<()> {
        let Some(team) = &self.team else { return Ok(()) };
        let Self { state, trainer, .. } = self;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&state.to_bytes(trainer.weights(), trainer.optimizer(), trainer.average()));
        hasher.update(format!("{:?}", trainer.isa()).as_bytes());
        match team.agree(hasher.finalize().into()) {
            true => Ok(()),
            false => Err(Error::Disagreement),
        }
    }
}
