//! Continuing a run.

use super::checkpoint::{self, Checkpoint, State};
use super::folder::BEST;
use super::{Config, Options, RunFolder, Session, Sets};
use crate::error::{Error, Result};
use crate::output::errln;
use crate::parallel::Cooperation;
use crate::weights::Weights;
use std::path::{Path, PathBuf};

/// A stopped run on its way to be continued.
#[derive(Debug)]
pub struct Resume {
    path: PathBuf,
    /// Of the process that writes files.
    folder: Option<RunFolder>,
    config: Config,
    /// With a warning if it is not the newest; none if the run was killed before it wrote its first one.
    checkpoint: Option<(Checkpoint, Option<String>)>,
}

impl Resume {
    /// Reads the newest complete checkpoint of the run in `path`; `epochs` replaces the number it was to have. A run
    /// that was killed before its first checkpoint starts again. With `leads`, this process is to write the run's files.
    ///
    /// # Errors
    /// No run there, another process working on it, no complete checkpoint, or fewer epochs than are finished.
    pub fn open(path: &Path, epochs: Option<u64>, leads: bool) -> Result<Self> {
        let folder = if leads { Some(RunFolder::open(path)?) } else { None };
        // The first epoch's files are there before its checkpoint. A run that came further has lost its checkpoints:
        // starting again would overwrite its weights.
        let lost = RunFolder::epochs_recorded(path)? > 1;
        let checkpoint = match checkpoint::exists(path) || lost {
            true => Some(Checkpoint::load(path)?),
            false => None,
        };
        let (mut config, done) = match &checkpoint {
            Some((Checkpoint { state, .. }, _)) => (state.config.clone(), state.progress.epoch),
            None => (RunFolder::load_config(path)?, 0),
        };
        config.epochs = epochs.unwrap_or(config.epochs);
        if config.epochs < done {
            let wanted = config.epochs;
            return Err(Error::Usage(format!("--epochs {wanted}: {done} are finished already")));
        }
        Ok(Self { path: path.to_owned(), folder, config, checkpoint })
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
        let Self { path, mut folder, config, checkpoint } = self;
        let Some((checkpoint, warning)) = checkpoint else {
            config.check_classes(sets).map_err(|reason| Error::format(path, reason))?;
            return Session::begin(config, sets, || Ok(folder), options);
        };
        let mut state = State { config, ..checkpoint.state.clone() };
        if !state.began_on(sets) || sets.classes != checkpoint.weights.classes {
            let reason = format!("{}: not the images that the run was started with", state.config.data);
            return Err(Error::format(path, reason));
        }
        if folder.is_some() && warning.is_some() {
            // Else the next one would be written over the one that is whole.
            checkpoint::remove_newest(&path)?;
        }
        let mut warnings = Vec::from_iter(warning);
        let isa = options.isa.name();
        let other_isa = state.isa.as_ref().filter(|began| *began != isa);
        if let Some(began) = other_isa {
            warnings.push(format!(
                "begun with {began}, continued with {isa}: the result will have the bits of neither alone"
            ));
        }
        let best = path.join(BEST);
        // To the same bits, that is.
        let redone = state.config == checkpoint.state.config
            && other_isa.is_none()
            && state.config.cooperation == Cooperation::default();
        if let Some(reason) =
            state.progress.best.and_then(|b| unusable(&best, b.epoch, state.progress.epoch, redone))
        {
            let left = match state.progress.epoch >= state.config.epochs {
                true => "the last epoch's weights stand for it",
                false => "the best epoch is sought anew",
            };
            warnings.push(format!("{reason}; {left}"));
            state.progress.best = None;
        }
        if let Some(folder) = &mut folder {
            for warning in &warnings {
                errln!("moue: warning: {warning}");
                folder.log(&format!("warning: {warning}"))?;
            }
        }
        let weights = checkpoint.weights.clone();
        let mut session = Session::new(state, weights, sets, folder, options)?;
        checkpoint.restore(session.trainer.optimizer_mut());
        session.trainer.set_average(checkpoint.average().cloned());
        session.compare()?;
        session.save_config()?;
        if session.state.config != checkpoint.state.config {
            // A process that is killed before the next checkpoint must not forget what it was asked for.
            session.save_checkpoint()?;
        }
        session.say(&format!("resumed at step {}", session.state.progress.step))?;
        Ok(session)
    }
}

/// Why the weights at `path` are not those of the best epoch `best` of `over`. Those of a later one are there where
/// checkpoints were lost since; if that epoch is `redone`, to the same bits, they will be right again.
fn unusable(path: &Path, best: u64, over: u64, redone: bool) -> Option<String> {
    if !path.exists() {
        return Some(format!("{}: missing", path.display()));
    }
    match Weights::load(path) {
        Ok(weights) if weights.facts.epochs == best || redone && weights.facts.epochs > over => None,
        Ok(weights) => {
            let epoch = weights.facts.epochs;
            Some(format!("{}: of epoch {epoch}, and not of the best one, {best}", path.display()))
        }
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CbamPosition, Loss, Model};
    use moue_datasets::{Dataset, OpenOptions};
    use moue_kernels::Isa;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    /// A run of one epoch in the folder `path`, and what it was started with.
    fn finished(path: &Path) -> (Sets, Options) {
        let model = Model::new(CbamPosition::None, Loss::Softmax, 7);
        let config = Config { batch: 8, ..Config::paper("synthetic", model, 1) };
        let data = OpenOptions { synthetic_per_class: 1, ..OpenOptions::default() };
        let sets = Sets::new(Dataset::open("synthetic", &data).unwrap(), &config).unwrap();
        let options = Options {
            isa: Isa::fastest(),
            quiet: true,
            stop_after: None,
            stop_at: None,
            checkpoint_every: Duration::from_secs(60),
            team: None,
        };
        Session::run_in(path, config, &sets, &options, &AtomicBool::new(false)).unwrap();
        (sets, options)
    }

    /// Killed right after it was asked for more epochs, a run that was finished still has them to do.
    #[test]
    fn epochs_that_were_asked_for_are_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (sets, options) = finished(&path);
        drop(Resume::open(&path, Some(3), true).unwrap().session(&sets, &options).unwrap());
        assert_eq!(Resume::open(&path, None, true).unwrap().config().epochs, 3);
    }

    /// A checkpoint was lost, and the best weights are of an epoch after it: only where the same epoch comes again they
    /// are what the run will say of them.
    #[test]
    fn weights_of_an_abandoned_epoch_are_not_the_best() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (sets, options) = finished(&path);
        let best_after = |epochs, isa, written: Option<u64>| {
            if let Some(epoch) = written {
                let mut weights = Weights::load(&path.join(BEST)).unwrap();
                weights.facts.epochs = epoch;
                weights.save(&path.join(BEST)).unwrap();
            }
            let options = Options { isa, ..options.clone() };
            let session = Resume::open(&path, epochs, true).unwrap().session(&sets, &options).unwrap();
            session.state.progress.best.map(|best| best.epoch)
        };
        let (same, portable) = (options.isa, Isa::by_name("portable").unwrap());
        assert_eq!(best_after(None, same, None), Some(1));
        assert_eq!(best_after(None, same, Some(2)), Some(1));
        assert_eq!(best_after(None, portable, Some(2)), Some(1).filter(|_| same.name() == portable.name()));
        assert_eq!(best_after(Some(3), same, Some(2)), None);
    }

    #[test]
    fn another_instruction_set_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (sets, options) = finished(&path);
        let log = || std::fs::read_to_string(path.join("log.txt")).unwrap();
        drop(Resume::open(&path, None, true).unwrap().session(&sets, &options).unwrap());
        assert!(!log().contains("begun with"), "{}", log());
        let portable = Isa::by_name("portable").unwrap();
        let options = Options { isa: portable, ..options };
        drop(Resume::open(&path, None, true).unwrap().session(&sets, &options).unwrap());
        assert_eq!(log().contains("begun with"), Isa::fastest().name() != portable.name(), "{}", log());
    }

    #[test]
    fn damaged_weights_are_not_the_best() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let (sets, options) = finished(&path);
        std::fs::write(path.join(BEST), "damaged").unwrap();
        let mut session = Resume::open(&path, None, true).unwrap().session(&sets, &options).unwrap();
        assert_eq!(session.state.progress.best, None);
        // The last ones stand for them.
        let report = session.run(&AtomicBool::new(false)).unwrap();
        assert_eq!((report.best_epoch, report.weights), (None, path.join("last.safetensors")));
        assert_eq!(report.test_accuracy, report.last_accuracy);
    }
}
