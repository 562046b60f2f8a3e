//! Everything that a run needs to continue bit for bit.
//!
//! A file is the magic `MOUECKP1`, the CRC-32 of the rest (little-endian), and a safetensors archive: parameters
//! and running buffers under their names, Adam's moments `adam.m` and `adam.v`, and a JSON description. A run
//! keeps the newest two, so that one is always complete and a damaged one can be replaced.

use crate::archive::{Reader, Writer, not_finite, read_file};
use crate::error::{Error, Result};
use crate::files::Staged;
use crate::optim::Adam;
use crate::train::{Config, Progress};
use crate::weights::{Facts, Weights};
use moue_datasets::Normalisation;
use moue_kernels::Isa;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"MOUECKP1";

/// What a run is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) progress: Progress,
    /// Checksum of the training data.
    pub(crate) data: u32,
}

/// What the file describes itself with.
#[derive(Serialize, Deserialize)]
struct Header {
    state: State,
    classes: Vec<String>,
    mean: f32,
    std: f32,
    facts: Facts,
    adam_steps: u64,
}

/// A state with the numbers that belong to it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) weights: Weights,
    adam_steps: u64,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl State {
    /// The start of a run.
    pub(crate) fn new(config: Config, data: u32) -> Self {
        Self { config, progress: Progress::default(), data }
    }

    /// Writes the newest checkpoint of the run in `folder`; what was the newest becomes the previous one.
    pub(crate) fn save(&self, folder: &Path, weights: &Weights, adam: &Adam) -> Result<()> {
        let [newest, previous] = files(folder);
        let (_, m, v) = adam.state();
        let finite = |x: &[f32]| x.iter().all(|x| x.is_finite());
        let broken = not_finite(&weights.params).or((!finite(m) || !finite(v)).then_some("Adam's moments"));
        if let Some(name) = broken {
            let path = newest.display();
            return Err(Error::NotFinite(format!("{path}: not written, as `{name}` is not finite")));
        }
        let staged = Staged::write(&newest, &self.to_bytes(weights, adam))?;
        if newest.exists() {
            fs::rename(&newest, &previous).map_err(Error::io(&previous))?;
        }
        staged.publish()
    }

    fn to_bytes(&self, weights: &Weights, adam: &Adam) -> Vec<u8> {
        let (adam_steps, m, v) = adam.state();
        let mut writer = Writer::default();
        writer.params(&weights.params);
        writer.tensor("adam.m", &[m.len()], m);
        writer.tensor("adam.v", &[v.len()], v);
        let body = writer.finish(&Header {
            state: self.clone(),
            classes: weights.classes.clone(),
            mean: weights.normalisation.mean,
            std: weights.normalisation.std,
            facts: weights.facts.clone(),
            adam_steps,
        });
        [&MAGIC[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
    }
}

impl Checkpoint {
    /// The newest checkpoint of the run in `folder` that is complete, and a warning if it is not the newest one.
    pub(crate) fn load(folder: &Path) -> Result<(Self, Option<String>)> {
        let [newest, previous] = files(folder);
        if !newest.exists() && !previous.exists() {
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
        let bytes = read_file(path)?;
        let not_one = || Error::format(path, "not a checkpoint");
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(not_one)?;
        let (sum, body) = rest.split_first_chunk().ok_or_else(not_one)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Error::format(path, "the checkpoint is damaged (its checksum does not fit)"));
        }
        let mut reader = Reader::new(path, body)?;
        let Header { state, classes, mean, std, facts, adam_steps } = reader.header()?;
        let normalisation = Normalisation { mean, std };
        let mut weights = Weights::new(state.config.model, classes, normalisation, 0, Isa::fastest())?;
        weights.facts = facts;
        reader.params(&mut weights.params)?;
        let len = Adam::new(&weights.params, state.config.lr, Isa::fastest()).state().1.len();
        let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
        reader.take("adam.m", &[len], &mut m)?;
        reader.take("adam.v", &[len], &mut v)?;
        reader.finish()?;
        Ok(Self { state, weights, adam_steps, m, v })
    }

    /// Gives an optimiser of these weights the stored moments and count of steps.
    pub(crate) fn restore(&self, adam: &mut Adam) {
        let fits = adam.restore(self.adam_steps, &self.m, &self.v);
        assert!(fits, "moments were read with the length of these parameters");
    }
}

/// The newest checkpoint and the one before it.
pub(crate) fn files(folder: &Path) -> [PathBuf; 2] {
    ["checkpoint.bin", "checkpoint-previous.bin"].map(|name| folder.join(name))
}
