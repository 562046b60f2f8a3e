//! `moue report`.

use super::{Context, data};
use crate::error::{Error, Result};
use crate::infer::Classifier;
use crate::output::{errln, lossily, outln};
use crate::report::{Evaluated, Fitted, run_report};
use crate::train::{Config, Record, Sets};
use moue_datasets::Split;
use moue_datasets::message::{excerpt, one_line, shown};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Write a run's report: one HTML page of its curves, confusion, calibration, mistakes and configuration.
///
/// The page needs no other file and no network. Beside it stand the same as Markdown and each picture in a file. The
/// weights of the best epoch are measured again on the run's data; where that cannot be opened, the page has the curves.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of a run.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Page to write; Markdown and pictures go into the same folder [default: RUN/report/report.html].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Data to measure on [default: the run's own].
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// Split to measure on [default: the one that the run is tested on].
    #[arg(long)]
    split: Option<Split>,
}

/// What `--json` prints; measures are null without the data.
#[derive(Debug, Default, Serialize)]
struct Summary {
    #[serde(serialize_with = "lossily")]
    path: PathBuf,
    data: String,
    epochs: usize,
    split: Option<&'static str>,
    accuracy: Option<f64>,
    images: Option<usize>,
    /// Expected calibration error as the weights are.
    ece: Option<f64>,
    nll: Option<f64>,
    /// Fitted on the watched split.
    temperature: Option<f64>,
    /// Expected calibration error at that temperature.
    ece_calibrated: Option<f64>,
    nll_calibrated: Option<f64>,
    /// Why there are no measures.
    missing: Option<String>,
}

impl Args {
    pub(super) fn check(&self) -> Result<()> {
        match &self.out {
            Some(out) if !is_page(out) => {
                Err(Error::Usage(format!("--out {}: expected a name ending in .html", shown(out))))
            }
            _ => Ok(()),
        }
    }

    /// Whether anything was asked for that a page without measures would not have.
    fn is_particular(&self) -> bool {
        self.data.is_some() || self.split.is_some()
    }
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("html"))
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let record = Record::read(&args.run)?;
    let page = args.out.clone().unwrap_or_else(|| args.run.join("report").join("report.html"));
    let data = args.data.clone().unwrap_or_else(|| record.config.data.clone());
    if data != record.config.data {
        errln!(
            "moue: warning: measured on {}, not on the run's own {}",
            excerpt(&data),
            excerpt(&record.config.data)
        );
    }
    let (path, epochs) = (page.clone(), record.rows.len());
    let mut summary = Summary { path, data, epochs, ..Summary::default() };
    match measure(&args, &record, &summary.data, context) {
        Ok((evaluated, fitted, sets)) => {
            summary.add(&evaluated, fitted);
            run_report(&record, Ok((&evaluated, fitted, &sets)))?.save(&page)?;
        }
        Err(error) if args.is_particular() => return Err(error),
        Err(error) => {
            let reason = one_line(error);
            errln!("moue: warning: curves only: {reason}");
            run_report(&record, Err(&reason))?.save(&page)?;
            summary.missing = Some(reason);
        }
    }
    context.print(&summary, || summary.print());
    Ok(())
}

fn measure(args: &Args, record: &Record, data: &str, context: &Context) -> Result<(Evaluated, Fitted, Sets)> {
    let config = Config { data: data.to_owned(), ..record.config.clone() };
    let sets = Sets::new(data::open(&config.data, config.limit)?, &config)?;
    // Once: a run at work may put another file in its place.
    let mut classifier = Classifier::load(&record.best(), context.isa)?;
    let evaluated = Evaluated::measure(&mut classifier, &record.best(), &sets, args.split, &config.data)?;
    let fitted = Fitted::of(&evaluated, &mut classifier, &sets)?;
    Ok((evaluated, fitted, sets))
}

impl Summary {
    fn add(&mut self, evaluated: &Evaluated, fitted: Fitted) {
        let before = evaluated.scored.calibration(evaluated.temperature);
        let after = evaluated.scored.calibration(fitted.temperature);
        self.split = Some(evaluated.split.name());
        self.accuracy = Some(evaluated.confusion().accuracy());
        self.images = Some(evaluated.scored.images());
        (self.ece, self.nll) = (Some(before.ece), Some(before.nll));
        self.temperature = Some(fitted.temperature);
        (self.ece_calibrated, self.nll_calibrated) = (Some(after.ece), Some(after.nll));
    }

    fn print(&self) {
        if let (Some(split), Some(accuracy), Some(images)) = (self.split, self.accuracy, self.images) {
            outln!("{split}: {:.2} % of {images} images", 100.0 * accuracy);
        }
        if let (Some(before), Some(t), Some(after)) = (self.ece, self.temperature, self.ece_calibrated) {
            let (before, after) = (100.0 * before, 100.0 * after);
            outln!("calibration error: {before:.2} %, with a temperature of {t:.3} {after:.2} %");
        }
        outln!("page: {}", shown(&self.path));
    }
}
