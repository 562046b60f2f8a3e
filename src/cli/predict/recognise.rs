//! From pictures to predictions.

use super::inputs::Item;
use crate::error::Result;
use crate::faces::{Cut, Finder, Mode, Tracker};
use crate::infer::{Classifier, argmax};
use crate::output::lossily;
use moue_datasets::message::shown;
use moue_datasets::{PIXELS, SIDE};
use rayon::prelude::*;
use serde::ser::{Serialize, Serializer};
use std::path::PathBuf;

/// What is noted of a picture without a face.
const NO_FACE: &str = "no face found";

/// What is noted of a picture that is taken for a face because it is small and square.
const TAKEN: &str = "no face found, so the whole picture was taken for one";

/// Finds and classifies faces.
pub(in crate::cli) struct Recogniser {
    pub(super) classifier: Classifier,
    pub(super) finder: Finder,
}

/// What is known about a picture.
#[derive(Debug, serde::Serialize)]
pub(in crate::cli) struct Prediction {
    #[serde(serialize_with = "lossily")]
    pub(super) path: PathBuf,
    /// Number in a film, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) frame: Option<u64>,
    pub(super) faces: Vec<Face>,
    /// Why it could not be read.
    pub(super) error: Option<String>,
    /// What else is to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'static str>,
}

/// One face.
#[derive(Debug, serde::Serialize)]
pub(super) struct Face {
    /// x, y, width, height in pixels of the picture.
    #[serde(rename = "box")]
    pub(super) place: [u32; 4],
    /// Number that a face keeps through a film.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) track: Option<u32>,
    pub(super) label: String,
    /// The label's place among the classes.
    #[serde(skip)]
    pub(super) class: usize,
    pub(super) probabilities: Probabilities,
    /// Heat maps, as the address of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) explanation: Option<String>,
    #[serde(skip)]
    pub(super) cut: Cut,
}

/// A JSON object in the order of the classes.
#[derive(Debug)]
pub(super) struct Probabilities(pub(super) Vec<(String, f32)>);

impl Serialize for Probabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(class, p)| (class, p)))
    }
}

impl Probabilities {
    fn new(classes: &[String], values: Vec<f32>) -> Self {
        Self(classes.iter().cloned().zip(values).collect())
    }

    /// Classes and probabilities, the most probable first.
    pub(super) fn ranked(&self) -> Vec<(&str, f32)> {
        let mut ranked: Vec<_> = self.0.iter().map(|(class, p)| (class.as_str(), *p)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

impl Recogniser {
    /// Looks for faces in all pictures at once, and classifies all faces together. Pictures are let go of as soon as
    /// they have been searched.
    pub(super) fn recognise(&mut self, items: &[Item]) -> Result<Vec<Prediction>> {
        let finder = self.finder;
        let looked: Vec<_> = items.par_iter().map(|item| look(&finder, item)).collect();
        let cuts = looked.iter().flatten().flat_map(|looked| &looked.cuts);
        let faces: Vec<&[u8; PIXELS]> = cuts.map(|(_, cut)| &*cut.face).collect();
        let mut probabilities = self.classifier.probabilities(&faces)?.into_iter();
        let classes = self.classifier.classes();
        let predictions = items.iter().zip(looked).map(|(item, looked)| {
            let (path, frame) = (item.path.clone(), item.frame);
            let Looked { cuts, note } = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    return Prediction { path, frame, faces: Vec::new(), error: Some(error), note: None };
                }
            };
            let faces = cuts
                .into_iter()
                .zip(&mut probabilities)
                .map(|((place, cut), p)| {
                    let class = argmax(&p);
                    let label = classes[class].clone();
                    let probabilities = Probabilities::new(classes, p);
                    Face { place, track: None, label, class, probabilities, explanation: None, cut }
                })
                .collect();
            Prediction { path, frame, faces, error: None, note }
        });
        Ok(predictions.collect())
    }
}

/// The faces of a picture, before they are classified.
struct Looked {
    /// Each with its box.
    cuts: Vec<([u32; 4], Cut)>,
    note: Option<&'static str>,
}

fn look(finder: &Finder, item: &Item) -> std::result::Result<Looked, String> {
    let picture = item.picture()?.into_luma8();
    let (width, height) = picture.dimensions();
    let cuts = finder.faces(&picture);
    let note = match &cuts[..] {
        [] => Some(NO_FACE),
        // Nobody was looked for in pictures of the network's own size.
        [Cut { score: None, .. }] if finder.mode == Mode::Auto && width > SIDE as u32 => Some(TAKEN),
        _ => None,
    };
    let boxed = |cut: Cut| (cut.place.within(width, height), cut);
    Ok(Looked { cuts: cuts.into_iter().map(boxed).collect(), note })
}

impl Prediction {
    /// What messages call the picture.
    pub(super) fn name(&self) -> String {
        self.frame.map_or_else(|| shown(&self.path), |number| format!("frame {number}"))
    }

    /// Numbers the faces and smooths their probabilities.
    pub(super) fn smooth(&mut self, tracker: &mut Tracker, classes: &[String]) {
        if self.error.is_some() {
            return;
        }
        let raw = self.faces.iter();
        let raw: Vec<_> = raw
            .map(|face| (face.cut.place, face.probabilities.0.iter().map(|(_, p)| *p).collect()))
            .collect();
        for (face, (track, p)) in self.faces.iter_mut().zip(tracker.update(&raw)) {
            face.track = Some(track);
            face.class = argmax(&p);
            face.label = classes[face.class].clone();
            face.probabilities = Probabilities::new(classes, p);
        }
    }
}
