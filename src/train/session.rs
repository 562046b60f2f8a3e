//! A run: epochs of steps, evaluation, files, interruption and resuming.

use super::config::PATIENCE;
use super::console::Console;
use super::{Best, Config, EpochRow, Recipe, RunFolder, Schedule, Sets, Trainer};
use crate::archive::not_finite;
use crate::checkpoint::{self, Checkpoint, State};
use crate::error::{Error, Result};
use crate::infer::Forward;
use crate::output::errln;
use crate::params::Params;
use crate::weights::{Facts, Weights};
use moue_datasets::{Faces, Normalisation, Split};
use moue_kernels::Isa;
use serde::Serialize;
use std::path::{Path, PathBuf};
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
}

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
    /// Accuracy of the best epoch's weights on `test_split`.
    pub test_accuracy: Option<f64>,
    /// Accuracy after the last epoch on the split that is watched.
    pub last_accuracy: Option<f64>,
    /// The test split, or validation where there is none, or nothing.
    pub test_split: Option<&'static str>,
    /// The epoch whose weights are the best by the watched split.
    pub best_epoch: Option<u64>,
    /// Training speed over the whole run.
    pub images_per_second: f64,
    /// Duration of the run, evaluation included.
    pub seconds: f64,
    /// File with the best weights.
    pub weights: PathBuf,
}

/// A stopped run on its way to be continued.
#[derive(Debug)]
pub struct Resume {
    folder: RunFolder,
    config: Config,
    /// With a warning if it is not the newest; none if the run was killed before it wrote its first one.
    checkpoint: Option<(Checkpoint, Option<String>)>,
}

impl Resume {
    /// Reads the newest complete checkpoint of the run in `path`; `epochs` replaces the number it was to have. A run
    /// that was killed before its first checkpoint starts again.
    ///
    /// # Errors
    /// No run there, another process working on it, no complete checkpoint, or fewer epochs than are finished.
    pub fn open(path: &Path, epochs: Option<u64>) -> Result<Self> {
        let folder = RunFolder::open(path)?;
        // The first epoch's files are there before its checkpoint. A run that came further has lost its checkpoints:
        // starting again would overwrite its weights.
        let lost = folder.epochs_recorded()? > 1;
        let checkpoint = match checkpoint::exists(path) || lost {
            true => Some(Checkpoint::load(path)?),
            false => None,
        };
        let (mut config, done) = match &checkpoint {
            Some((Checkpoint { state, .. }, _)) => (state.config.clone(), state.progress.epoch),
            None => (folder.load_config()?, 0),
        };
        config.epochs = epochs.unwrap_or(config.epochs);
        if config.epochs < done {
            let wanted = config.epochs;
            return Err(Error::Usage(format!("--epochs {wanted}: {done} are finished already")));
        }
        Ok(Self { folder, config, checkpoint })
    }

    /// What the run was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Continues on `sets`, which must be the data that the run started with.
    ///
    /// # Errors
    /// Other data, or a folder that cannot be written to.
    pub fn session<'a>(self, sets: &'a Sets, options: &Options) -> Result<Session<'a>> {
        let Self { mut folder, config, checkpoint } = self;
        let Some((checkpoint, warning)) = checkpoint else {
            return Session::start(config, sets, folder, options);
        };
        let mut state = State { config, ..checkpoint.state.clone() };
        if sets.fingerprint() != state.data || sets.classes != checkpoint.weights.classes {
            let reason = format!("{}: not the images that the run was started with", state.config.data);
            return Err(Error::format(folder.path(), reason));
        }
        let mut warnings = Vec::from_iter(warning);
        if state.progress.best.is_some() && !folder.best().exists() {
            warnings.push(format!("{}: missing; the best epoch is sought anew", folder.best().display()));
            state.progress.best = None;
        }
        folder.save_config(&state.config)?;
        for warning in &warnings {
            errln!("moue: warning: {warning}");
            folder.log(&format!("warning: {warning}"))?;
        }
        let weights = checkpoint.weights.clone();
        let mut session = Session::new(state, weights, sets, folder, options)?;
        checkpoint.restore(session.trainer.optimizer_mut());
        session.trainer.set_average(checkpoint.average().cloned());
        session.say(&format!("resumed at step {}", session.state.progress.step))?;
        Ok(session)
    }
}

/// A run at work.
#[derive(Debug)]
pub struct Session<'a> {
    state: State,
    sets: &'a Sets,
    folder: RunFolder,
    trainer: Trainer<'a>,
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
    /// A new run in `folder`.
    ///
    /// # Errors
    /// A model, batch or learning rate that cannot be trained with, or a folder that cannot be written to.
    pub fn start(config: Config, sets: &'a Sets, folder: RunFolder, options: &Options) -> Result<Self> {
        if config.model.classes != sets.classes.len() {
            let (ours, theirs) = (config.model.classes, sets.classes.len());
            let reason = format!("a model of {ours} classes, but {} has {theirs}", config.data);
            return Err(Error::format(folder.path(), reason));
        }
        if config.schedule == Schedule::Plateau && sets.watched().is_none() {
            let reason = format!("--schedule plateau watches a held-out split, and {} has none", config.data);
            return Err(Error::Usage(reason));
        }
        let normalisation = Normalisation::of(&sets.train);
        let mut weights =
            Weights::new(config.model, sets.classes.clone(), normalisation, config.seed, options.isa)?;
        weights.facts = Facts {
            data: config.data.clone(),
            images: sets.train.len(),
            seed: config.seed,
            moue: env!("CARGO_PKG_VERSION").to_owned(),
            ..Facts::default()
        };
        let state = State::new(config, sets.fingerprint());
        let mut session = Self::new(state, weights, sets, folder, options)?;
        session.folder.save_config(&session.state.config)?;
        session.introduce()?;
        Ok(session)
    }

    fn new(
        state: State,
        weights: Weights,
        sets: &'a Sets,
        folder: RunFolder,
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
        let mut trainer = Trainer::new(weights, &sets.train, &recipe, position, options.isa)?;
        trainer.set_cuts(progress.cuts);
        if progress.batch >= trainer.steps_per_epoch() {
            let (done, steps) = (progress.batch, trainer.steps_per_epoch());
            return Err(Error::format(folder.path(), format!("{done} steps into an epoch of {steps}")));
        }
        let steps = config.epochs.saturating_mul(trainer.steps_per_epoch() as u64);
        Ok(Self {
            console: Console::new(options.quiet, steps, progress.step),
            forward: Forward::new(config.model, &trainer.weights().params, options.isa)?,
            state,
            sets,
            folder,
            trainer,
            stop_after: options.stop_after,
            stop_at: options.stop_at,
            checkpoint_every: options.checkpoint_every,
            saved: Instant::now(),
            clock: Instant::now(),
        })
    }

    /// Starts the run of `config` in the folder at `path`, or goes on with what is there of it; `config` may ask for
    /// more epochs than it was started with. Then as [`Session::run`].
    ///
    /// # Errors
    /// As [`Session::start`], [`Resume::open`], [`Session::run`]; and a run of other options in the folder.
    pub fn run_in(
        path: &Path,
        config: Config,
        sets: &'a Sets,
        options: &Options,
        stop: &AtomicBool,
    ) -> Result<Report> {
        if !RunFolder::holds_run(path) {
            return Self::start(config, sets, RunFolder::create(path)?, options)?.run(stop);
        }
        let resume = Resume::open(path, Some(config.epochs))?;
        if *resume.config() != config {
            let reason = "was started with other options; repeat those, or choose another --out";
            return Err(Error::format(path, reason));
        }
        resume.session(sets, options)?.run(stop)
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
            self.folder.log(&format!("stopped: {error}")).ok();
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
            if (enough || stop.load(Ordering::Relaxed)) && !finished {
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
            result.save(&self.folder.best())?;
        }
        result.save(&self.folder.last())?;
        let row = self.row(accuracy);
        self.folder.save_metrics(&row)?;
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
        let accuracy = accuracy(&mut self.forward, &weights.params, faces, weights.normalisation)?;
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
            lr: self.trainer.lr(),
            seconds: progress.seconds,
        }
    }

    fn pause(&mut self) -> Result<()> {
        // The end of an epoch has written one already.
        if self.state.progress.batch > 0 {
            self.save_checkpoint()?;
        }
        let (step, folder) = (self.state.progress.step, self.folder.path().display());
        let text = format!("stopped after step {step}; continue with: moue train --resume {folder}");
        Err(Error::Interrupted(text))
    }

    fn save_checkpoint(&mut self) -> Result<()> {
        self.tick();
        let trainer = &self.trainer;
        self.state.save(self.folder.path(), trainer.weights(), trainer.optimizer(), trainer.average())?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Adds the time since the last call to the run's.
    fn tick(&mut self) {
        self.state.progress.seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
    }

    fn report(&mut self) -> Result<Report> {
        let weights = self.folder.best();
        let best = self.state.progress.best;
        let on_test = match (self.sets.tested(), self.sets.watched(), best) {
            (Some((tested, _)), Some((watched, _)), Some(best)) if tested == watched => {
                Some((*tested, best.accuracy))
            }
            (Some((split, faces)), ..) => {
                let Weights { params, normalisation, .. } = Weights::load(&weights)?;
                Some((*split, accuracy(&mut self.forward, &params, faces, normalisation)?))
            }
            (None, ..) => None,
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
            best_epoch: best.map(|b| b.epoch),
            images_per_second: progress.total.speed(),
            seconds: progress.seconds,
            weights,
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
            self.folder.path().display(),
        );
        self.say(&line)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        self.console.say(line);
        self.folder.log(line)
    }
}

/// Share of `faces` classified right, 0 to 1.
fn accuracy(
    forward: &mut Forward,
    params: &Params<f32>,
    faces: &Faces,
    normalisation: Normalisation,
) -> Result<f64> {
    forward.load(params)?;
    let classes = forward.classify(faces, normalisation)?;
    let right = classes.iter().zip(&faces.labels).filter(|(c, l)| **c == usize::from(**l)).count();
    Ok(right as f64 / faces.len() as f64)
}
