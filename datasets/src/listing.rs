//! What a folder holds before any image is decoded.

use std::path::{Path, PathBuf};

use image::GrayImage;
use rayon::prelude::*;

use crate::dataset::{Skipped, Split};
use crate::decode::{self, Cutter};
use crate::faces::{Faces, PIXELS};
use crate::files::Files;
use crate::peers::{Peers, pool};
use crate::{Error, Result};

/// The most classes that a label byte can tell apart.
pub const MAX_CLASSES: usize = 1 << u8::BITS;

/// Images decoded before their faces are moved to the result; bounds the extra memory.
const CHUNK: usize = 1024;

/// One image of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: PathBuf,
    /// Path relative to the data set, with `/`.
    pub(crate) name: String,
    pub(crate) label: u8,
    pub(crate) number: u32,
    pub(crate) subject: Option<u32>,
}

/// The images of a data set by split, each split sorted by class and file name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) classes: Vec<String>,
    /// In the order of [`Split::ALL`].
    pub(crate) splits: [Option<Vec<Listed>>; 3],
    pub(crate) skipped: Vec<Skipped>,
}

/// The faces of a listing, in the same order of splits.
#[derive(Default)]
pub(crate) struct Decoded {
    pub(crate) splits: [Option<Faces>; 3],
    pub(crate) skipped: Vec<Skipped>,
    /// See [`Dataset::uncut`](crate::Dataset::uncut).
    pub(crate) uncut: usize,
}

/// A face, and behind it whether the largest central square had to do.
type Cut = [u8; PIXELS + 1];

impl Listing {
    /// Reads all images, in parallel; the order is that of the listing.
    pub(crate) fn decode(
        self,
        files: &impl Files,
        root: &Path,
        cutter: Option<Cutter>,
        peers: &dyn Peers,
    ) -> Result<Decoded> {
        let Self { classes, splits, skipped } = self;
        let mut decoded = Decoded { skipped, ..Decoded::default() };
        let cut = |item: &Listed| decode::grey_in(files, &item.path).map(|grey| cut(&grey, cutter));
        for (split, listed) in Split::ALL.into_iter().zip(splits) {
            if let Some(listed) = listed {
                let faces = decode_split(&cut, root, split, &classes, listed, peers, &mut decoded)?;
                decoded.splits[split as usize] = Some(faces);
            }
        }
        Ok(decoded)
    }
}

fn cut(grey: &GrayImage, cutter: Option<Cutter>) -> Cut {
    let found = cutter.map(|cutter| (cutter.cut)(grey));
    let mut cut = [u8::from(found == Some(None)); PIXELS + 1];
    cut[..PIXELS].copy_from_slice(&found.flatten().unwrap_or_else(|| decode::fit_face(grey)));
    cut
}

fn decode_split(
    cut: &(impl Fn(&Listed) -> Result<Cut> + Sync),
    root: &Path,
    split: Split,
    classes: &[String],
    listed: Vec<Listed>,
    peers: &dyn Peers,
    decoded: &mut Decoded,
) -> Result<Faces> {
    let total = listed.len();
    let mut faces = Faces::default();
    faces.pixels.to_mut().reserve_exact(total * PIXELS);
    let mut subjects: Option<Vec<u32>> =
        listed.iter().all(|item| item.subject.is_some()).then(|| Vec::with_capacity(total));
    let mut broken: Vec<(Listed, String)> = Vec::new();

    let mut rest = listed.into_iter();
    loop {
        let chunk: Vec<Listed> = rest.by_ref().take(CHUNK * peers.size()).collect();
        if chunk.is_empty() {
            break;
        }
        let ours = chunk[peers.part(chunk.len())].par_iter().map(cut);
        let ours = ours.map(|cut| cut.map_err(|error| error.to_string())).collect();
        let all = pool(peers, ours).filter(|all| all.len() == chunk.len()).ok_or(Error::Peers)?;
        for (item, cut) in chunk.into_iter().zip(all) {
            match cut {
                Ok([face @ .., uncut]) => {
                    decoded.uncut += usize::from(uncut);
                    faces.push(&face, item.label, item.number, item.name);
                    if let (Some(subjects), Some(subject)) = (&mut subjects, item.subject) {
                        subjects.push(subject);
                    }
                }
                Err(reason) => broken.push((item, reason)),
            }
        }
    }
    faces.subjects = subjects;

    let good = faces.counts(classes.len());
    for (label, class) in classes.iter().enumerate() {
        let mut lost = broken.iter().filter(|(item, _)| usize::from(item.label) == label).peekable();
        if let Some((item, reason)) = lost.peek()
            && good[label] == 0
        {
            return Err(Error::BrokenClass {
                path: item.path.parent().unwrap_or(root).to_path_buf(),
                class: class.clone(),
                reason: reason.clone(),
                count: lost.count(),
            });
        }
        if split == Split::Train && good[label] == 0 {
            return Err(Error::EmptyClass { path: root.to_path_buf(), class: class.clone() });
        }
    }
    if broken.len() * 10 > total
        && let Some((item, reason)) = broken.first()
    {
        return Err(Error::TooManyBroken {
            path: root.to_path_buf(),
            broken: broken.len(),
            total,
            first: item.path.clone(),
            reason: reason.clone(),
        });
    }
    decoded.skipped.extend(broken.into_iter().map(|(item, reason)| Skipped { path: item.path, reason }));
    Ok(faces)
}

/// The entries of a folder, sorted by name, as (path, name, whether it is a folder); hidden ones and
/// macOS archive leftovers are left out.
pub(crate) fn entries(files: &impl Files, folder: &Path) -> Result<Vec<(PathBuf, String, bool)>> {
    let mut entries = Vec::new();
    for (file_name, is_folder) in files.entries(folder)? {
        let name = file_name.to_string_lossy().into_owned();
        if !name.starts_with('.') && name != "__MACOSX" {
            entries.push((folder.join(file_name), name, is_folder));
        }
    }
    entries.sort_by(|a, b| a.1.cmp(&b.1));
    Ok(entries)
}

/// The folders within a folder, sorted, as (path, name).
pub(crate) fn folders(files: &impl Files, folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folders = entries(files, folder)?.into_iter().filter(|(.., is_folder)| *is_folder);
    Ok(folders.map(|(path, name, _)| (path, name)).collect())
}

/// The image files of a folder by their extension, sorted, as (path, name); what else is there goes to `skipped`.
pub(crate) fn images(
    files: &impl Files,
    folder: &Path,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<(PathBuf, String)>> {
    let mut images = Vec::new();
    for (path, name, is_folder) in entries(files, folder)? {
        if !is_folder && decode::is_image(&path) {
            images.push((path, name));
            continue;
        }
        let reason = if is_folder {
            "a folder where images are expected; it is not searched".to_owned()
        } else {
            format!("not named as an image: expected {}", decode::extensions())
        };
        skipped.push(Skipped { path, reason });
    }
    Ok(images)
}

/// The number in a file name: the value of its last run of digits, if that fits.
pub(crate) fn number_in(stem: &str) -> Option<u32> {
    stem.split(|c: char| !c.is_ascii_digit()).rev().find(|run| !run.is_empty())?.parse().ok()
}

/// Subject, sequence and frame of a CK+ file name such as `S005_001_00000011`.
pub(crate) fn ck_plus_parts(stem: &str) -> Option<(u32, u32, u32)> {
    let mut parts = stem.strip_prefix(['S', 's'])?.split('_');
    let mut part = |digits: usize| {
        let part = parts.next()?;
        let fits = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| part.parse::<u32>().ok())?
    };
    let triple = (part(3)?, part(3)?, part(8)?);
    parts.next().is_none().then_some(triple)
}

/// The image number of a CK+ frame: subject, sequence and frame in decimal blocks of three digits,
/// such as 5 001 011.
pub(crate) fn ck_plus_number((subject, sequence, frame): (u32, u32, u32)) -> u32 {
    subject * 1_000_000 + sequence * 1_000 + frame % 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names() {
        assert_eq!(number_in("Training_10118481"), Some(10_118_481));
        assert_eq!(number_in("a1_b22x"), Some(22));
        assert_eq!(number_in("happy"), None);
        assert_eq!(number_in("99999999999999"), None);
    }

    #[test]
    fn ck_plus_names() {
        assert_eq!(ck_plus_parts("S005_001_00000011"), Some((5, 1, 11)));
        assert_eq!(ck_plus_number((5, 1, 11)), 5_001_011);
        for other in
            ["S05_001_00000011", "S005_001", "Training_1", "S005_001_00000011_x", "S+05_001_00000011"]
        {
            assert_eq!(ck_plus_parts(other), None);
        }
    }
}
