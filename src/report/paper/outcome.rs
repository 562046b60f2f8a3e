//! What an experiment came to.

use super::experiments::BASE;
use super::{Data, Experiment, Found, Inputs, Progress, Protocol};
use crate::error::Result;
use crate::infer::Classifier;
use crate::report::{Confusion, Evaluated, Mistake, match_classes, mean_and_deviation};
use crate::train::{EpochRow, Record, Sets};
use crate::views::Views;
use moue_datasets::message::shown;
use moue_kernels::Isa;
use std::path::Path;

/// Epochs of [`Measured::recent`].
pub(super) const RECENT: usize = 3;

/// A mean and, of more than one value, the standard deviation of a sample.
pub type Mean = (f64, Option<f64>);

/// What runs are compared by.
pub type Measure = fn(&Measured) -> Option<f64>;

/// A run that has ended an epoch.
#[derive(Debug)]
pub struct Measured {
    /// What it wrote down.
    pub record: Record,
    /// Its weights on what they are tested on; or why they were not measured.
    pub evaluated: std::result::Result<Evaluated, String>,
    /// Accuracy of its last weights on the watched images with more than one view, or why that was not measured; only
    /// of what recipes are compared with.
    pub by_views: std::result::Result<Vec<(Views, f64)>, String>,
}

impl Measured {
    /// Accuracy of its weights, 0 to 1.
    pub fn accuracy(&self) -> Option<f64> {
        Some(self.evaluated.as_ref().ok()?.confusion().accuracy())
    }

    /// Accuracy on the watched images after the last epoch.
    pub fn last(&self) -> Option<f64> {
        self.record.rows.last()?.watched_accuracy()
    }

    /// The same with `views` of each face.
    pub fn with_views(&self, views: Views) -> Option<f64> {
        self.by_views.as_ref().ok()?.iter().find(|(of, _)| *of == views).map(|(_, accuracy)| *accuracy)
    }

    /// What `views` of each face are worth to it against one.
    pub fn gained_with(&self, views: Views) -> Option<f64> {
        Some(self.with_views(views)? - self.last()?)
    }

    /// Mean accuracy on the watched images after each of the last three epochs: with a rate that never falls,
    /// neighbouring epochs differ by points.
    pub fn recent(&self) -> Option<f64> {
        let rows = &self.record.rows;
        let last = &rows[rows.len().saturating_sub(RECENT)..];
        let sum: Option<f64> = last.iter().map(EpochRow::watched_accuracy).sum();
        Some(sum? / last.len() as f64)
    }

    /// Which of an experiment's runs it is.
    pub fn name(&self) -> String {
        match self.record.config.fold {
            Some(fold) => format!("fold {}", fold.index),
            None => format!("seed {}", self.record.config.seed),
        }
    }

    /// Epochs, seed, split, images and weights of the accuracy.
    fn provenance(&self) -> Option<String> {
        let evaluated = self.evaluated.as_ref().ok()?;
        let best =
            if self.is_best() { format!("best of {} epochs: ", self.record.epochs()) } else { String::new() };
        Some(format!("{best}{}", evaluated.provenance()))
    }

    /// Whether the weights are those of the best epoch and not of the last.
    fn is_best(&self) -> bool {
        self.evaluated.as_ref().is_ok_and(|evaluated| evaluated.weights == self.record.best())
    }
}

/// What an experiment came to.
#[derive(Debug)]
pub struct Outcome {
    /// Which one.
    pub experiment: Experiment,
    /// How far it has come.
    pub progress: Progress,
    /// Epochs that each of its runs is to have.
    pub epochs: u64,
    /// Its runs that have ended an epoch.
    pub runs: Vec<Measured>,
    /// Why others cannot be read.
    pub damaged: Vec<String>,
}

impl Outcome {
    /// Measures what `experiment` has left below `out`, on `inputs`; `epochs` is what each run is to have.
    ///
    /// Where a run's best epoch was chosen by the images that it is tested on, the weights of its last epoch are
    /// measured. What recipes are chosen by is tested on what was watched, not on a split that is kept for the end.
    /// A run that cannot be measured takes nothing from the others: it says why.
    ///
    /// # Errors
    /// As [`Experiment::found`].
    pub fn of(
        experiment: Experiment,
        out: &Path,
        inputs: &Inputs,
        epochs: Option<u64>,
        isa: Isa,
    ) -> Result<Self> {
        let Found { records, damaged } = experiment.found(out, inputs)?;
        let progress = experiment.progress(&records, inputs, epochs);
        let measure = |record: Record| {
            let Some(data) = inputs.get(experiment.source) else {
                let evaluated = Err("needs its data".to_owned());
                return Measured { record, evaluated, by_views: Ok(Vec::new()) };
            };
            let unmeasured = |error| format!("could not be measured: {error}");
            let evaluated = evaluate(experiment, &record, data, isa).map_err(unmeasured);
            let by_views =
                if experiment.name == BASE { by_views(&record, data, isa) } else { Ok(Vec::new()) };
            Measured { record, evaluated, by_views: by_views.map_err(unmeasured) }
        };
        let runs = records.into_iter().map(measure).collect();
        Ok(Self { experiment, progress, epochs: experiment.epochs(epochs), runs, damaged })
    }

    /// Its runs that have had just as many epochs as they are to have: what can be averaged and compared.
    fn complete(&self) -> impl Iterator<Item = &Measured> {
        self.runs.iter().filter(|run| self.is_complete(run))
    }

    fn is_complete(&self, run: &Measured) -> bool {
        run.record.epochs() == self.epochs && run.record.leads_to(self.epochs)
    }

    /// Mean of `measure` over its complete runs.
    pub fn mean(&self, measure: Measure) -> Option<Mean> {
        mean(self.complete().filter_map(measure))
    }

    /// Mean difference of `measure` to the complete runs of `base`, each to the one with the same seed.
    pub fn against(&self, base: &Self, measure: Measure) -> Option<Mean> {
        let difference = |run: &Measured| {
            let same = base.complete().find(|other| other.record.config.seed == run.record.config.seed)?;
            Some(measure(run)? - measure(same)?)
        };
        mean(self.complete().filter_map(difference))
    }

    /// Seeds of its complete runs.
    pub(super) fn seeds(&self) -> Vec<String> {
        self.complete().map(|run| run.record.config.seed.to_string()).collect()
    }

    /// `measure` of each run that is not complete.
    pub(super) fn incomplete(&self, measure: Measure) -> impl Iterator<Item = String> {
        self.runs.iter().filter(|run| !self.is_complete(run)).filter_map(move |run| {
            let (accuracy, had, name) = (100.0 * measure(run)?, run.record.epochs(), run.name());
            let planned = run.record.config.epochs;
            Some(format!("{accuracy:.2} % ({name}, {had} epochs of {planned}, {} asked for)", self.epochs))
        })
    }

    /// Its runs that figures and confusions show: all folds, which test other images each, but one seed.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Measured> {
        let most = match self.experiment.protocol {
            Protocol::Splits => 1,
            Protocol::Folds { .. } => usize::MAX,
        };
        self.runs.iter().take(most)
    }

    /// What is measured of those.
    pub(super) fn evaluated(&self) -> impl Iterator<Item = &Evaluated> {
        self.shown().filter_map(|run| run.evaluated.as_ref().ok())
    }

    /// Epochs, seeds, split, images and weights of the mean accuracy; without a complete run those of the first.
    pub(super) fn provenance(&self) -> Option<String> {
        let complete: Vec<&Measured> = self.complete().filter(|run| run.evaluated.is_ok()).collect();
        match complete[..] {
            [] => self.runs.first()?.provenance(),
            [run] if self.experiment.runs().len() == 1 => run.provenance(),
            _ => self.provenance_of(&complete),
        }
    }

    /// That of what figures and confusions show.
    pub(super) fn shown_provenance(&self) -> Option<String> {
        let shown: Vec<&Measured> = self.shown().filter(|run| run.evaluated.is_ok()).collect();
        match shown[..] {
            [run] => run.provenance(),
            _ => self.provenance_of(&shown),
        }
    }

    /// What `runs` have in common.
    fn provenance_of(&self, runs: &[&Measured]) -> Option<String> {
        let first = runs.first()?;
        let Evaluated { weights, split, .. } = first.evaluated.as_ref().ok()?;
        let (least, most) =
            runs.iter().map(|run| run.record.epochs()).fold((u64::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
        let epochs = if least == most { least.to_string() } else { format!("{least} to {most}") };
        let epochs = match first.is_best() {
            true => format!("best of {epochs} epochs"),
            false => format!("after epoch {epochs}"),
        };
        let images: usize =
            runs.iter().filter_map(|run| Some(run.evaluated.as_ref().ok()?.scored.images())).sum();
        let folder = weights.parent().unwrap_or(Path::new(""));
        let file = weights.file_name().unwrap_or_default().to_string_lossy();
        Some(match self.experiment.protocol {
            Protocol::Splits => {
                let seeds: Vec<String> = runs.iter().map(|run| run.record.config.seed.to_string()).collect();
                let (seeds, images) = (seeds.join(", "), images / runs.len());
                let folder = folder.with_file_name(self.experiment.name);
                format!(
                    "{epochs}, seeds {seeds}, {images} images of {split}, {}(-seed*)/{file}",
                    shown(&folder)
                )
            }
            Protocol::Folds { .. } => {
                let (seed, of) = (first.record.config.seed, self.experiment.runs().len());
                let folder = shown(folder.parent().unwrap_or(folder));
                format!(
                    "{epochs}, seed {seed}, {images} images of {} of {of} folds, {folder}/fold*/{file}",
                    runs.len()
                )
            }
        })
    }

    /// The most confident mistakes of the runs that are shown.
    pub(super) fn mistakes(&self, most: usize) -> Vec<Mistake> {
        let mut all: Vec<Mistake> = self.evaluated().flat_map(|e| e.mistakes.clone()).collect();
        all.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        all.truncate(most);
        all
    }
}

/// Measures the run `record` on `data`.
fn evaluate(experiment: Experiment, record: &Record, data: &Data, isa: Isa) -> Result<Evaluated> {
    let sets = Sets::new(data.dataset.clone(), &record.config)?;
    let [watched, tested] = [sets.watched(), sets.tested()].map(|held| held.map(|(split, _)| *split));
    let split = if experiment.is_choice { watched } else { tested };
    let weights = if watched == split { record.last() } else { record.best() };
    Evaluated::measure(&mut Classifier::load(&weights, isa)?, &weights, &sets, split, &data.spec)
}

/// Accuracy of the last weights of `record` on what it watched, with more than one view of each face.
fn by_views(record: &Record, data: &Data, isa: Isa) -> Result<Vec<(Views, f64)>> {
    let (weights, sets) = (record.last(), Sets::new(data.dataset.clone(), &record.config)?);
    let Some((_, faces)) = sets.watched() else { return Ok(Vec::new()) };
    let mut classifier = Classifier::load(&weights, isa)?;
    let map = match_classes(&weights, classifier.classes(), &data.spec, &sets.classes)?;
    let mut accuracies = Vec::new();
    for views in [Views::Flip, Views::TenCrop] {
        classifier = classifier.with_views(views);
        accuracies.push((views, Confusion::of_faces(&mut classifier, faces, &map)?.accuracy()));
    }
    Ok(accuracies)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<Mean> {
    let values: Vec<f64> = values.collect();
    let (mean, deviation) = mean_and_deviation(&values);
    match values.len() {
        0 => None,
        1 => Some((mean, None)),
        _ => Some((mean, Some(deviation))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::paper::{Data, EXPERIMENTS, State};
    use crate::train::Schedule;
    use moue_datasets::{Dataset, OpenOptions};

    /// An experiment whose runs, of seeds 0, 1 and so on, left these accuracies, one an epoch.
    fn outcome(epochs: u64, runs: &[&[f64]]) -> Outcome {
        let experiment = Experiment { seeds: runs.len() as u64, ..EXPERIMENTS[0] };
        let options = OpenOptions { synthetic_per_class: 1, ..OpenOptions::default() };
        let dataset = Dataset::open("synthetic", &options).unwrap();
        let data = Data { spec: "synthetic".into(), limit: None, dataset };
        let row = |(i, accuracy): (usize, &f64)| EpochRow {
            epoch: i as u64 + 1,
            step: 0,
            loss: 1.0,
            train_accuracy: 0.5,
            validation_accuracy: None,
            test_accuracy: Some(*accuracy),
            images_per_second: 1.0,
            lr: 1e-3,
            seconds: 1.0,
        };
        let records: Vec<Record> = (experiment.runs().into_iter().zip(runs))
            .map(|(run, accuracies)| Record {
                path: experiment.folder(Path::new("out"), run),
                config: experiment.config(&data, run, epochs),
                rows: accuracies.iter().enumerate().map(row).collect(),
            })
            .collect();
        let progress = experiment.progress(&records, &Inputs::default(), Some(epochs));
        let unmeasured =
            |record| Measured { record, evaluated: Err(String::new()), by_views: Ok(Vec::new()) };
        let runs = records.into_iter().map(unmeasured).collect();
        Outcome { experiment, progress, epochs, runs, damaged: Vec::new() }
    }

    fn close(got: Option<Mean>, mean: f64, deviation: Option<f64>) {
        let (m, d) = got.unwrap();
        assert!((m - mean).abs() < 1e-12, "{m}");
        assert_eq!(d.is_some(), deviation.is_some());
        assert!(d.zip(deviation).is_none_or(|(got, wanted)| (got - wanted).abs() < 1e-12), "{d:?}");
    }

    #[test]
    fn only_runs_of_as_many_epochs_are_averaged_and_compared_seed_by_seed() {
        let base = outcome(2, &[&[0.1, 0.3], &[0.2, 0.4], &[0.9, 0.9]]);
        close(base.mean(Measured::recent), (0.2 + 0.3 + 0.9) / 3.0, Some((0.43f64 / 3.0).sqrt()));
        // Its second seed is not finished, and its third had too many.
        let other = outcome(2, &[&[0.4, 0.2], &[0.7], &[0.1, 0.1, 0.1]]);
        close(other.mean(Measured::recent), 0.3, None);
        close(other.against(&base, Measured::recent), 0.1, None);
        close(base.against(&base, Measured::recent), 0.0, Some(0.0));
        let third = outcome(2, &[&[0.3, 0.3], &[0.2, 0.6], &[0.9, 0.9]]);
        close(third.against(&base, Measured::recent), 0.2 / 3.0, Some(0.1 / 3f64.sqrt()));
        assert_eq!(other.mean(Measured::accuracy), None, "nothing was measured");
        let Progress { epochs, of, other_length, .. } = other.progress;
        assert_eq!((epochs, of, other_length, other.progress.state()), (3, 6, 1, State::Begun));
        assert_eq!(outcome(2, &[&[0.1; 3]]).progress.state(), State::OtherLength);
    }

    /// After so many epochs its rate has not come down.
    #[test]
    fn part_of_a_longer_cosine_is_not_complete() {
        let mut part = outcome(2, &[&[0.5, 0.5]]);
        let config = &mut part.runs[0].record.config;
        (config.schedule, config.epochs) = (Schedule::Cosine, 3);
        assert_eq!(part.mean(Measured::recent), None);
        part.runs[0].record.config.epochs = 2;
        close(part.mean(Measured::recent), 0.5, None);
    }

    #[test]
    fn the_last_three_epochs_count() {
        close(outcome(4, &[&[0.9, 0.1, 0.2, 0.6]]).mean(Measured::recent), 0.3, None);
    }
}
