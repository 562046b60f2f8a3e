//! What `moue serve` asks for: one picture at a time, from memory, with heat maps beside the answer.

use super::explained::Explained;
use super::inputs::{Content, Item};
use super::recognise::{Prediction, Recogniser};
use crate::error::Result;
use crate::faces::Finder;
use crate::infer::Classifier;
use crate::report::{png, png_uri};
use std::path::PathBuf;

impl Recogniser {
    /// Finds faces as `moue predict` does unless it is told otherwise.
    pub(in crate::cli) fn new(classifier: Classifier) -> Self {
        Self { classifier, finder: Finder::default() }
    }

    /// Recognises the picture that these bytes are.
    pub(in crate::cli) fn recognise_bytes(&mut self, bytes: &[u8]) -> Result<Prediction> {
        let content = Content::Bytes(bytes.to_vec());
        let item = Item { path: PathBuf::from("-"), frame: None, name: PathBuf::new(), content };
        Ok(self.recognise(&[item])?.remove(0))
    }
}

/// Faces of a picture that are explained at most: a hundred would make an answer of 10 MB.
const EXPLAINED: usize = 12;

impl Prediction {
    /// Adds heat maps to its first faces.
    pub(in crate::cli) fn explain(&mut self, explained: &mut Explained) {
        for face in self.faces.iter_mut().take(EXPLAINED) {
            face.explanation = Some(png_uri(&png(&explained.picture(face))));
        }
    }

    /// How many faces were found.
    pub(in crate::cli) fn faces(&self) -> usize {
        self.faces.len()
    }

    /// Whether the picture could not be read.
    pub(in crate::cli) fn is_failed(&self) -> bool {
        self.error.is_some()
    }
}
