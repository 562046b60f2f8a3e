//! `moue eval`.

use super::{Context, data};
use crate::error::{Error, Result};
use crate::infer::Classifier;
use crate::output::{out, outln};
use crate::views::Views;
use moue_datasets::message::excerpt;
use moue_datasets::{Dataset, Split};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Measure accuracy and confusion of trained weights on a data set.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Weights of a run, such as runs/NAME/best.safetensors.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Views of each face whose answers are averaged.
    #[arg(long, value_enum, value_name = "VIEWS", default_value_t = Views::One)]
    views: Views,
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
    images: usize,
    classes: Vec<String>,
    /// Counts; a row is a true class, a column a recognised one.
    confusion: Vec<Vec<u64>>,
    /// Recall of each class; null for one without images.
    per_class: Vec<Option<f64>>,
    seconds: f64,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let mut classifier = Classifier::load(&args.weights, context.isa)?.with_views(args.views);
    let dataset = data::open(&args.data.data, args.data.limit, context)?;
    let split = args.split.unwrap_or_else(|| default_split(&dataset));
    let faces = dataset.split(split)?;
    let truth = match_classes(&args, classifier.classes(), &dataset.classes)?;

    let begin = Instant::now();
    let recognised = classifier.classify(faces)?;
    let classes = classifier.classes().to_vec();
    let mut confusion = vec![vec![0; classes.len()]; classes.len()];
    for (&label, class) in faces.labels.iter().zip(recognised) {
        confusion[truth[usize::from(label)]][class] += 1;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let evaluation = Evaluation::new(split, classes, confusion, seconds);
    context.print(&evaluation, || evaluation.print());
    Ok(())
}

fn default_split(dataset: &Dataset) -> Split {
    let present = |split: &Split| dataset.split(*split).is_ok_and(|faces| !faces.is_empty());
    [Split::Validation, Split::Test].into_iter().find(present).unwrap_or(Split::Train)
}

/// For each class of the data, its index among those of the weights.
fn match_classes(args: &Args, ours: &[String], theirs: &[String]) -> Result<Vec<usize>> {
    let find = |class: &String| {
        ours.iter().position(|c| c == class).ok_or_else(|| {
            let (data, known) = (&args.data.data, ours.join(", "));
            let reason = format!("knows no class `{class}`, which {data} has; it knows {known}");
            Error::format(&args.weights, reason)
        })
    };
    theirs.iter().map(find).collect()
}

impl Evaluation {
    fn new(split: Split, classes: Vec<String>, confusion: Vec<Vec<u64>>, seconds: f64) -> Self {
        let right: u64 = (0..classes.len()).map(|i| confusion[i][i]).sum();
        let images: u64 = confusion.iter().flatten().sum();
        let recall = |(i, row): (usize, &Vec<u64>)| match row.iter().sum::<u64>() {
            0 => None,
            sum => Some(row[i] as f64 / sum as f64),
        };
        Self {
            split: split.name(),
            accuracy: right as f64 / images as f64,
            images: images as usize,
            per_class: confusion.iter().enumerate().map(recall).collect(),
            classes,
            confusion,
            seconds,
        }
    }

    fn print(&self) {
        outln!("{}: {:.2} % of {} images", self.split, 100.0 * self.accuracy, self.images);
        let classes: Vec<String> = self.classes.iter().map(excerpt).collect();
        let width = classes.iter().map(|c| c.chars().count()).max().unwrap_or(0).max(7);
        out!("\n{:width$}", "truth");
        classes.iter().for_each(|class| out!(" {class:>width$}"));
        outln!(" {:>width$}", "recall");
        for ((class, row), recall) in classes.iter().zip(&self.confusion).zip(&self.per_class) {
            out!("{class:width$}");
            row.iter().for_each(|count| out!(" {count:>width$}"));
            let recall = recall.map_or("-".to_owned(), |r| format!("{:.1} %", 100.0 * r));
            outln!(" {recall:>width$}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_true_classes() {
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let confusion = vec![vec![3, 1, 0], vec![0, 2, 0], vec![0, 0, 0]];
        let e = Evaluation::new(Split::Test, names, confusion, 1.0);
        assert_eq!((e.images, e.accuracy), (6, 5.0 / 6.0));
        assert_eq!(e.per_class, [Some(0.75), Some(1.0), None]);
    }
}
