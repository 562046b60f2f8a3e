//! Parts that reports of one run and of many have in common.

use super::chart::{Curve, confusion_chart, recall_chart};
use super::document::{Block, Figure, Gallery, Image, Table, png};
use super::scored::Mistake;
use super::{Confusion, Document};
use crate::error::Result;
use crate::nn::{Architecture, Attention, CbamPosition, Model};
use crate::parallel::Cooperation;
use crate::train::{Config, Distillation, EpochRow, Fold, Folding};
use image::GrayImage;
use moue_datasets::message::excerpt;
use moue_datasets::{Faces, SIDE, augmentation_sheet, contact_sheet};
use serde::Serialize;
use serde_json::Value;

/// Versions of each face on a sheet of the augmentation.
const DRAWS: usize = 8;
/// Faces in a row of the sheet of mistakes.
const COLUMNS: usize = 6;

/// 0 to 1 as percent, on one line.
pub(super) fn percent(x: f64) -> String {
    if x.is_finite() { format!("{:.2}\u{a0}%", 100.0 * x) } else { "-".to_owned() }
}

/// A value of each epoch, for those that have one.
pub(super) fn curve(label: &str, rows: &[EpochRow], value: impl Fn(&EpochRow) -> Option<f64>) -> Curve {
    let points = rows.iter().filter_map(|row| Some((row.epoch as f64, value(row)?))).collect();
    Curve { label: label.to_owned(), points }
}

/// A figure that is a chart.
pub(super) fn chart(name: &'static str, svg: String, alt: String, caption: impl Into<String>) -> Figure {
    Figure { name, alt, caption: caption.into(), image: Image::Svg(svg) }
}

/// The normalised matrix as a heat map, with its numbers in a table.
pub(super) fn confusion(
    document: &mut Document,
    name: &'static str,
    classes: &[String],
    confusion: &Confusion,
    provenance: &str,
) {
    let classes: Vec<String> = classes.iter().map(excerpt).collect();
    let alt = format!("Confusion matrix of {} classes; the table below has its counts", classes.len());
    let caption = format!(
        "Share of each true class's images (rows) by recognised class (columns), counts below: {provenance}."
    );
    document.figure(chart(name, confusion_chart(&classes, confusion), alt, caption));
    let mut columns = vec!["true class"];
    columns.extend(classes.iter().map(String::as_str));
    columns.push("recall");
    let mut table = Table::new("Counts of the confusion matrix", &columns);
    for ((class, counts), recall) in classes.iter().zip(confusion.counts()).zip(confusion.recall()) {
        let counts = counts.iter().map(u64::to_string);
        let recall = recall.map_or("no images".to_owned(), percent);
        table.row(std::iter::once(class.clone()).chain(counts).chain([recall]));
    }
    document.table(Table { folded: true, ..table });
}

/// Recall of each class as bars.
pub(super) fn recall(classes: &[String], confusion: &Confusion) -> Figure {
    let classes: Vec<String> = classes.iter().map(excerpt).collect();
    let recall = confusion.recall();
    let each = classes.iter().zip(&recall).map(|(class, recall)| {
        let recall = recall.map_or("no images".to_owned(), percent);
        format!("{class} {recall}")
    });
    let alt = format!("Recall of each class: {}", each.collect::<Vec<_>>().join(", "));
    chart("recall", recall_chart(&classes, &recall), alt, "Share of each class's images that was recognised.")
}

/// Faces that were taken for another class, with both classes and the probability of the wrong one.
///
/// # Errors
/// Faces that are no faces.
pub(super) fn mistakes(classes: &[String], mistakes: &[Mistake], caption: String) -> Result<Block> {
    let faces: Vec<&[u8]> = mistakes.iter().map(|mistake| &mistake.face[..]).collect();
    let sheet = contact_sheet(&faces, COLUMNS, 2)?;
    let alone = |mistake: &Mistake| {
        let side = SIDE as u32;
        let picture = GrayImage::from_raw(side, side, mistake.face.to_vec()).expect("a face of 48 x 48");
        let (truth, answer) = (excerpt(&classes[mistake.truth]), excerpt(&classes[mistake.answer]));
        (png(&picture), format!("{truth} taken for {answer}, {}", percent(mistake.confidence)))
    };
    let alt = format!("Sheet of {} misclassified faces; the list has their classes", mistakes.len());
    let sheet = Figure { name: "mistakes", alt, caption, image: Image::Png(png(&sheet)) };
    Ok(Block::Faces(Gallery { sheet, faces: mistakes.iter().map(alone).collect() }))
}

/// For each class a face of `faces` and versions of it, as `config` has them drawn.
///
/// # Errors
/// No faces, or ranges that cannot be drawn from.
pub(super) fn augmentation(faces: &Faces, config: &Config) -> Result<Figure> {
    let mut augment = config.augment.ranges();
    augment.erase = config.refinements.erase as f32;
    let sheet = augmentation_sheet(faces, &augment, DRAWS, config.seed, 2)?;
    Ok(Figure {
        name: "augmentation",
        alt: format!("A row for each class: a training face, and {DRAWS} random versions of it"),
        caption: format!(
            "A training face of each class as it is, and {DRAWS} random versions of it, {}.",
            match config.fold {
                Some(Fold { copies: 1.., .. }) => "as its fixed copies were drawn",
                _ => "before any mixup",
            }
        ),
        image: Image::Png(png(&sheet)),
    })
}

/// Which attention module the model has, and where.
fn attention(model: &Model) -> String {
    match model.cbam {
        CbamPosition::None => "none".to_owned(),
        position => format!("{} at {}", name(model.attention), name(position)),
    }
}

/// The model's name; one with another attention module than its name has says so.
pub(super) fn model(model: &Model) -> String {
    match model.attention {
        Attention::Cbam => model.name().to_owned(),
        other => format!("{} with {}", model.name(), name(other)),
    }
}

/// What a run was started with.
pub(super) fn configuration(config: &Config) -> Table {
    let mut table = Table::new("Configuration", &["option", "value"]);
    let model = &config.model;
    table.row(["data", &excerpt(&config.data)]);
    table.row(["limit of each split", &config.limit.map_or("none".to_owned(), |n| n.to_string())]);
    table.row(["cross-validation", &config.fold.map_or("none".to_owned(), fold)]);
    table.row(["model", model.name()]);
    table.row(["attention", &attention(model)]);
    if model.architecture == Architecture::Dnn {
        table.row(["identity blocks", &listed(&model.identity_blocks)]);
    }
    table.row(["channels of the blocks", &listed(model.widths())]);
    table.row(["loss", &name(model.loss)]);
    table.row(["classes", &model.classes.to_string()]);
    table.row(["epochs", &config.epochs.to_string()]);
    table.row(["images a step", &config.batch.to_string()]);
    table.row(["optimiser", &name(config.optimizer)]);
    table.row(["learning rate", &format!("{} ({})", config.lr, name(config.schedule))]);
    table.row(["seed", &config.seed.to_string()]);
    table.row(["start", &config.init.as_deref().map_or("random".to_owned(), excerpt)]);
    if let Some(Distillation { teachers, share }) = &config.distillation {
        table.row(["teachers", &format!("{share} of the target by {}", excerpt(teachers.join(", ")))]);
    }
    table.row(["augmentation", &name(config.augment)]);
    if config.cooperation != Default::default() {
        let Cooperation { reduce, batch_norm } = config.cooperation;
        table.row(["processes", &format!("sums {}, batch norms {}", name(reduce), name(batch_norm))]);
    }
    let refinements = config.refinements;
    table.row(["class-balanced", if refinements.balance { "yes" } else { "no" }]);
    for (option, value) in [
        ("weight decay", refinements.weight_decay),
        ("label smoothing", refinements.smoothing),
        ("random erasing", refinements.erase),
        ("mixup", refinements.mixup),
        ("moving average", refinements.average),
    ] {
        table.row([option, &value.to_string()]);
    }
    table
}

/// How a fold was cut.
pub(super) fn fold(fold: Fold) -> String {
    let by = match fold.by {
        Folding::Image => "image",
        Folding::Subject => "person",
    };
    let copies = match (fold.copies, fold.leaky) {
        (0, _) => String::new(),
        (n, true) => format!(", cut after {n} augmented copies of each image were made"),
        (n, false) => format!(", with {n} augmented copies of each image made after the cut"),
    };
    format!("tested on fold {} of {}, by {by}{copies}", fold.index, fold.of)
}

/// With commas between them.
fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

/// As the configuration's file has it, without the marks of JSON.
fn name(value: impl Serialize) -> String {
    match serde_json::to_value(value).expect("plain data") {
        Value::String(name) => name,
        other => other.to_string().replace(['{', '}', '"'], "").replace([':', ','], " "),
    }
}
