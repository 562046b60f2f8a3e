//! Files of results: copies of pictures with boxes, and heat maps.

use super::draw::{LETTER, fill, ink_on, outline, width_of, write};
use super::explained::{Explained, caption};
use super::inputs::Item;
use super::recognise::{Face, Prediction};
use super::seal::{is_sealed, sealed};
use super::{Args, Context};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::infer::Classifier;
use crate::output::errln;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use moue_datasets::message::shown;
use rayon::prelude::*;
use std::collections::HashSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// JPEG quality of copies.
const QUALITY: u8 = 92;

/// Colours of the classes in their order, far apart for all kinds of eyes (Wong 2011, and grey).
const COLOURS: [[u8; 3]; 8] = [
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [240, 228, 66],
    [0, 114, 178],
    [230, 159, 0],
    [86, 180, 233],
    [160, 160, 160],
];

/// Writes pictures of results as they come.
pub(super) struct Pictures {
    annotated: Option<Folder>,
    explained: Option<(Folder, Explained)>,
}

/// A folder of pictures with names of their own.
struct Folder {
    path: PathBuf,
    taken: HashSet<PathBuf>,
}

fn real(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(Error::io(path))
}

impl Folder {
    fn new(path: &Path, watched: Option<&Path>) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        if let Some(watched) = watched
            && real(path)?.starts_with(real(watched)?)
        {
            // Each copy would be a new picture.
            return Err(Error::Usage(format!("{} lies in the folder that is watched", path.display())));
        }
        Ok(Self { path: path.to_owned(), taken: HashSet::new() })
    }

    /// A file for what is called `name`, with this ending; `-2` and so on are added where two pictures have one name.
    fn file(&mut self, name: &Path, ending: &str) -> PathBuf {
        // `..` and `/` would lead out of the folder.
        let parts = name.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
        let name: PathBuf = parts.collect();
        let stem = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (1..)
            .map(|count| match count {
                1 => name.with_file_name(format!("{stem}.{ending}")),
                count => name.with_file_name(format!("{stem}-{count}.{ending}")),
            })
            .find(|name| self.taken.insert(name.clone()))
            .map(|name| self.path.join(name))
            .expect("numbers do not end")
    }
}

impl Pictures {
    pub(super) fn new(args: &Args, classifier: &Classifier, context: &Context) -> Result<Self> {
        let weights = classifier.weights();
        let folder = |path: &PathBuf| Folder::new(path, args.watch.as_deref());
        let annotated = args.annotate.as_ref().map(folder).transpose()?;
        let explained = match &args.explain {
            None => None,
            Some(path) => {
                let explained = Explained::new(weights, args.explain_layer.as_deref(), context.isa)
                    .map_err(|error| Error::Usage(format!("--explain-layer: {error}")))?;
                Some((folder(path)?, explained))
            }
        };
        if let (Some(annotated), Some((explained, _))) = (&annotated, &explained)
            && real(&annotated.path)? == real(&explained.path)?
        {
            let reason =
                "--annotate and --explain: each wants a folder of its own, as their files share names";
            return Err(Error::Usage(reason.to_owned()));
        }
        Ok(Self { annotated, explained })
    }

    /// The folders that are written to.
    pub(super) fn folders(&self) -> Result<Vec<PathBuf>> {
        let explained = self.explained.iter().map(|(folder, _)| folder);
        self.annotated.iter().chain(explained).map(|folder| real(&folder.path)).collect()
    }

    /// Writes what was asked for.
    pub(super) fn write(&mut self, items: &[Item], predictions: &[Prediction]) -> Result<()> {
        let read = || items.iter().zip(predictions).filter(|(_, prediction)| prediction.error.is_none());
        if let Some(folder) = &mut self.annotated {
            let files: Vec<_> =
                read().map(|(item, p)| (folder.file(&item.name, ending(item)), item, p)).collect();
            files.par_iter().try_for_each(|(file, item, p)| annotate(file, item, p))?;
        }
        if let Some((folder, explained)) = &mut self.explained {
            for (item, prediction) in read() {
                for face in &prediction.faces {
                    let file = folder.file(&item.name, "png");
                    keep(item, &file)?;
                    save(&file, &explained.picture(face).into(), ImageFormat::Png)?;
                }
            }
        }
        Ok(())
    }
}

/// JPEG stays JPEG; all else becomes PNG.
fn ending(item: &Item) -> &'static str {
    match ImageFormat::from_path(&item.name) {
        Ok(ImageFormat::Jpeg) => "jpg",
        _ => "png",
    }
}

fn save(file: &Path, picture: &DynamicImage, format: ImageFormat) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut bytes = Cursor::new(Vec::new());
    let written = match format {
        ImageFormat::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY)),
        format => picture.write_to(&mut bytes, format),
    };
    written.map_err(|error| Error::format(file, error.to_string()))?;
    write_atomically(file, &sealed(&bytes.into_inner(), format))
}

/// Checks that `file` replaces no picture but one that was written here, and not the one that it shows.
fn keep(item: &Item, file: &Path) -> Result<()> {
    let wrong = match (fs::canonicalize(file), fs::canonicalize(&item.path)) {
        (Ok(file), Ok(picture)) if file == picture => "would replace the picture itself",
        (Ok(file), _) if !is_sealed(&file) => "would replace a picture that is not moue's",
        _ => return Ok(()),
    };
    Err(Error::format(file, format!("{wrong}: choose another folder")))
}

/// Writes a copy of a picture with its faces. The picture is read once more: keeping all of a batch until they are
/// classified would take gigabytes.
fn annotate(file: &Path, item: &Item, prediction: &Prediction) -> Result<()> {
    keep(item, file)?;
    let mut picture = match item.picture() {
        Ok(picture) => picture.into_rgb8(),
        Err(error) => {
            // Gone since it was recognised, and told: that stops nothing.
            errln!("moue: warning: {}: no copy: {error}", shown(&item.path));
            return Ok(());
        }
    };
    for face in &prediction.faces {
        mark(&mut picture, face);
    }
    let format = ImageFormat::from_path(file).unwrap_or(ImageFormat::Png);
    save(file, &picture.into(), format)
}

/// Draws a face's box with its label above it, or inside where there is no room.
fn mark(picture: &mut RgbImage, face: &Face) {
    let colour = Rgb(COLOURS[face.class % COLOURS.len()]);
    let (width, height) = picture.dimensions();
    let [x, y, w, h] = face.place.map(i64::from);
    let thick = (width.min(height) / 250).max(1);
    outline(picture, [x, y, w, h], thick, colour);
    let text = caption(face);
    // About as wide as the box, but legible.
    let legible = 1 + width.min(height) / 800;
    let scale = (face.place[2] / width_of(&text, 1).max(1)).min(16).max(legible);
    let (text_width, text_height) = (i64::from(width_of(&text, scale)), i64::from((LETTER + 2) * scale));
    let left = x.min(i64::from(width) - text_width).max(0);
    let top = if y >= text_height { y - text_height } else { y };
    fill(picture, [left, top, text_width, text_height], colour);
    write(picture, (left, top + i64::from(scale)), scale, &text, ink_on(colour));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_gets_a_file_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Folder::new(&folder.path().join("new"), None).unwrap();
        let mut file = |name: &str| {
            let file = files.file(Path::new(name), "png");
            file.strip_prefix(folder.path().join("new")).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(file("a/b.jpg"), "a/b.png");
        assert_eq!(file("a/b.gif"), "a/b-2.png");
        assert_eq!(file("../../b.tar.gif"), "b.tar.png");
        assert_eq!(file("/etc/b.png"), "etc/b.png");
        assert!(Folder::new(&folder.path().join("in/side"), Some(folder.path())).is_err());
    }
}
