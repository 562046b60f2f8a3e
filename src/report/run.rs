//! The report of one run.

use super::chart::{Scale, curve_chart, reliability_chart};
use super::parts::{self, percent};
use super::scored::{Answer, Mistake, Scored, match_classes};
use super::{Confusion, Document, Table};
use crate::error::{Error, Result};
use crate::infer::Classifier;
use crate::train::{EpochRow, Record, Sets};
use crate::weights::Facts;
use moue_datasets::message::{excerpt, shown};
use moue_datasets::{Faces, SYNTHETIC, Split};
use std::path::{Path, PathBuf};

/// Most misclassified faces that are shown.
pub(super) const MISTAKES: usize = 24;

/// Weights, measured on the data of their run.
#[derive(Clone, Debug)]
pub struct Evaluated {
    /// The weights' file.
    pub weights: PathBuf,
    /// What it says of itself.
    pub facts: Facts,
    /// Parameters of the model.
    pub parameters: usize,
    /// Class names in the order of the scores.
    pub classes: Vec<String>,
    /// The data that were measured on.
    pub data: String,
    /// The split that was measured on.
    pub split: Split,
    /// Whether the best epoch was chosen by the same images.
    pub watched: bool,
    /// Scores of its images.
    pub scored: Scored,
    /// Temperature stored with the weights.
    pub temperature: f64,
    /// The most confident mistakes.
    pub mistakes: Vec<Mistake>,
}

impl Evaluated {
    /// Measures `classifier`, of the file `weights`, on `split` of `sets`: by default what the run is tested on, or,
    /// where nothing was held out, what it was trained on. `data` is its name in messages.
    ///
    /// # Errors
    /// Weights that know other classes, or a split that is not there.
    pub fn measure(
        classifier: &mut Classifier,
        weights: &Path,
        sets: &Sets,
        split: Option<Split>,
        data: &str,
    ) -> Result<Self> {
        let map = match_classes(weights, classifier.classes(), data, &sets.classes)?;
        let split = split.or(sets.tested().map(|tested| tested.0)).unwrap_or(Split::Train);
        let faces = sets.split(split).filter(|faces| !faces.is_empty()).ok_or_else(|| {
            Error::format(Path::new(data), format!("no faces in the {split} split of the run"))
        })?;
        let scored = Scored::of(classifier, faces, &map)?;
        let stored = classifier.weights();
        let mistake = |Answer { image, truth, answer, confidence }| {
            let face = Box::new(faces.face(image).try_into().expect("a face for each score"));
            Mistake { face, truth, answer, confidence }
        };
        Ok(Self {
            weights: weights.to_owned(),
            watched: sets.chose(split, &stored.facts),
            facts: stored.facts.clone(),
            parameters: stored.params.count(),
            classes: stored.classes.clone(),
            data: data.to_owned(),
            split,
            temperature: stored.temperature,
            mistakes: scored.mistakes(stored.temperature).into_iter().take(MISTAKES).map(mistake).collect(),
            scored,
        })
    }

    /// Which class was taken for which.
    pub fn confusion(&self) -> Confusion {
        self.scored.confusion()
    }

    /// Epochs, seed, images, split, data and file: what a figure must not be without.
    pub fn provenance(&self) -> String {
        let Facts { epochs, seed, .. } = self.facts;
        let (split, images, data) = (self.split, self.scored.images(), excerpt(&self.data));
        let weights = shown(&self.weights);
        format!("after epoch {epochs}, seed {seed}, {images} images of {split} of {data}, {weights}")
    }
}

/// The temperature with the lowest negative log-likelihood.
#[derive(Clone, Copy, Debug)]
pub struct Fitted {
    /// What scores are divided by.
    pub temperature: f64,
    /// The split that it was sought on.
    pub split: Split,
    /// Images of that split.
    pub images: usize,
}

impl Fitted {
    /// Fits `classifier`, whose measures `evaluated` are, on the watched split of `sets`, or, where there is no other, on
    /// what it was measured on.
    ///
    /// # Errors
    /// As [`Evaluated::measure`].
    pub fn of(evaluated: &Evaluated, classifier: &mut Classifier, sets: &Sets) -> Result<Self> {
        let Evaluated { weights, classes, data, split, scored, .. } = evaluated;
        let fit = |split: Split, scored: &Scored| Self {
            temperature: scored.best_temperature(),
            split,
            images: scored.images(),
        };
        match sets.watched() {
            Some((other, faces)) if other != split && !faces.is_empty() => {
                let map = match_classes(weights, classes, data, &sets.classes)?;
                Ok(fit(*other, &Scored::of(classifier, faces, &map)?))
            }
            _ => Ok(fit(*split, scored)),
        }
    }
}

/// The report of the run `record`. Without its evaluation, for the reason given, it has the curves and the
/// configuration; `sets` are the run's images, from which the augmentation is shown.
///
/// # Errors
/// A sheet of faces that cannot be drawn.
pub fn run_report(
    record: &Record,
    evaluation: std::result::Result<(&Evaluated, Fitted, &Sets), &str>,
) -> Result<Document> {
    let config = &record.config;
    let (model, loss) = (parts::model(&config.model), config.model.loss.name());
    let mut document = Document::new(format!("{model} with {loss} on {}", excerpt(&config.data)));
    let train = evaluation.ok().map(|(.., sets)| &sets.train);
    match evaluation {
        Ok((evaluated, _, sets)) => summary(&mut document, record, evaluated, sets),
        Err(reason) => document.warning(format!(
            "Only what the run wrote down is shown. Confusion, calibration, mistakes and the sheet of the augmentation \
             need its weights and its data: {reason}"
        )),
    }
    let measured = evaluation.map_or(&config.data, |(evaluated, ..)| &evaluated.data);
    warnings(&mut document, record, measured, train);
    curves(&mut document, record);
    if let Ok((evaluated, fitted, sets)) = evaluation {
        document.heading("Confusion");
        let confusion = evaluated.confusion();
        parts::confusion(&mut document, "confusion", &evaluated.classes, &confusion, &evaluated.provenance());
        document.figure(parts::recall(&evaluated.classes, &confusion));
        calibration(&mut document, evaluated, fitted);
        document.heading("Most confident mistakes");
        if evaluated.mistakes.is_empty() {
            document.text("Every image was recognised.");
        } else {
            let caption = format!(
                "Wrong answers by falling probability, at temperature {}: {}.",
                evaluated.temperature,
                evaluated.provenance()
            );
            document.blocks.push(parts::mistakes(&evaluated.classes, &evaluated.mistakes, caption)?);
        }
        document.heading("Augmentation");
        document.figure(parts::augmentation(&sets.train, config)?);
    }
    document.heading("Configuration and facts");
    document.table(parts::configuration(config));
    if let Ok((evaluated, ..)) = evaluation {
        document.table(facts(evaluated));
    }
    Ok(document)
}

fn summary(document: &mut Document, record: &Record, evaluated: &Evaluated, sets: &Sets) {
    let accuracy = evaluated.confusion().accuracy();
    document.text(format!("{} recognised: {}.", percent(accuracy), evaluated.provenance()));
    if evaluated.watched {
        document.warning(
            "The best epoch was chosen by its accuracy on these same images, so that this accuracy is somewhat too high.",
        );
    } else if evaluated.split == Split::Train {
        document.warning("These are the images that were trained on: this says nothing of other faces.");
    }
    if !sets.trained_on(&evaluated.facts) {
        let (own, here) = (excerpt(&record.config.data), excerpt(&evaluated.data));
        let (trained, found) = (evaluated.facts.images, sets.train.len());
        document.warning(format!(
            "The run was trained on {trained} images of {own}, and these are not the {found} that {here} has to train \
             on now: what is measured here are other data, or changed ones."
        ));
    }
    let planned = record.config.epochs;
    if (record.rows.len() as u64) < planned {
        document
            .warning(format!("{} of {planned} epochs are over: the run is not finished.", record.rows.len()));
    }
}

fn warnings(document: &mut Document, record: &Record, measured: &str, train: Option<&Faces>) {
    match (record.config.data.as_str(), measured) {
        (SYNTHETIC, SYNTHETIC) => document.warning(
            "The faces are synthetic, drawn by this program: nothing here says anything of real ones.",
        ),
        (SYNTHETIC, _) => document.warning("It was trained on synthetic faces, drawn by this program."),
        _ => {}
    }
    for leak in record.config.leaks(train) {
        document.warning(format!("This is a fold; {leak}."));
    }
}

fn curves(document: &mut Document, record: &Record) {
    document.heading("Training");
    let rows = &record.rows;
    let Some(last) = rows.last() else {
        return document.text("No epoch is over yet.");
    };
    let loss = [parts::curve("training loss", rows, |row| Some(row.loss))];
    let alt = format!("Training loss over {} epochs, in the end {:.4}", rows.len(), last.loss);
    let caption = "Mean loss of the training images in each epoch.";
    document.figure(parts::chart("loss", curve_chart("loss", Scale::Number, &loss), alt, caption));

    let held = last.watched().map_or("held out", |(split, _)| split.name());
    let accuracy = [
        parts::curve("training, augmented", rows, |row| Some(row.train_accuracy)),
        parts::curve(held, rows, EpochRow::watched_accuracy),
    ];
    let ends = last.watched_accuracy().map_or(String::new(), |a| format!(" and on {held} {}", percent(a)));
    let alt = format!("Accuracy over epochs, in the end {} in training{ends}", percent(last.train_accuracy));
    let caption = "Accuracy on training images while they are trained on, augmented, and on held-out images after \
                   each epoch.";
    document.figure(parts::chart("accuracy", curve_chart("accuracy", Scale::Share, &accuracy), alt, caption));

    let mut table =
        Table::new("Epochs", &["epoch", "loss", "training", held, "learning rate", "images/s", "seconds"]);
    for row in rows {
        table.row([
            row.epoch.to_string(),
            format!("{:.4}", row.loss),
            percent(row.train_accuracy),
            row.watched_accuracy().map_or("-".to_owned(), percent),
            format!("{:.2e}", row.lr),
            format!("{:.0}", row.images_per_second),
            format!("{:.0}", row.seconds),
        ]);
    }
    document.table(Table { folded: true, ..table });
}

fn calibration(document: &mut Document, evaluated: &Evaluated, fitted: Fitted) {
    document.heading("Calibration");
    let before = evaluated.scored.calibration(evaluated.temperature);
    let Fitted { temperature, split, images } = fitted;
    let after = evaluated.scored.calibration(temperature);
    let same = if split == evaluated.split { ", the same as are measured, hence optimistic" } else { "" };
    document.text(format!(
        "A temperature divides the scores before the softmax; it changes probabilities, but no answer. The one with \
         the lowest negative log-likelihood was sought on {images} images of {split}{same}: {temperature:.3}. \
         The command moue calibrate stores one with the weights."
    ));
    let title = |name: &str, ece: f64| format!("{name}: ECE {:.2} %", 100.0 * ece);
    let panels = [(title("as stored", before.ece), &before), (title("fitted", after.ece), &after)];
    let alt = format!(
        "Reliability diagrams: calibration error {} as stored and {} with the fitted temperature",
        percent(before.ece),
        percent(after.ece)
    );
    let caption = format!(
        "Accuracy of the images by the probability of their answer, in {} bins; on the diagonal probabilities can be \
         believed. The line is the share of images in each bin. {}.",
        before.bins.len(),
        evaluated.provenance()
    );
    document.figure(parts::chart("reliability", reliability_chart(&panels), alt, caption));
    let mut table = Table::new("Calibration", &["", "temperature", "ECE", "negative log-likelihood"]);
    for (name, calibration) in [("as stored", &before), ("fitted", &after)] {
        let cells = [
            name.to_owned(),
            format!("{:.3}", calibration.temperature),
            percent(calibration.ece),
            format!("{:.4}", calibration.nll),
        ];
        table.row(cells);
    }
    document.table(table);
    let mut bins =
        Table::new("Bins as stored", &["confidence up to", "images", "mean confidence", "accuracy"]);
    for (i, bin) in before.bins.iter().enumerate().filter(|(_, bin)| bin.images > 0) {
        let end = (i + 1) as f64 / before.bins.len() as f64;
        bins.row([percent(end), bin.images.to_string(), percent(bin.confidence), percent(bin.accuracy)]);
    }
    document.table(Table { folded: true, ..bins });
}

fn facts(evaluated: &Evaluated) -> Table {
    let facts = &evaluated.facts;
    let mut table = Table::new("Weights", &["fact", "value"]);
    table.row(["file", &shown(&evaluated.weights)]);
    table.row(["parameters", &evaluated.parameters.to_string()]);
    table.row(["trained on", &format!("{} images of {}", facts.images, excerpt(&facts.data))]);
    table.row(["epochs", &facts.epochs.to_string()]);
    table.row(["seed", &facts.seed.to_string()]);
    let chosen = match (&facts.split, facts.accuracy) {
        (Some(split), Some(accuracy)) => format!("{} on {}", percent(accuracy), excerpt(split)),
        _ => "nothing was watched".to_owned(),
    };
    table.row(["accuracy while training", &chosen]);
    table.row(["temperature", &evaluated.temperature.to_string()]);
    table.row(["written by", &format!("moue {}", excerpt(&facts.moue))]);
    table
}
