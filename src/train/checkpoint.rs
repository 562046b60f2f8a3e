//! Everything that a run needs to continue bit for bit.
//!
//! A file is the magic `MOUECKP1`, the CRC-32 of the rest (little-endian), and a safetensors archive: parameters
//! and running buffers under their names, the optimiser's moments (Adam's `adam.m` and `adam.v`, or
//! `sgd.momentum`), the moving average of the weights `average.values` and `average.buffers` if the run has one, and a
//! JSON description. A run keeps the newest two, so that one is always complete and a damaged one can be replaced.

use super::average::Average;
use super::config::MAX_STEPS;
use super::{Config, Progress, Sets};
use crate::archive::{MAX_BYTES, Reader, Writer, not_finite};
use crate::error::{Error, Result};
use crate::files::{Staged, read_file};
use crate::optim::Optimizer;
use crate::weights::{Facts, Weights};
use moue_datasets::Normalisation;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"MOUECKP1";

/// What a run is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) progress: Progress,
    /// Checksum of the training data.
    pub(crate) data: u32,
    /// Checksum of what is held out; none in checkpoints that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<u32>,
    /// Checksum of the teachers, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) teachers: Option<u32>,
    /// Instruction set of the process that wrote it; none in checkpoints that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) isa: Option<String>,
}

/// What the file describes itself with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    state: State,
    classes: Vec<String>,
    mean: f32,
    std: f32,
    facts: Facts,
    #[serde(alias = "adam_steps")]
    optimizer_steps: u64,
}

impl Header {
    /// Checks that a run can have written this.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { state, optimizer_steps, .. } = self;
        state.config.check()?;
        state.progress.check(&state.config)?;
        match *optimizer_steps {
            0..=MAX_STEPS => Ok(()),
            steps => Err(format!("a run cannot have {steps} steps of the optimiser")),
        }
    }
}

/// A state with the numbers that belong to it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) weights: Weights,
    optimizer_steps: u64,
    /// As [`Optimizer::moments`] orders them.
    moments: Vec<Vec<f32>>,
    average: Option<Average>,
}

impl State {
    /// The start of a run.
    pub(crate) fn new(config: Config, sets: &Sets) -> Self {
        let (data, held) = (sets.fingerprint(), Some(sets.held_fingerprint()));
        Self { config, progress: Progress::default(), data, held, teachers: None, isa: None }
    }

    /// Whether these are the images that the run was started with.
    pub(crate) fn began_on(&self, sets: &Sets) -> bool {
        self.data == sets.fingerprint() && self.held.is_none_or(|held| held == sets.held_fingerprint())
    }

    /// Writes the newest checkpoint of the run in `folder`; what was the newest becomes the previous one.
    pub(crate) fn save(
        &self,
        folder: &Path,
        weights: &Weights,
        optimizer: &Optimizer,
        average: Option<&Average>,
    ) -> Result<()> {
        let [newest, previous] = files(folder);
        let broken_moment = || {
            let mut moments = optimizer.moments().into_iter();
            moments.find(|(_, values)| !values.iter().all(|x| x.is_finite())).map(|(name, _)| name)
        };
        let broken = not_finite(&weights.params).or_else(broken_moment);
        if let Some(name) = broken {
            let path = newest.display();
            return Err(Error::NotFinite(format!("{path}: not written, as `{name}` is not finite")));
        }
        let staged = Staged::write(&newest, &self.to_bytes(weights, optimizer, average))?;
        if newest.exists() {
            fs::rename(&newest, &previous).map_err(Error::io(&previous))?;
        }
        staged.publish()
    }

    pub(crate) fn to_bytes(
        &self,
        weights: &Weights,
        optimizer: &Optimizer,
        average: Option<&Average>,
    ) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.params(&weights.params);
        for (name, values) in optimizer.moments() {
            writer.tensor(name, &[values.len()], values);
        }
        if let Some(Average { values, buffers, .. }) = average {
            writer.tensor("average.values", &[values.len()], values);
            writer.tensor("average.buffers", &[buffers.len()], buffers);
        }
        let body = writer.finish(&Header {
            state: self.clone(),
            classes: weights.classes.clone(),
            mean: weights.normalisation.mean,
            std: weights.normalisation.std,
            facts: weights.facts.clone(),
            optimizer_steps: optimizer.steps(),
        });
        [&MAGIC[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
    }
}

impl Checkpoint {
    /// The newest checkpoint of the run in `folder` that is complete, and a warning if it is not the newest one.
    pub(crate) fn load(folder: &Path) -> Result<(Self, Option<String>)> {
        let [newest, previous] = files(folder);
        if !exists(folder) {
            return Err(Error::format(folder, "no checkpoint to resume from"));
        }
        match Self::read(&newest) {
            Ok(checkpoint) => Ok((checkpoint, None)),
            Err(error) => match Self::read(&previous) {
                Ok(checkpoint) => {
                    let progress = &checkpoint.state.progress;
                    let warning =
                        format!("{error}; continuing from step {} of the previous one", progress.step);
                    Ok((checkpoint, Some(warning)))
                }
                Err(_) => Err(error),
            },
        }
    }

    fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &read_file(path, MAX_BYTES)?)
    }

    /// Reads `bytes`, which came from `path`.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let wrong = |reason: &str| Error::format(path, reason);
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| wrong("not a checkpoint"))?;
        let (sum, body) = rest.split_first_chunk().ok_or_else(|| wrong("not a checkpoint"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(wrong("the checkpoint is damaged (its checksum does not fit)"));
        }
        Self::from_archive(path, body)
    }

    /// Reads what stands behind the checksum.
    pub(crate) fn from_archive(path: &Path, archive: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(path, archive)?;
        let header: Header = reader.header()?;
        header.check().map_err(|reason| Error::format(path, reason))?;
        let Header { state, classes, mean, std, facts, optimizer_steps } = header;
        let normalisation = Normalisation { mean, std };
        let weights = Weights::read(&mut reader, state.config.model, classes, normalisation, facts)?;
        let len = weights.params.values.len();
        let mut moments = Vec::new();
        for name in state.config.optimizer.moments() {
            let mut values = vec![0.0; len];
            reader.take(name, &[len], &mut values)?;
            moments.push(values);
        }
        let decay = state.config.refinements.average;
        let mut average = (decay > 0.0).then(|| Average::new(decay, &weights.params));
        if let Some(Average { values, buffers, .. }) = &mut average {
            reader.take("average.values", &[values.len()], values)?;
            reader.take("average.buffers", &[buffers.len()], buffers)?;
        }
        reader.finish()?;
        Ok(Self { state, weights, optimizer_steps, moments, average })
    }

    /// Gives an optimiser of these weights the stored moments and count of steps.
    pub(crate) fn restore(&self, optimizer: &mut Optimizer) {
        let fits = optimizer.restore(self.optimizer_steps, &self.moments);
        assert!(fits, "moments were read with the length of these parameters");
    }

    /// The stored moving average of the weights, if the run has one.
    pub(crate) fn average(&self) -> Option<&Average> {
        self.average.as_ref()
    }
}

/// Whether the run in `folder` has written a checkpoint yet.
pub(crate) fn exists(folder: &Path) -> bool {
    files(folder).iter().any(|file| file.exists())
}

/// Removes the newest checkpoint, which is damaged, of the run in `folder`; the one before it stays.
pub(crate) fn remove_newest(folder: &Path) -> Result<()> {
    let [newest, _] = files(folder);
    if newest.exists() { fs::remove_file(&newest).map_err(Error::io(&newest)) } else { Ok(()) }
}

/// The newest checkpoint and the one before it.
pub(crate) fn files(folder: &Path) -> [PathBuf; 2] {
    ["checkpoint.bin", "checkpoint-previous.bin"].map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CbamPosition, Loss, Model};
    use crate::optim::Method;
    use crate::train::{Refinements, Schedule};
    use moue_kernels::Isa;

    fn state() -> (State, Weights, Optimizer, Average) {
        let model = Model::new(CbamPosition::None, Loss::Softmax, 2);
        let classes = vec!["happy".to_owned(), "sad".to_owned()];
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        let weights = Weights::new(model, classes, normalisation, 1, Isa::fastest()).unwrap();
        let mut adam = Optimizer::new(Method::Adam, &weights.params, 0.1, Isa::fastest());
        let ones = vec![1.5; weights.params.values.len()];
        assert!(adam.restore(7, &[ones.clone(), ones]));
        let config = Config {
            lr: 0.1 + 0.2,
            schedule: Schedule::Cosine,
            seed: u64::MAX,
            refinements: Refinements { average: 0.5, ..Refinements::default() },
            ..Config::paper("synthetic", model, 3)
        };
        let mut average = Average::new(0.5, &weights.params);
        average.values[3] += 0.25;
        let state = State {
            config,
            progress: Progress::default(),
            data: 5,
            held: Some(6),
            teachers: None,
            isa: None,
        };
        (state, weights, adam, average)
    }

    #[test]
    fn a_round_trip_keeps_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, weights, adam, average) = state();
        state.progress.tally.loss = 0.1 + 0.7;
        state.save(folder.path(), &weights, &adam, Some(&average)).unwrap();
        let (loaded, warning) = Checkpoint::load(folder.path()).unwrap();
        assert!(warning.is_none());
        assert_eq!((&loaded.state.config, &loaded.state.progress), (&state.config, &state.progress));
        let mut restored = Optimizer::new(Method::Adam, &loaded.weights.params, 0.1, Isa::fastest());
        loaded.restore(&mut restored);
        assert_eq!((restored.steps(), restored.moments()), (adam.steps(), adam.moments()));
        let again = loaded.state.to_bytes(&loaded.weights, &restored, loaded.average());
        assert!(again == state.to_bytes(&weights, &adam, Some(&average)));
    }

    #[test]
    fn the_previous_one_steps_in_for_a_damaged_or_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, weights, adam, average) = state();
        for step in [10, 20] {
            state.progress.step = step;
            state.save(folder.path(), &weights, &adam, Some(&average)).unwrap();
        }
        let [newest, _] = files(folder.path());
        let good = fs::read(&newest).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [&flipped[..], &good[..good.len() - 1], &good[..10], b"", b"something else"] {
            fs::write(&newest, bad).unwrap();
            let (loaded, warning) = Checkpoint::load(folder.path()).unwrap();
            assert_eq!(loaded.state.progress.step, 10);
            assert!(warning.unwrap().contains("continuing from step 10"));
        }
        // It does not take the place of the one that is whole.
        remove_newest(folder.path()).unwrap();
        state.save(folder.path(), &weights, &adam, Some(&average)).unwrap();
        fs::write(&newest, "damaged").unwrap();
        assert_eq!(Checkpoint::load(folder.path()).unwrap().0.state.progress.step, 10);
        // A crash between the two renames.
        fs::remove_file(&newest).unwrap();
        assert_eq!(Checkpoint::load(folder.path()).unwrap().0.state.progress.step, 10);
    }

    #[test]
    fn a_broken_state_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (state, mut weights, adam, average) = state();
        state.save(folder.path(), &weights, &adam, Some(&average)).unwrap();
        let [newest, _] = files(folder.path());
        let before = fs::read(&newest).unwrap();
        weights.params.get_mut("head.weight").unwrap()[0] = f32::INFINITY;
        let error = state.save(folder.path(), &weights, &adam, Some(&average)).unwrap_err().to_string();
        assert!(error.contains("`head.weight` is not finite"), "{error}");
        assert!(fs::read(&newest).unwrap() == before);
        let message = Checkpoint::load(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(message.contains("no checkpoint"), "{message}");
    }
}
