//! `moue eval`.

use super::classifier::ClassifierArgs;
use super::{Context, data};
use crate::error::Result;
use crate::output::{out, outln};
use crate::report::{Confusion, match_classes};
use moue_datasets::message::excerpt;
use moue_datasets::{Dataset, Split};
use serde::Serialize;
use std::time::Instant;

/// Measure accuracy and confusion of trained weights on a data set.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    classifier: ClassifierArgs,
    #[command(flatten)]
    data: data::DataArgs,
    /// train, validation or test [default: validation if there is one, else test, else train].
    #[arg(long)]
    split: Option<Split>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Evaluation {
    split: &'static str,
    accuracy: f64,
    images: u64,
    classes: Vec<String>,
    /// Counts; a row is a true class, a column a recognised one.
    confusion: Confusion,
    /// Recall of each class; null for one without images.
    per_class: Vec<Option<f64>>,
    seconds: f64,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let mut classifier = args.classifier.load(context)?;
    let dataset = data::open(&args.data.data, args.data.limit)?;
    let split = args.split.unwrap_or_else(|| default_split(&dataset));
    let faces = dataset.split(split)?;
    let truth = match_classes(
        args.classifier.weights.path(),
        classifier.classes(),
        &args.data.data,
        &dataset.classes,
    )?;

    let begin = Instant::now();
    let confusion = Confusion::of_faces(&mut classifier, faces, &truth)?;
    let seconds = begin.elapsed().as_secs_f64();
    let evaluation = Evaluation::new(split, classifier.classes().to_vec(), confusion, seconds);
    context.print(&evaluation, || evaluation.print(&args.data.data));
    Ok(())
}

pub(super) fn default_split(dataset: &Dataset) -> Split {
    let present = |split: &Split| dataset.split(*split).is_ok_and(|faces| !faces.is_empty());
    [Split::Validation, Split::Test].into_iter().find(present).unwrap_or(Split::Train)
}

impl Evaluation {
    fn new(split: Split, classes: Vec<String>, confusion: Confusion, seconds: f64) -> Self {
        Self {
            split: split.name(),
            accuracy: confusion.accuracy(),
            images: confusion.images(),
            per_class: confusion.recall(),
            classes,
            confusion,
            seconds,
        }
    }

    fn print(&self, data: &str) {
        let Self { split, accuracy, images, .. } = self;
        outln!("{split} of {}: {:.2} % of {images} images", excerpt(data), 100.0 * accuracy);
        let classes: Vec<String> = self.classes.iter().map(excerpt).collect();
        let width = classes.iter().map(|c| c.chars().count()).max().unwrap_or(0).max(7);
        out!("\n{:width$}", "truth");
        classes.iter().for_each(|class| out!(" {class:>width$}"));
        outln!(" {:>width$}", "recall");
        for ((class, row), recall) in classes.iter().zip(self.confusion.counts()).zip(&self.per_class) {
            out!("{class:width$}");
            row.iter().for_each(|count| out!(" {count:>width$}"));
            let recall = recall.map_or("-".to_owned(), |r| format!("{:.1} %", 100.0 * r));
            outln!(" {recall:>width$}");
        }
    }
}
