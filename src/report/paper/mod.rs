//! The paper's tables and figures beside what was measured here, and what one change of its recipe at a time does.
//!
//! Of the paper only what is known is told: where it is silent the report says `not stated here`, and where nothing
//! was run `not run`.

mod experiments;
mod items;
mod outcome;
mod platform;

pub use experiments::{Data, EXPERIMENTS, Experiment, Found, Inputs, Progress, Protocol, Run, Source, State};
pub use outcome::{Mean, Measure, Measured, Outcome};

use super::{Document, Table, parts};
use crate::error::Result;
use moue_kernels::Isa;

const NOT_STATED: &str = "not stated here";
const NOT_RUN: &str = "not run";

/// All tables and figures, from the outcomes of all experiments; `command` goes on with what is missing.
///
/// # Errors
/// A sheet of faces that cannot be drawn.
///
/// # Panics
/// If one of the experiments has no outcome.
pub fn paper_report(outcomes: &[Outcome], inputs: &Inputs, command: &str, isa: Isa) -> Result<Document> {
    let mut document = Document::new("The paper's tables and figures, and ours");
    items::introduction(&mut document, outcomes, inputs, command);
    items::label_counts(&mut document, inputs);
    document.heading("Table 3: platform");
    document.text("Of the machine that wrote this report; runs that were copied here may come from another.");
    document.table(platform::platform(isa));
    items::accuracy_fer2013(&mut document, outcomes);
    items::accuracy_ckplus(&mut document, outcomes, inputs);
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
        let state = progress.state();
        let state = match &progress.missing {
            Some(reason) if state == State::MissingData => format!("{}: {reason}", state.name()),
            _ => state.name().to_owned(),
        };
        table.row([
            experiment.name.to_owned(),
            experiment.source.name().to_owned(),
            format!("{} ({})", experiment.title, parts::model(&experiment.model)),
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
