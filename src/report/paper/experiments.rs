//! The experiments that the paper's tables and figures need, and one change of its recipe at a time.

use crate::error::{Error, Result};
use crate::nn::{Architecture, Attention, CbamPosition, Loss, Model};
use crate::optim::Method;
use crate::train::{Augmentation, Config, Fold, Folding, Record, RunFolder, Schedule, Sets};
use crate::weights::Weights;
use moue_datasets::Dataset;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A data set of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Source {
    /// FER2013.
    #[serde(rename = "FER2013")]
    Fer2013,
    /// CK+.
    #[serde(rename = "CK+")]
    CkPlus,
}

impl Source {
    /// As the paper writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fer2013 => "FER2013",
            Self::CkPlus => "CK+",
        }
    }

    /// Epochs in the paper.
    fn epochs(self) -> u64 {
        match self {
            Self::Fer2013 => 120,
            Self::CkPlus => 300,
        }
    }
}

/// What is trained on and what is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The data set's own splits, one run a seed.
    Splits,
    /// Each fold of the training split in turn, all with the same number of fixed copies, made before (leaky) or after
    /// the cut; no copies mean new versions in every epoch.
    Folds {
        /// What is dealt.
        by: Folding,
        /// Fixed augmented copies of each image.
        copies: usize,
        /// Whether they are made before the cut.
        leaky: bool,
    },
}

/// Folds of every cross-validation here.
const FOLDS: usize = 5;

/// The experiment that each change of the recipe is compared with: DNN + CBAM with softmax.
pub(super) const BASE: &str = "fer-dnn-plus-cbam";

/// One of the paper's comparisons, or one of ours beside it.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Name of its folder, and for `--only`.
    pub name: &'static str,
    /// What the model is called in the paper, or what is changed.
    pub title: &'static str,
    /// Model; the number of classes is the data's.
    pub model: Model,
    /// Data set.
    pub source: Source,
    /// What is trained on and what is tested.
    pub protocol: Protocol,
    /// Runs with other seeds, from 0 on, where the protocol has one run a seed.
    pub seeds: u64,
    /// What is changed of the paper's recipe.
    pub change: fn(&mut Config),
    /// Whether the change is there to choose a recipe by.
    pub is_choice: bool,
}

/// One training of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Cut of the training split.
    pub fold: Option<Fold>,
    /// Seed of everything random.
    pub seed: u64,
}

const fn dnn(cbam: CbamPosition, loss: Loss) -> Model {
    Model::new(cbam, loss, 0)
}

const fn of(architecture: Architecture, cbam: CbamPosition, loss: Loss) -> Model {
    Model { architecture, ..Model::new(cbam, loss, 0) }
}

const fn fer(name: &'static str, title: &'static str, model: Model) -> Experiment {
    Experiment {
        name,
        title,
        model,
        source: Source::Fer2013,
        protocol: Protocol::Splits,
        seeds: 1,
        change: unchanged,
        is_choice: false,
    }
}

fn unchanged(_: &mut Config) {}

/// DNN + CBAM with one thing that the paper leaves out.
const fn beyond(name: &'static str, title: &'static str, change: fn(&mut Config)) -> Experiment {
    Experiment { change, is_choice: true, ..fer(name, title, dnn(CbamPosition::Block4, Loss::Softmax)) }
}

/// DNN-CBAM on each fold of `source` in turn.
const fn folds(name: &'static str, title: &'static str, source: Source, protocol: Protocol) -> Experiment {
    let model = dnn(CbamPosition::Block4, Loss::AM_SOFTMAX);
    Experiment { name, title, model, source, protocol, seeds: 1, change: unchanged, is_choice: false }
}

/// Folds of images, and of persons, that are trained on in new versions in every epoch.
const BY_IMAGE: Protocol = Protocol::Folds { by: Folding::Image, copies: 0, leaky: false };
const BY_PERSON: Protocol = Protocol::Folds { by: Folding::Subject, copies: 0, leaky: false };
/// Folds of images with fixed copies, made before the cut, and the same after it.
const LEAKY: Protocol = Protocol::Folds { by: Folding::Image, copies: Fold::PAPER_COPIES, leaky: true };
const COPIED: Protocol = Protocol::Folds { by: Folding::Image, copies: Fold::PAPER_COPIES, leaky: false };

/// All of them, in the order in which they are run: what the paper claims first.
pub const EXPERIMENTS: [Experiment; 31] = [
    fer("fer-dnn-cbam", "DNN-CBAM", dnn(CbamPosition::Block4, Loss::AM_SOFTMAX)),
    folds("ckplus-dnn-cbam", "DNN-CBAM", Source::CkPlus, BY_IMAGE),
    fer("fer-dnn", "DNN", dnn(CbamPosition::None, Loss::Softmax)),
    fer(BASE, "DNN + CBAM", dnn(CbamPosition::Block4, Loss::Softmax)),
    fer("fer-cnn-svm", "CNN-SVM", of(Architecture::Cnn, CbamPosition::None, Loss::Svm)),
    fer("fer-vgg", "VGG", of(Architecture::Vgg, CbamPosition::None, Loss::Softmax)),
    fer("fer-vgg-cbam", "VGG-CBAM", of(Architecture::Vgg, CbamPosition::Pools, Loss::Softmax)),
    fer("fer-cbam-none", "no CBAM", dnn(CbamPosition::None, Loss::AM_SOFTMAX)),
    fer("fer-cbam-input", "CBAM after the input module", dnn(CbamPosition::Input, Loss::AM_SOFTMAX)),
    fer("fer-cbam-block1", "CBAM after block 1", dnn(CbamPosition::Block1, Loss::AM_SOFTMAX)),
    fer("fer-cbam-block2", "CBAM after block 2", dnn(CbamPosition::Block2, Loss::AM_SOFTMAX)),
    fer("fer-cbam-block3", "CBAM after block 3", dnn(CbamPosition::Block3, Loss::AM_SOFTMAX)),
    folds("ckplus-by-person", "DNN-CBAM, nobody in both parts", Source::CkPlus, BY_PERSON),
    folds("ckplus-paper-folds", "DNN-CBAM, copies made before the cut (leak)", Source::CkPlus, LEAKY),
    folds("ckplus-same-copies", "DNN-CBAM, the same copies made after the cut", Source::CkPlus, COPIED),
    folds("fer-folds", "DNN-CBAM, five folds of the training images", Source::Fer2013, BY_IMAGE),
    beyond("beyond-cosine", "cosine schedule", |c| c.schedule = Schedule::Cosine),
    beyond("beyond-restarts", "warm restarts", |c| c.schedule = Schedule::Restarts),
    beyond("beyond-plateau", "halved on a plateau", |c| c.schedule = Schedule::Plateau),
    beyond("beyond-sgd", "SGD, Nesterov's momentum", |c| {
        (c.optimizer, c.lr) = (Method::Sgd, Method::Sgd.lr())
    }),
    beyond("beyond-decay", "AdamW, decay 0.1", |c| c.refinements.weight_decay = 0.1),
    beyond("beyond-smoothing", "label smoothing 0.1", |c| c.refinements.smoothing = 0.1),
    beyond("beyond-balance", "class-balanced sampling", |c| c.refinements.balance = true),
    beyond("beyond-erasing", "random erasing 0.25", |c| c.refinements.erase = 0.25),
    beyond("beyond-mixup", "mixup 0.2", |c| c.refinements.mixup = 0.2),
    beyond("beyond-wide", "wider ranges of augmentation", |c| c.augment = Augmentation::Wide),
    beyond("beyond-strong", "stronger augmentation", |c| c.augment = Augmentation::Strong),
    beyond("beyond-average", "averaged weights 0.999", |c| c.refinements.average = 0.999),
    beyond("beyond-deeper", "identity blocks", |c| c.model.identity_blocks = [1; 4]),
    beyond("beyond-wider", "blocks of 64, 128, 256, 256 channels", |c| {
        c.model.widths = Some([64, 128, 256, 256])
    }),
    beyond("beyond-se", "squeeze-and-excitation in place of CBAM", |c| c.model.attention = Attention::Se),
];

/// A data set as it was given.
#[derive(Clone, Debug)]
pub struct Data {
    /// `synthetic` or a path.
    pub spec: String,
    /// Most images of a split.
    pub limit: Option<usize>,
    /// The faces.
    pub dataset: Dataset,
}

/// The data sets that were given.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// FER2013, or what stands in for it.
    pub fer2013: Option<Data>,
    /// CK+, or what stands in for it.
    pub ckplus: Option<Data>,
}

impl Inputs {
    /// The data of `source`.
    pub fn get(&self, source: Source) -> Option<&Data> {
        match source {
            Source::Fer2013 => self.fer2013.as_ref(),
            Source::CkPlus => self.ckplus.as_ref(),
        }
    }
}

/// What an experiment's runs have left.
#[derive(Debug, Default)]
pub struct Found {
    /// Of those that have ended an epoch.
    pub records: Vec<Record>,
    /// Why others cannot be read.
    pub damaged: Vec<String>,
}

/// How far an experiment has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Epochs over in all of its runs that have had, or come to have, just as many as they are to have.
    pub epochs: u64,
    /// Epochs that they are to have together.
    pub of: u64,
    /// Its other runs: longer ones, and those whose learning rate was laid out for another length.
    pub other_length: usize,
    /// Why it cannot be run: its data is not given, or has not what is needed.
    pub missing: Option<String>,
}

impl Progress {
    /// In one word.
    pub fn state(&self) -> State {
        match (self.epochs, &self.missing) {
            (epochs, _) if epochs >= self.of => State::Finished,
            (0, _) if self.other_length > 0 => State::OtherLength,
            (0, Some(_)) => State::MissingData,
            (0, None) => State::NotRun,
            _ => State::Begun,
        }
    }
}

/// How far an experiment has come, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All of its runs have had their epochs.
    Finished,
    /// Some epochs are over.
    Begun,
    /// What there is are runs of another length.
    OtherLength,
    /// No epoch is over.
    NotRun,
    /// Nor can there be one.
    MissingData,
}

impl State {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Begun => "begun",
            Self::OtherLength => "other length",
            Self::NotRun => "not run",
            Self::MissingData => "missing data",
        }
    }
}

impl Experiment {
    /// Its runs.
    pub fn runs(&self) -> Vec<Run> {
        match self.protocol {
            Protocol::Splits => (0..self.seeds).map(|seed| Run { fold: None, seed }).collect(),
            Protocol::Folds { by, copies, leaky } => {
                let fold = |index| Some(Fold { copies, leaky, ..Fold::new(FOLDS, index, by) });
                (0..FOLDS).map(|index| Run { fold: fold(index), seed: 0 }).collect()
            }
        }
    }

    /// Folder of one of its runs, below `out`.
    pub fn folder(&self, out: &Path, run: Run) -> PathBuf {
        match run {
            Run { fold: Some(fold), .. } => out.join(self.name).join(format!("fold{}", fold.index)),
            Run { seed: 0, .. } => out.join(self.name),
            Run { seed, .. } => out.join(format!("{}-seed{seed}", self.name)),
        }
    }

    /// Epochs: the paper's, or `epochs`.
    pub fn epochs(&self, epochs: Option<u64>) -> u64 {
        epochs.unwrap_or(self.source.epochs())
    }

    /// One of its runs on `data`, by the paper's recipe but for the experiment's change.
    pub fn config(&self, data: &Data, Run { fold, seed }: Run, epochs: u64) -> Config {
        let model = Model { classes: data.dataset.classes.len(), ..self.model };
        let paper = Config::paper(data.spec.clone(), model, epochs);
        let mut config = Config { limit: data.limit, fold, seed, ..paper };
        (self.change)(&mut config);
        config
    }

    /// Why it cannot be run on `inputs`.
    pub fn missing(&self, inputs: &Inputs) -> Option<String> {
        let source = self.source.name();
        let Some(data) = inputs.get(self.source) else { return Some(format!("no {source} was given")) };
        let by_person = matches!(self.protocol, Protocol::Folds { by: Folding::Subject, .. });
        if by_person && data.dataset.train.subjects.is_none() {
            return Some(format!("{} does not tell who is on an image", data.spec));
        }
        if data.dataset.train.is_empty() {
            return Some(format!("{} has no training split", data.spec));
        }
        let held_out = data.dataset.validation.is_some() || data.dataset.test.is_some();
        (self.protocol == Protocol::Splits && !held_out)
            .then(|| format!("{} has neither a validation nor a test split", data.spec))
    }

    /// What `run` has left below `out`.
    ///
    /// # Errors
    /// A folder whose files cannot be read.
    pub fn record(&self, out: &Path, run: Run) -> Result<Option<Record>> {
        let path = self.folder(out, run);
        RunFolder::holds_run(&path).then(|| Record::read(&path)).transpose()
    }

    /// Its runs below `out` that have ended an epoch, and what is wrong with those that cannot be read.
    ///
    /// # Errors
    /// If there are data to tell, a run of other options, or one that was trained on other images.
    pub fn found(&self, out: &Path, inputs: &Inputs) -> Result<Found> {
        let (data, mut found) = (inputs.get(self.source), Found::default());
        for run in self.runs() {
            match self.record(out, run) {
                Ok(Some(record)) if !record.rows.is_empty() => {
                    data.map_or(Ok(()), |data| self.check(&record, run, data))?;
                    found.records.push(record);
                }
                Ok(_) => {}
                Err(error) => found.damaged.push(error.to_string()),
            }
        }
        Ok(found)
    }

    /// Checks that `record` is of `run` on `data`: without its weights by the options alone.
    fn check(&self, record: &Record, run: Run, data: &Data) -> Result<()> {
        // There may have been fewer epochs.
        if !record.config.agrees_with(&self.config(data, run, record.config.epochs)) {
            return Err(Error::other_options(&record.path));
        }
        // Damaged ones cost their own row, in the report.
        let Ok(weights) = Weights::load(&record.last()) else { return Ok(()) };
        if Sets::new(data.dataset.clone(), &record.config)?.trained_on(&weights.facts) {
            return Ok(());
        }
        let reason = format!("was not trained on the images of {}; choose another --out", data.spec);
        Err(Error::format(&record.path, reason))
    }

    /// How far it has come with `records`, if each run is to have `epochs`.
    pub fn progress(&self, records: &[Record], inputs: &Inputs, epochs: Option<u64>) -> Progress {
        let wanted = self.epochs(epochs);
        let (right, others): (Vec<&Record>, Vec<_>) =
            records.iter().partition(|record| record.leads_to(wanted));
        Progress {
            epochs: right.iter().map(|record| record.epochs()).sum(),
            of: wanted * self.runs().len() as u64,
            other_length: others.len(),
            missing: self.missing(inputs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moue_datasets::OpenOptions;
    use std::collections::BTreeSet;

    fn few_faces() -> Dataset {
        let options = OpenOptions { synthetic_per_class: 5, ..OpenOptions::default() };
        Dataset::open("synthetic", &options).unwrap()
    }

    #[test]
    fn experiments_can_be_told_apart_and_run() {
        let names: BTreeSet<&str> = EXPERIMENTS.iter().map(|e| e.name).collect();
        assert_eq!(names.len(), EXPERIMENTS.len());
        let data = Data { spec: "synthetic".into(), limit: Some(70), dataset: few_faces() };
        for experiment in EXPERIMENTS {
            for run in experiment.runs() {
                let config = experiment.config(&data, run, 1);
                assert_eq!(config.check(), Ok(()), "{}", experiment.name);
            }
        }
    }

    #[test]
    fn every_run_has_a_folder_and_a_seed_of_its_own() {
        let mut folders = BTreeSet::new();
        let experiments = EXPERIMENTS.map(|e| Experiment { seeds: 3, ..e });
        let runs = experiments.iter().flat_map(|e| e.runs().into_iter().map(move |run| (e, run)));
        for (experiment, run) in runs {
            assert!(folders.insert(experiment.folder(Path::new("out"), run)), "{}: {run:?}", experiment.name);
        }
        assert_eq!(folders.len(), 26 * 3 + 5 * FOLDS);
    }

    #[test]
    fn what_is_missing_is_told() {
        let named = |name| EXPERIMENTS.into_iter().find(|e| e.name == name).unwrap();
        let progress = |name, inputs: &Inputs| named(name).progress(&[], inputs, None);
        let nothing = progress("ckplus-dnn-cbam", &Inputs::default());
        assert_eq!((nothing.state(), nothing.of), (State::MissingData, 1500));
        assert_eq!(nothing.missing.as_deref(), Some("no CK+ was given"));
        let data = Data { spec: "synthetic".into(), limit: None, dataset: few_faces() };
        let train_only = Dataset { validation: None, test: None, ..data.dataset.clone() };
        let train_only = Data { dataset: train_only, ..data.clone() };
        let inputs = Inputs { fer2013: Some(train_only), ckplus: None };
        assert!(progress("fer-dnn", &inputs).missing.unwrap().contains("neither a validation"));
        assert_eq!(progress("fer-folds", &inputs).state(), State::NotRun);
        let inputs = Inputs { fer2013: None, ckplus: Some(data) };
        assert_eq!(progress("ckplus-dnn-cbam", &inputs).state(), State::NotRun);
        assert!(progress("ckplus-by-person", &inputs).missing.unwrap().contains("who is on an image"));
        assert_eq!(progress("fer-dnn", &inputs).state(), State::MissingData);
    }
}
