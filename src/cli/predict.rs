//! `moue predict`.

use super::Context;
use crate::error::{Error, Result};
use crate::infer::{Classifier, argmax};
use crate::output::{errln, outln};
use crate::views::Views;
use image::GrayImage;
use moue_datasets::PIXELS;
#[cfg(feature = "serve")]
use moue_datasets::decode::decode_grey;
use moue_datasets::decode::{fit_face, is_image, read_grey};
use moue_datasets::message::{excerpt, one_line, shown};
use rayon::prelude::*;
use serde::ser::{Serialize, Serializer};
use std::fs;
use std::path::{Path, PathBuf};

/// Images decoded and classified together.
const CHUNK: usize = 256;

/// Tell the expression of faces.
///
/// Each image is taken as one face: the largest square around its centre. Files that cannot be read are reported
/// and left out; the exit status is 1 only if nothing could be read.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Images, and folders to search for images.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Weights of a run, such as runs/NAME/best.safetensors.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Views of each face whose answers are averaged.
    #[arg(long, value_enum, value_name = "VIEWS", default_value_t = Views::One)]
    views: Views,
}

/// What `--json` prints.
#[derive(Debug, serde::Serialize)]
struct Predictions {
    results: Vec<Prediction>,
}

/// One image.
#[derive(Debug, serde::Serialize)]
pub(super) struct Prediction {
    path: PathBuf,
    faces: Vec<Face>,
    error: Option<String>,
}

/// One face of an image.
#[derive(Debug, serde::Serialize)]
struct Face {
    /// x, y, width, height in pixels of the image.
    #[serde(rename = "box")]
    place: [u32; 4],
    label: String,
    probabilities: Probabilities,
}

/// A JSON object in the order of the classes.
#[derive(Debug)]
struct Probabilities(Vec<(String, f32)>);

impl Serialize for Probabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(class, p)| (class, p)))
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let mut classifier = Classifier::load(&args.weights, context.isa)?.with_views(args.views);
    let mut results = Vec::new();
    let mut images = Vec::new();
    for path in &args.paths {
        match find_images(path) {
            Ok(found) => images.extend(found),
            Err(error) => results.push(Prediction::failed(path, error)),
        }
    }
    for paths in images.chunks(CHUNK) {
        results.extend(predict(&mut classifier, paths)?);
    }
    for result in &results {
        if let Some(error) = &result.error {
            errln!("moue: {}: {error}", shown(&result.path));
        }
    }
    let all_failed = results.iter().all(|r| r.error.is_some());
    let predictions = Predictions { results };
    context.print(&predictions, || predictions.print());
    if all_failed {
        return Err(Error::format(&args.paths[0], "no face could be read"));
    }
    Ok(())
}

/// The image itself, or all images below a folder, sorted; links to folders are not followed.
fn find_images(path: &Path) -> std::result::Result<Vec<PathBuf>, String> {
    if !fs::metadata(path).map_err(|e| e.to_string())?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", shown(&folder)))?;
        for entry in entries.filter_map(std::result::Result::ok) {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if is_image(&path) && !is_special(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    if found.is_empty() { Err("no image in this folder".to_owned()) } else { Ok(found) }
}

/// Whether this is a pipe or a device: reading one might never end.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Reads and classifies images; those that cannot be read come back with their error.
fn predict(classifier: &mut Classifier, paths: &[PathBuf]) -> Result<Vec<Prediction>> {
    let decoded: Vec<_> = paths.par_iter().map(|path| read_square(path)).collect();
    results(classifier, paths, &decoded)
}

/// A face and where it lies, or what is wrong with its image.
type Decoded = std::result::Result<([u8; PIXELS], [u32; 4]), String>;

fn results(classifier: &mut Classifier, paths: &[PathBuf], decoded: &[Decoded]) -> Result<Vec<Prediction>> {
    let faces: Vec<&[u8; PIXELS]> = decoded.iter().filter_map(|d| Some(&d.as_ref().ok()?.0)).collect();
    let mut probabilities = classifier.probabilities(&faces)?.into_iter();
    let results = paths.iter().zip(decoded).map(|(path, decoded)| match decoded {
        Err(error) => Prediction::failed(path, error.clone()),
        Ok((_, place)) => {
            let p = probabilities.next().expect("probabilities for each face");
            let label = classifier.classes()[argmax(&p)].clone();
            let probabilities = Probabilities(classifier.classes().iter().cloned().zip(p).collect());
            let face = Face { place: *place, label, probabilities };
            Prediction { path: path.clone(), faces: vec![face], error: None }
        }
    });
    Ok(results.collect())
}

/// Classifies the faces of the image that these bytes are; one that cannot be read comes back with its error.
#[cfg(feature = "serve")]
pub(super) fn predict_image(classifier: &mut Classifier, bytes: &[u8]) -> Result<Prediction> {
    // As for standard input.
    let path = Path::new("-");
    let decoded = decode_grey(bytes).map(|grey| square(&grey)).map_err(|error| error.to_string());
    Ok(results(classifier, &[path.to_owned()], &[decoded])?.remove(0))
}

fn read_square(path: &Path) -> Decoded {
    read_grey(path).map(|grey| square(&grey)).map_err(|error| without_path(path, &error))
}

/// The largest square around an image's centre as a face, and where it lies.
fn square(grey: &GrayImage) -> ([u8; PIXELS], [u32; 4]) {
    let (width, height) = grey.dimensions();
    let side = width.min(height);
    (fit_face(grey), [(width - side) / 2, (height - side) / 2, side, side])
}

/// The message without a path in front: the path stands beside it.
fn without_path(path: &Path, error: &moue_datasets::Error) -> String {
    let text = error.to_string();
    let prefix = format!("{}: ", shown(path));
    text.strip_prefix(&prefix).map_or(text.clone(), str::to_owned)
}

#[cfg(feature = "serve")]
impl Prediction {
    /// How many faces were found.
    pub(super) fn faces(&self) -> usize {
        self.faces.len()
    }

    /// Whether the image could not be read.
    pub(super) fn is_failed(&self) -> bool {
        self.error.is_some()
    }
}

impl Prediction {
    fn failed(path: &Path, error: String) -> Self {
        Self { path: path.to_owned(), faces: Vec::new(), error: Some(one_line(error)) }
    }
}

impl Predictions {
    fn print(&self) {
        for result in &self.results {
            for face in &result.faces {
                let mut ranked: Vec<_> = face.probabilities.0.iter().collect();
                ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
                let ranked: Vec<_> = ranked
                    .iter()
                    .take(3)
                    .map(|(class, p)| format!("{} {:.1} %", excerpt(class), 100.0 * p))
                    .collect();
                outln!("{}: {}", shown(&result.path), ranked.join(", "));
            }
        }
    }
}
