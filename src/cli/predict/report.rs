//! Telling predictions on stdout, each as soon as it is known.

use super::recognise::{Face, Prediction};
use crate::output::{out, outln};
use moue_datasets::message::excerpt;

/// Probabilities in a line of text.
const RANKS: usize = 3;

/// How predictions are told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    /// A line for each face.
    Text,
    /// A row for each face, and one for each picture without.
    Csv,
    /// One object, `results`.
    Json,
    /// An object a picture.
    JsonLines,
}

/// Tells predictions.
pub(super) struct Report {
    format: Format,
    classes: Vec<String>,
    told: usize,
}

impl Report {
    pub(super) fn new(format: Format, classes: &[String]) -> Self {
        Self { format, classes: classes.to_vec(), told: 0 }
    }

    pub(super) fn begin(&self) {
        match self.format {
            Format::Json => out!("{{\"results\":["),
            Format::Csv => {
                let fixed = ["path", "frame", "face", "track", "x", "y", "width", "height", "label"];
                let header = fixed.into_iter().chain(self.classes.iter().map(String::as_str)).chain(["note"]);
                write_row(header);
            }
            Format::Text | Format::JsonLines => {}
        }
    }

    pub(super) fn tell(&mut self, prediction: &Prediction) {
        let json = || serde_json::to_string(prediction).expect("plain data");
        match self.format {
            Format::Text => tell_text(prediction),
            Format::Csv => self.tell_csv(prediction),
            Format::Json => out!("{}{}", if self.told > 0 { "," } else { "" }, json()),
            Format::JsonLines => outln!("{}", json()),
        }
        self.told += 1;
    }

    pub(super) fn finish(&self) {
        if self.format == Format::Json {
            outln!("]}}");
        }
    }

    fn tell_csv(&self, prediction: &Prediction) {
        let note = prediction.error.as_deref().or(prediction.note).unwrap_or_default();
        let path = prediction.path.to_string_lossy();
        let frame = prediction.frame.map_or_else(String::new, |frame| frame.to_string());
        let row = |cells: &[String]| {
            let start = [&*path, &frame].into_iter();
            write_row(start.chain(cells.iter().map(String::as_str)).chain([note]));
        };
        for (i, face) in prediction.faces.iter().enumerate() {
            let track = face.track.map_or_else(String::new, |track| track.to_string());
            let place = face.place.iter().map(u32::to_string);
            let cells = [i.to_string(), track].into_iter().chain(place).chain([face.label.clone()]);
            let cells = cells.chain(face.probabilities.0.iter().map(|(_, p)| p.to_string()));
            row(&cells.collect::<Vec<_>>());
        }
        if prediction.faces.is_empty() {
            row(&vec![String::new(); 7 + self.classes.len()]);
        }
    }
}

fn write_row<'a>(cells: impl Iterator<Item = &'a str>) {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let cells = cells.collect::<Vec<_>>();
    let row = writer.write_record(cells).ok().and_then(|()| writer.into_inner().ok());
    out!("{}", String::from_utf8(row.expect("memory takes everything")).expect("made of text"));
}

fn tell_text(prediction: &Prediction) {
    let name = prediction.name();
    for face in &prediction.faces {
        let [x, y, w, h] = face.place;
        let track = face.track.map_or_else(String::new, |track| format!(" face {track}"));
        outln!("{name}{track} [{x} {y} {w} {h}]: {}", ranks(face));
    }
    if let Some(note) = prediction.note {
        outln!("{name}: {note}");
    }
}

/// The most probable classes.
fn ranks(face: &Face) -> String {
    let ranked = face.probabilities.ranked();
    let ranked = ranked.iter().take(RANKS).map(|(class, p)| format!("{} {:.1} %", excerpt(class), 100.0 * p));
    ranked.collect::<Vec<_>>().join(", ")
}
