//! One function a table or figure of the paper.

use super::experiments::BASE;
use super::outcome::RECENT;
use super::{Data, Inputs, Mean, Measure, Measured, NOT_RUN, NOT_STATED, Outcome, Source, State};
use crate::error::Result;
use crate::report::chart::{Curve, Scale, curve_chart};
use crate::report::parts::{self, percent};
use crate::report::run::MISTAKES;
use crate::report::{Block, Document, Scored, Table};
use crate::train::EpochRow;
use crate::views::Views;
use moue_datasets::message::excerpt;
use moue_datasets::{SYNTHETIC, Split};

/// What the paper says of each model's accuracy on FER2013.
const FER2013: [(&str, &str); 6] = [
    ("fer-cnn-svm", "71.2 %"),
    ("fer-dnn", "69.3 %"),
    ("fer-dnn-plus-cbam", "70.5 %"),
    ("fer-dnn-cbam", "71.5 %"),
    ("fer-vgg", "1.7 % below VGG-CBAM"),
    ("fer-vgg-cbam", "1.7 % above VGG, 1.1 % above DNN + CBAM"),
];

/// The same model by the paper's folds.
const FER2013_FOLDS: (&str, &str) = ("fer-folds", "71.5 % (folds cut after augmentation)");

/// The places of the CBAM, each with the experiment that has it there.
const POSITIONS: [(&str, &str); 6] = [
    ("none", "fer-cbam-none"),
    ("input", "fer-cbam-input"),
    ("block 1", "fer-cbam-block1"),
    ("block 2", "fer-cbam-block2"),
    ("block 3", "fer-cbam-block3"),
    ("block 4", "fer-dnn-cbam"),
];

/// Cross-validations of CK+, with what the paper says.
const CKPLUS: [(&str, &str); 4] = [
    ("ckplus-dnn-cbam", "99.5 % (folds cut after augmentation)"),
    ("ckplus-paper-folds", "99.5 %"),
    ("ckplus-same-copies", NOT_STATED),
    ("ckplus-by-person", NOT_STATED),
];

fn named<'a>(outcomes: &'a [Outcome], name: &str) -> &'a Outcome {
    outcomes.iter().find(|outcome| outcome.experiment.name == name).expect("all experiments have an outcome")
}

/// In percent, with the deviation of folds or seeds.
fn shares((mean, deviation): Mean) -> String {
    percent(mean) + &spread(deviation)
}

/// In points, with the deviation of seeds.
fn points((mean, deviation): Mean) -> String {
    format!("{:+.2}{}", 100.0 * mean, spread(deviation))
}

fn spread(deviation: Option<f64>) -> String {
    deviation.map_or(String::new(), |deviation| format!(" +- {:.2}", 100.0 * deviation))
}

/// The mean accuracy, those of runs that cannot be averaged, and why there are none of others.
pub(super) fn accuracy(outcome: &Outcome) -> String {
    let reasons = outcome.runs.iter().filter_map(|run| run.evaluated.as_ref().err());
    by(outcome, Measured::accuracy, reasons)
}

/// The mean of `measure`, those of runs that cannot be averaged, `reasons` why there are none of others, and what is
/// wrong with runs that cannot be read.
fn by<'a>(outcome: &'a Outcome, measure: Measure, reasons: impl Iterator<Item = &'a String>) -> String {
    let mut reasons: Vec<&String> = reasons.chain(&outcome.damaged).collect();
    reasons.dedup();
    let mut all = Vec::from_iter(outcome.mean(measure).map(shares));
    all.extend(outcome.incomplete(measure));
    all.extend(reasons.into_iter().cloned());
    if all.is_empty() {
        let why = if outcome.progress.missing.is_some() { ": missing data" } else { "" };
        return format!("{NOT_RUN}{why}");
    }
    all.join("; ")
}

/// Title of the column of [`recent`].
fn recent_title() -> String {
    format!("mean of the last epochs, at most {RECENT}")
}

fn recent(outcome: &Outcome) -> String {
    outcome.mean(Measured::recent).map_or("-".to_owned(), shares)
}

pub(super) fn introduction(document: &mut Document, outcomes: &[Outcome], inputs: &Inputs, command: &str) {
    for source in [Source::Fer2013, Source::CkPlus] {
        let name = source.name();
        match inputs.get(source) {
            Some(Data { spec, .. }) if spec == SYNTHETIC => document.warning(format!(
                "SYNTHETIC FACES stand in for {name}: no accuracy below says anything of {name} or of real faces."
            )),
            Some(Data { spec, limit: Some(limit), .. }) => document.warning(format!(
                "At most {limit} images of each split of {} were used for {name}: this is a trial of the command, and \
                 no reproduction.",
                excerpt(spec)
            )),
            Some(_) => {}
            None => document.warning(format!("{name} was not given: what needs it cannot be run or measured.")),
        }
    }
    let finished = outcomes.iter().filter(|o| o.progress.state() == State::Finished).count();
    let short =
        outcomes.iter().filter(|o| !o.runs.is_empty() && o.epochs < o.experiment.epochs(None)).count();
    document.text(format!(
        "{finished} of {} experiments are finished. Of the paper only what is known is quoted, else \"{NOT_STATED}\"; \
         what was not run here is \"{NOT_RUN}\". Where nothing but the tested images could choose the best epoch, the \
         last epoch's weights are measured. Means are over seeds or folds that have had just the epochs asked for, \
         +- is the standard deviation of a sample, in points. The mean of the last epochs, at most {RECENT}, is of the images that \
         were watched while training: validation where there is one.",
        outcomes.len()
    ));
    if short > 0 {
        document.warning(format!(
            "{short} experiments were given fewer epochs than the paper's 120 (FER2013) or 300 (CK+): compare their \
             accuracy with that in mind."
        ));
    }
    document.text("Goes on with what is missing:");
    document.blocks.push(Block::Command(command.to_owned()));
}

pub(super) fn label_counts(document: &mut Document, inputs: &Inputs) {
    for (number, source) in [(1, Source::Fer2013), (2, Source::CkPlus)] {
        let name = source.name();
        document.heading(format!("Table {number}: labels of {name}"));
        let Some(Data { spec, dataset, .. }) = inputs.get(source) else {
            document.text(format!("{name} was not given. In the paper: {NOT_STATED}."));
            continue;
        };
        let splits: Vec<(Split, Vec<usize>)> = (Split::ALL.into_iter())
            .filter_map(|split| Some((split, dataset.split(split).ok()?.counts(dataset.classes.len()))))
            .collect();
        let mut columns = vec!["class", "paper"];
        columns.extend(splits.iter().map(|(split, _)| split.name()));
        columns.push("all");
        let mut table = Table::new(format!("Images of each class in {}", excerpt(spec)), &columns);
        let mut row = |class: String, counts: Vec<usize>| {
            let all: usize = counts.iter().sum();
            let counts = counts.into_iter().chain([all]).map(|n| n.to_string());
            table.row([class, NOT_STATED.to_owned()].into_iter().chain(counts));
        };
        for (i, class) in dataset.classes.iter().enumerate() {
            row(excerpt(class), splits.iter().map(|(_, counts)| counts[i]).collect());
        }
        row("all".to_owned(), splits.iter().map(|(_, counts)| counts.iter().sum()).collect());
        document.table(table);
    }
}

fn accuracy_table(caption: &str, rows: &[(&str, &str)], outcomes: &[Outcome]) -> Table {
    let recent_epochs = recent_title();
    let columns = ["model", "paper", "ours", &recent_epochs, "epochs asked for", "ours was measured on"];
    let mut table = Table::new(caption, &columns);
    for (name, papers) in rows {
        let outcome = named(outcomes, name);
        table.row([
            outcome.experiment.title.to_owned(),
            (*papers).to_owned(),
            accuracy(outcome),
            recent(outcome),
            format!("{} (paper {})", outcome.epochs, outcome.experiment.epochs(None)),
            outcome.provenance().unwrap_or("-".to_owned()),
        ]);
    }
    table
}

pub(super) fn accuracy_fer2013(document: &mut Document, outcomes: &[Outcome]) {
    document.heading("Table 4: accuracy on FER2013");
    document.text(
        "The paper's figures are, as we read it, means over five folds that were cut after augmentation, so that copies \
         of a tested face are trained on. Ours are of the data's own splits but for the last row, where folds of the \
         training images are cut before. CNN-SVM has no penalty of its weights' size beside the squared hinge loss, \
         and windows of 3 x 3 with batch norm where Tang 2013 has larger ones without.",
    );
    let rows = [&FER2013[..], &[FER2013_FOLDS]].concat();
    document.table(accuracy_table("Models on FER2013", &rows, outcomes));
}

pub(super) fn beyond_the_paper(document: &mut Document, outcomes: &[Outcome]) {
    document.heading("Beyond the paper: one change at a time");
    document.text(
        "DNN + CBAM with softmax and the paper's recipe, and with one thing that the paper leaves out, after the last \
         epoch, on the images that were watched while training: validation where there is one, so that nothing is \
         chosen by a split that is kept for the end. Differences, in points, are between runs of the same seed and as \
         many epochs. With a rate that never falls, one epoch differs from the next by points, and the mean of the \
         last few by less. A plateau steers the rate by the very images that it is compared on. What holds alone and \
         for so many epochs need not hold together, or for more.",
    );
    let recent_epochs = recent_title();
    let columns = [
        "change",
        "accuracy",
        "against none",
        &recent_epochs,
        "against none",
        "epochs asked for",
        "seeds",
        "measured on",
    ];
    let mut table = Table::new("One change at a time, on FER2013", &columns);
    let base = named(outcomes, BASE);
    let changed = outcomes.iter().filter(|outcome| outcome.experiment.is_choice);
    for (title, outcome) in [("none", base)].into_iter().chain(changed.map(|o| (o.experiment.title, o))) {
        let against = |measure: Measure| {
            let difference = outcome.against(base, measure).filter(|_| outcome.experiment.is_choice);
            difference.map_or("-".to_owned(), points)
        };
        let held = outcome.runs.first().and_then(|run| run.record.rows.last()?.watched());
        table.row([
            title.to_owned(),
            by(outcome, Measured::last, std::iter::empty()),
            against(Measured::last),
            recent(outcome),
            against(Measured::recent),
            outcome.epochs.to_string(),
            outcome.seeds().join(", "),
            held.map_or("-".to_owned(), |(split, _)| {
                format!("{split}, {}/last.safetensors", outcome.experiment.name)
            }),
        ]);
    }
    document.table(table);

    let mut table =
        Table::new("The unchanged runs' last weights, by --views", &["views", "accuracy", "against one"]);
    let views: [(&str, Measure, Measure); 3] = [
        ("one", Measured::last, |_| None),
        ("flip", |run| run.with_views(Views::Flip), |run| run.gained_with(Views::Flip)),
        ("ten-crop", |run| run.with_views(Views::TenCrop), |run| run.gained_with(Views::TenCrop)),
    ];
    for (name, measure, gained) in views {
        let reasons = base.runs.iter().filter_map(|run| run.by_views.as_ref().err());
        let gained = base.mean(gained).map_or("-".to_owned(), points);
        table.row([name.to_owned(), by(base, measure, reasons), gained]);
    }
    document.table(table);
}

pub(super) fn accuracy_ckplus(document: &mut Document, outcomes: &[Outcome], inputs: &Inputs) {
    document.heading("Table 5: accuracy on CK+, and what its protocol is worth");
    document.text(
        "The paper augments first and cuts the folds then, so that copies of a tested face are trained on. The second \
         row does the same, the third draws the very same copies after the cut: their difference is the leak. The \
         first row draws new versions in every epoch and tests on images as they are. In the last nobody is in both \
         parts.",
    );
    // Its sequences show a person several times, also where the files are not named by whom they show.
    let persons = inputs.get(Source::CkPlus).is_none_or(|data| data.spec != SYNTHETIC);
    let by_image = named(outcomes, CKPLUS[0].0).experiment.runs()[0].fold;
    for leak in by_image.iter().flat_map(|fold| fold.leaks(persons)) {
        document.warning(format!("But for the last row the folds are {leak}."));
    }
    document.table(accuracy_table("DNN-CBAM on CK+, five folds", &CKPLUS, outcomes));
}

pub(super) fn confusion(document: &mut Document, outcomes: &[Outcome]) {
    for (table, name, file) in
        [("Table 6", "fer-dnn-cbam", "confusion-fer2013"), ("Table 7", "ckplus-dnn-cbam", "confusion-ckplus")]
    {
        let outcome = named(outcomes, name);
        document.heading(format!("{table}: confusion on {}", outcome.experiment.source.name()));
        let mut runs = outcome.evaluated();
        let (Some(first), Some(provenance)) = (runs.next(), outcome.shown_provenance()) else {
            document.text(format!("Ours: {}. In the paper: {NOT_STATED}.", accuracy(outcome)));
            continue;
        };
        let mut scored: Scored = first.scored.clone();
        runs.for_each(|run| scored.extend(run.scored.clone()));
        parts::confusion(document, file, &first.classes, &scored.confusion(), &provenance);
        document.text(format!("In the paper: {NOT_STATED}."));
    }
}

/// Where the curves of a figure come from: each experiment with its epochs, seed and the split that `of` tells of a row.
fn sources<'a>(
    outcomes: impl IntoIterator<Item = &'a Outcome>,
    of: impl Fn(&EpochRow) -> Option<Split>,
) -> String {
    let each = outcomes.into_iter().map(|outcome| {
        let name = outcome.experiment.name;
        let seed = outcome.runs.first().map_or(0, |run| run.record.config.seed);
        let epochs: Vec<String> = outcome.shown().map(|run| run.record.rows.len().to_string()).collect();
        let split = outcome.runs.first().and_then(|run| of(run.record.rows.last()?));
        let images = split.map_or(String::new(), |split| format!(", images of {split}"));
        format!("{name} (to epoch {}, seed {seed}{images})", epochs.join(", "))
    });
    each.collect::<Vec<_>>().join("; ")
}

/// What is missing of the experiments `names`.
fn absent(document: &mut Document, outcomes: &[Outcome], names: &[&str]) {
    let missing: Vec<&str> =
        (names.iter().copied()).filter(|name| named(outcomes, name).runs.is_empty()).collect();
    if !missing.is_empty() {
        document.text(format!("Not run: {}.", missing.join(", ")));
    }
}

pub(super) fn cbam_positions(document: &mut Document, outcomes: &[Outcome]) {
    document.heading("Figure 6: loss by the position of the CBAM");
    let begun: Vec<(&str, &Outcome)> = (POSITIONS.iter())
        .map(|(label, name)| (*label, named(outcomes, name)))
        .filter(|(_, outcome)| !outcome.runs.is_empty())
        .collect();
    if !begun.is_empty() {
        let curve = |(label, outcome): &(&str, &Outcome)| {
            parts::curve(label, &outcome.runs[0].record.rows, |row: &EpochRow| Some(row.loss))
        };
        let curves: Vec<Curve> = begun.iter().map(curve).collect();
        let ends = begun.iter().map(|(label, outcome)| {
            let last = outcome.runs[0].record.rows.last().map_or(f64::NAN, |row| row.loss);
            format!("{label} {last:.4}")
        });
        let alt = format!("Training loss by epoch; in the end {}", ends.collect::<Vec<_>>().join(", "));
        let caption = format!(
            "Mean training loss by epoch, by where the CBAM sits, from {}.",
            sources(begun.iter().map(|(_, outcome)| *outcome), |_| None)
        );
        let svg = curve_chart("training loss", Scale::Number, &curves);
        document.figure(parts::chart("cbam-position", svg, alt, caption));
    }
    absent(document, outcomes, &POSITIONS.map(|(_, name)| name));
    document.text(format!(
        "In the paper: best after block 4, between middle and output module; its losses {NOT_STATED}."
    ));
}

pub(super) fn augmentation(document: &mut Document, inputs: &Inputs) -> Result<()> {
    document.heading("Figure 9: augmentation");
    match inputs.get(Source::Fer2013).or(inputs.get(Source::CkPlus)) {
        Some(data) if !data.dataset.train.is_empty() => {
            let first = super::EXPERIMENTS[0];
            let config = first.config(data, first.runs()[0], 1);
            document.figure(parts::augmentation(&data.dataset.train, &config)?);
        }
        _ => document.text("No data was given to draw from."),
    }
    Ok(())
}

pub(super) fn accuracy_curves(document: &mut Document, outcomes: &[Outcome]) {
    document.heading("Figure 10: accuracy by epoch on FER2013");
    let models: Vec<&Outcome> = (FER2013.iter())
        .map(|(name, _)| named(outcomes, name))
        .filter(|outcome| !outcome.runs.is_empty())
        .collect();
    let watched = |row: &EpochRow| row.watched().map(|(split, _)| split);
    let held = |outcome: &&Outcome| {
        parts::curve(outcome.experiment.title, &outcome.runs[0].record.rows, EpochRow::watched_accuracy)
    };
    let curves: Vec<Curve> = models.iter().map(held).collect();
    curves_figure(document, "accuracy-fer2013", &curves, &sources(models.iter().copied(), watched));
    absent(document, outcomes, &FER2013.map(|(name, _)| name));

    document.heading("Figure 11: accuracy by epoch on CK+");
    let outcome = named(outcomes, "ckplus-dnn-cbam");
    let fold = |run: &Measured| parts::curve(&run.name(), &run.record.rows, EpochRow::watched_accuracy);
    let curves: Vec<Curve> = outcome.runs.iter().map(fold).collect();
    curves_figure(document, "accuracy-ckplus", &curves, &sources([outcome], watched));
    absent(document, outcomes, &[outcome.experiment.name]);
}

fn curves_figure(document: &mut Document, name: &'static str, curves: &[Curve], sources: &str) {
    if !curves.is_empty() {
        let ends = curves.iter().map(|curve| {
            format!("{} {}", curve.label, percent(curve.points.last().map_or(f64::NAN, |point| point.1)))
        });
        let alt = format!("Accuracy by epoch; in the end {}", ends.collect::<Vec<_>>().join(", "));
        let caption = format!("Accuracy on held-out images after each epoch, from {sources}.");
        let svg = curve_chart("accuracy", Scale::Share, curves);
        document.figure(parts::chart(name, svg, alt, caption));
    }
    document.text(format!("In the paper: {NOT_STATED}."));
}

pub(super) fn mistakes(document: &mut Document, outcomes: &[Outcome]) -> Result<()> {
    document.heading("Figure 12: misclassified faces");
    let outcome = named(outcomes, "fer-dnn-cbam");
    let mistakes = outcome.mistakes(MISTAKES);
    match (outcome.evaluated().next(), outcome.shown_provenance()) {
        (Some(first), Some(provenance)) if !mistakes.is_empty() => {
            let caption = format!(
                "Faces of FER2013 that DNN-CBAM takes for another class, the most confident first: {provenance}."
            );
            document.blocks.push(parts::mistakes(&first.classes, &mistakes, caption)?);
        }
        (Some(_), _) => document.text("Every image was recognised."),
        (None, _) => document.text(format!("Ours: {}.", accuracy(outcome))),
    }
    Ok(())
}
