//! The paper's tables and figures beside what was measured here, and what one change of its recipe at a time does.
//!
//! Of the paper only what is known is told: where it is silent the report says `not stated here`, and where nothing
//! was run `not run`.

mod experiments;
mod items;
mod platform;

pub use experiments::{Data, EXPERIMENTS, Experiment, Inputs, Progress, Protocol, Run, Source};

use super::run::{Evaluated, Mistake};
use super::{Document, Table, mean_and_deviation};
use crate::error::{Error, Result};
use crate::train::{Record, Sets};
use moue_kernels::Isa;
use std::path::Path;

const NOT_STATED: &str = "not stated here";
const NOT_RUN: &str = "not run";

/// What an experiment came to.
#[derive(Debug)]
pub struct Outcome {
    /// Which one.
    pub experiment: Experiment,
    /// How far it has come.
    pub progress: Progress,
    /// Its runs that have ended an epoch.
    pub records: Vec<Record>,
    /// Their weights on what they are tested on; nothing without the data.
    pub evaluated: Vec<Evaluated>,
}

impl Outcome {
    /// Measures what `experiment` has left below `out`, on `inputs`; `epochs` is what each run is to have.
    ///
    /// Where a run's best epoch was chosen by the images that it is tested on, the weights of its last epoch are
    /// measured.
    ///
    /// # Errors
    /// Files of a run that cannot be read, or that are of other data.
    pub fn of(
        experiment: Experiment,
        out: &Path,
        inputs: &Inputs,
        epochs: Option<u64>,
        isa: Isa,
    ) -> Result<Self> {
        let progress = experiment.progress(out, inputs, epochs)?;
        let records = experiment.records(out)?;
        let mut evaluated = Vec::new();
        if let Some(data) = inputs.get(experiment.source) {
            for record in &records {
                let sets = Sets::new(data.dataset.clone(), &record.config)?;
                let chosen_elsewhere = sets.watched().map(|s| s.0) != sets.tested().map(|s| s.0);
                let weights = if chosen_elsewhere { record.best() } else { record.last() };
                let measured = Evaluated::measure(&weights, &sets, None, &data.spec, isa)?;
                let (trained, found) = (measured.facts.images, sets.train.len());
                if trained != found {
                    let reason =
                        format!("trained on {trained} images, but {} has {found} to train on", data.spec);
                    return Err(Error::format(&record.path, reason));
                }
                evaluated.push(measured);
            }
        }
        Ok(Self { experiment, progress, records, evaluated })
    }

    /// Accuracy of each run, 0 to 1.
    pub fn accuracies(&self) -> Vec<f64> {
        self.evaluated.iter().map(|e| e.confusion().accuracy()).collect()
    }

    /// Mean accuracy over the runs and, of more than one, the standard deviation of a sample.
    pub fn accuracy(&self) -> Option<(f64, Option<f64>)> {
        let (mean, deviation) = mean_and_deviation(&self.accuracies());
        match self.evaluated.len() {
            0 => None,
            1 => Some((mean, None)),
            _ => Some((mean, Some(deviation))),
        }
    }

    /// Images tested, over all runs.
    fn images(&self) -> usize {
        self.evaluated.iter().map(|e| e.scored.images()).sum()
    }

    /// Epochs, seed, split, images and weights of the accuracy.
    fn provenance(&self) -> Option<String> {
        let first = self.evaluated.first()?;
        if self.evaluated.len() == 1 && self.experiment.runs().len() == 1 {
            return Some(first.provenance());
        }
        let runs = self.evaluated.iter().map(|e| e.facts.epochs);
        let (least, most) = runs.fold((u64::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
        let epochs = if least == most { least.to_string() } else { format!("{least} to {most}") };
        let (runs, of, images) = (self.evaluated.len(), self.experiment.runs().len(), self.images());
        let folder = first.weights.parent().unwrap_or(Path::new(""));
        let file = first.weights.file_name().unwrap_or_default().to_string_lossy();
        Some(match self.experiment.protocol {
            Protocol::Splits => {
                let seeds: Vec<String> = self.evaluated.iter().map(|e| e.facts.seed.to_string()).collect();
                let (seeds, images, split) = (seeds.join(", "), images / runs, first.split);
                let folder = folder.with_file_name(self.experiment.name);
                let folder = folder.display();
                format!(
                    "after epoch {epochs}, seeds {seeds}, {images} images of {split}, {folder}(-seed*)/{file}"
                )
            }
            Protocol::Folds { .. } => {
                let (seed, folder) = (first.facts.seed, folder.parent().unwrap_or(folder).display());
                format!(
                    "after epoch {epochs}, seed {seed}, {images} images of {runs} of {of} folds, {folder}/fold*/{file}"
                )
            }
        })
    }

    /// That of what figures and confusions show.
    fn shown_provenance(&self) -> Option<String> {
        match self.experiment.protocol {
            Protocol::Splits => self.evaluated.first().map(Evaluated::provenance),
            Protocol::Folds { .. } => self.provenance(),
        }
    }

    /// The most confident mistakes of the runs that are shown.
    fn mistakes(&self, most: usize) -> Vec<Mistake> {
        let mut all: Vec<Mistake> =
            self.evaluated.iter().take(self.shown()).flat_map(|e| e.mistakes.clone()).collect();
        all.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        all.truncate(most);
        all
    }
}

/// All tables and figures, from the outcomes of all experiments; `command` goes on with what is missing.
///
/// # Errors
/// A sheet of faces that cannot be drawn.
pub fn paper_report(outcomes: &[Outcome], inputs: &Inputs, command: &str, isa: Isa) -> Result<Document> {
    let mut document = Document::new("The paper's tables and figures, and ours");
    items::introduction(&mut document, outcomes, inputs, command);
    items::label_counts(&mut document, inputs);
    document.heading("Table 3: platform");
    document.text("Of the machine that wrote this report; runs that were copied here may come from another.");
    document.table(platform::platform(isa));
    items::accuracy_fer2013(&mut document, outcomes);
    items::accuracy_ckplus(&mut document, outcomes);
    items::confusion(&mut document, outcomes);
    items::cbam_positions(&mut document, outcomes);
    items::augmentation(&mut document, inputs)?;
    items::accuracy_curves(&mut document, outcomes);
    items::mistakes(&mut document, outcomes)?;
    items::beyond_the_paper(&mut document, outcomes);
    document.heading("All experiments");
    document.table(experiments_table(outcomes));
    Ok(document)
}

fn experiments_table(outcomes: &[Outcome]) -> Table {
    let columns =
        ["experiment", "data", "model", "loss", "runs", "state", "epochs", "accuracy", "measured on"];
    let mut table = Table::new("Experiments and how far they have come", &columns);
    for outcome in outcomes {
        let Outcome { experiment, progress, .. } = outcome;
        let state = match &progress.missing {
            Some(reason) if progress.state() == "missing data" => format!("missing data: {reason}"),
            _ => progress.state().to_owned(),
        };
        table.row([
            experiment.name.to_owned(),
            experiment.source.name().to_owned(),
            format!("{} ({})", experiment.title, experiment.model.name()),
            experiment.model.loss.name().to_owned(),
            experiment.runs().len().to_string(),
            state,
            format!("{} of {}", progress.epochs, progress.of),
            items::accuracy(outcome),
            outcome.provenance().unwrap_or("-".to_owned()),
        ]);
    }
    table
}
