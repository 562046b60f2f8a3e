//! `moue calibrate`.

use super::classifier::WeightsArgs;
use super::eval::default_split;
use super::{Context, data};
use crate::error::Result;
use crate::infer::Classifier;
use crate::output::{lossily, outln};
use crate::report::{Scored, match_classes};
use crate::weights::Weights;
use moue_datasets::Split;
use moue_datasets::message::{excerpt, shown};
use serde::Serialize;
use std::path::PathBuf;

/// Store a temperature with weights: the one by which their probabilities fit the data best.
///
/// The temperature divides the scores in front of the softmax; the one with the lowest negative log-likelihood on the
/// given split is taken. No answer changes, and calibrating again starts anew.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    data: data::DataArgs,
    /// Split that the temperature is fitted on [default: validation if there is one, else test, else train].
    #[arg(long)]
    split: Option<Split>,
    /// File to write: the same weights with their temperature.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Calibrated {
    #[serde(serialize_with = "lossily")]
    path: PathBuf,
    temperature: f64,
    split: &'static str,
    images: usize,
    /// Expected calibration error with the temperature that the weights had, and with the new one.
    ece_before: f64,
    ece: f64,
    /// Mean negative log-likelihood, likewise.
    nll_before: f64,
    nll: f64,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let mut classifier = Classifier::new(args.weights.load()?, context.isa)?;
    let dataset = data::open(&args.data.data, args.data.limit)?;
    let split = args.split.unwrap_or_else(|| default_split(&dataset));
    let faces = dataset.split(split)?;
    let map = match_classes(args.weights.path(), classifier.classes(), &args.data.data, &dataset.classes)?;
    let scored = Scored::of(&mut classifier, faces, &map)?;

    let before = scored.calibration(classifier.weights().temperature);
    let after = scored.calibration(scored.best_temperature());
    let weights = Weights { temperature: after.temperature, ..classifier.weights().clone() };
    weights.save(&args.out)?;
    let calibrated = Calibrated {
        path: args.out,
        temperature: after.temperature,
        split: split.name(),
        images: scored.images(),
        ece_before: before.ece,
        ece: after.ece,
        nll_before: before.nll,
        nll: after.nll,
    };
    context.print(&calibrated, || calibrated.print(&args.data.data));
    Ok(())
}

impl Calibrated {
    fn print(&self, data: &str) {
        let Self { temperature, split, images, .. } = self;
        let (before, after) = (100.0 * self.ece_before, 100.0 * self.ece);
        outln!("temperature {temperature:.3} from {images} images of {split} of {}", excerpt(data));
        outln!("calibration error {before:.2} % before, {after:.2} % after, on the same images");
        outln!("weights: {}", shown(&self.path));
    }
}
