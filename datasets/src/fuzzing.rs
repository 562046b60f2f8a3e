//! What fuzzing calls: each reader, from memory, with what must hold of its answer whatever the bytes are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::faces::{Faces, Normalisation, PIXELS, SIDE};
use crate::files::Files;
use crate::listing::MAX_CLASSES;
use crate::message::{self, one_line};
use crate::peers::Alone;
use crate::{Error, Result, cache, classes, decode, kaggle, open};

/// Limits of [`image`]: low, so that the largest image allowed takes less than a millisecond.
const MAX_DIMENSION: u32 = 256;
const MAX_BYTES: u64 = 1 << 20;

/// Fingerprint that [`cache`] expects.
const FINGERPRINT: u64 = 42;

/// A message must be one line of bounded length that shows as it is.
pub fn check_message(message: &str) {
    assert_eq!(one_line(message), message);
    assert!(!message.is_empty() && message.chars().count() <= message::LONGEST);
}

fn check_faces(faces: &Faces, classes: usize) {
    faces.check(classes).unwrap();
    assert_eq!(faces.counts(classes).iter().sum::<usize>(), faces.len());
    // One face: all of them would take most of the time.
    let (factor, addend) = Normalisation::of(&faces.subset(&[faces.len() / 2])).affine();
    assert!(factor.is_finite() && addend.is_finite());
}

fn check_dataset(dataset: &mut Dataset) {
    let classes = dataset.classes.len();
    assert!(classes <= MAX_CLASSES);
    dataset.splits_mut().for_each(|faces| check_faces(faces, classes));
    match dataset.fold(3, 1) {
        Ok((train, test)) => assert_eq!(train.len() + test.len(), dataset.train.len()),
        Err(error) => check_message(&error.to_string()),
    }
}

/// A CSV file: `0` and its text, or another byte and a text in which each of the first two `@` stands for the
/// pixels of a face (more would only take time).
pub fn csv(bytes: &[u8]) {
    let Some((form, text)) = bytes.split_first() else { return };
    let mut written = Vec::new();
    if *form != b'0' {
        for (i, part) in text.splitn(3, |byte| *byte == b'@').enumerate() {
            let face = if i > 0 { "7 ".repeat(PIXELS) } else { String::new() };
            written.extend_from_slice(face.as_bytes());
            written.extend_from_slice(part);
        }
    }
    let text = if *form == b'0' { text } else { &written };
    match kaggle::parse(Path::new("faces.csv"), text) {
        Ok(splits) => {
            assert!(splits.iter().flatten().map(Faces::len).sum::<usize>() > 0);
            splits.iter().flatten().for_each(|faces| check_faces(faces, classes::FER2013.len()));
        }
        Err(error) => {
            check_message(&error.to_string());
            assert!(error.to_string().starts_with("faces.csv: "), "{error}");
        }
    }
}

/// An image file of any format.
pub fn image(bytes: &[u8]) {
    match decode::grey_within(bytes, MAX_DIMENSION, MAX_BYTES) {
        Ok(grey) => {
            let (width, height) = grey.dimensions();
            assert!((1..=MAX_DIMENSION).contains(&width) && (1..=MAX_DIMENSION).contains(&height));
            let face = decode::fit_face(&grey);
            assert!(width != height || width as usize != SIDE || face[..] == grey.as_raw()[..]);
        }
        Err(error) => check_message(&error.to_string()),
    }
}

/// A packed copy: `0` and a file, or another byte and a table, which is given black faces and the checksums that fit.
pub fn cache(bytes: &[u8]) {
    let sealed = match bytes {
        [] => return,
        [b'0', file @ ..] => file.to_vec(),
        [_, table @ ..] => cache::sealed(table, FINGERPRINT).unwrap(),
    };
    let Some(mut dataset) = cache::open(sealed.into(), FINGERPRINT) else { return };
    check_dataset(&mut dataset);
    let mut table = Vec::new();
    cache::pack(&mut table, &dataset).unwrap();
    let mut again = cache::unpack(&table).unwrap();
    again.splits_mut().zip(dataset.splits_mut()).for_each(|(to, from)| to.pixels.clone_from(&from.pixels));
    assert_eq!(again, dataset);
}

/// A folder: entries separated by zeros. `a/b*` is an image, `a/b=TEXT` a file with that text, `a/b!` one that cannot
/// be read, anything else a folder.
pub fn tree(bytes: &[u8]) {
    let Some((neutral_first_frame, entries)) = bytes.split_first() else { return };
    let files = Memory::new(entries);
    let root = Path::new(Memory::ROOT);
    let opened = open::list(&files, root, *neutral_first_frame == b'1')
        .and_then(|listing| open::decode(&files, listing, root, "tree".to_owned(), None, &Alone));
    match opened {
        Ok(mut dataset) => {
            check_dataset(&mut dataset);
            dataset.skipped.iter().for_each(|skipped| check_message(&skipped.reason));
            let mut sorted = dataset.classes.clone();
            classes::sort(&mut sorted);
            assert_eq!(sorted, dataset.classes);
            assert!(
                dataset.train.is_empty() || dataset.train.counts(sorted.len()).iter().all(|count| *count > 0)
            );
        }
        Err(error) => check_message(&error.to_string()),
    }
}

/// Folders with what is in them: a file's content, or `None` for a folder.
struct Memory(BTreeMap<PathBuf, BTreeMap<OsString, Option<Content>>>);

enum Content {
    Bytes(Vec<u8>),
    Unreadable,
}

impl Memory {
    const ROOT: &str = "tree";

    fn new(entries: &[u8]) -> Self {
        let mut files = Self(BTreeMap::from([(Self::ROOT.into(), BTreeMap::new())]));
        entries.split(|byte| *byte == 0).for_each(|entry| files.add(entry));
        files
    }

    fn add(&mut self, entry: &[u8]) {
        let at = entry.iter().position(|byte| matches!(byte, b'*' | b'=' | b'!'));
        let (path, content) = entry.split_at(at.unwrap_or(entry.len()));
        let content = match content {
            [] => None,
            [b'*', ..] => Some(Content::Bytes(b"P5 1 1 255 7".to_vec())),
            [b'=', text @ ..] => Some(Content::Bytes(text.to_vec())),
            _ => Some(Content::Unreadable),
        };
        let names: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"." | b"..")).collect();
        let Some((last, folders)) = names.split_last() else { return };
        let mut folder = PathBuf::from(Self::ROOT);
        for name in folders {
            if !self.add_folder(&mut folder, name) {
                return;
            }
        }
        match content {
            None => drop(self.add_folder(&mut folder, last)),
            Some(content) => {
                let entries = self.0.get_mut(&folder).expect("a folder that was added");
                entries.entry(os_string(last)).or_insert(Some(content));
            }
        }
    }

    /// Goes into a folder that is added at need; `false` if there is a file of that name.
    fn add_folder(&mut self, folder: &mut PathBuf, name: &[u8]) -> bool {
        let name = os_string(name);
        let entries = self.0.get_mut(folder).expect("a folder that was added");
        if entries.entry(name.clone()).or_insert(None).is_some() {
            return false;
        }
        folder.push(name);
        self.0.entry(folder.clone()).or_default();
        true
    }
}

impl Files for Memory {
    fn entries(&self, folder: &Path) -> Result<Vec<(OsString, bool)>> {
        let entries = self.0.get(folder).ok_or_else(|| Error::NotFound { path: folder.to_path_buf() })?;
        Ok(entries.iter().map(|(name, content)| (name.clone(), content.is_none())).collect())
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let entries = path.parent().and_then(|folder| self.0.get(folder));
        match entries.zip(path.file_name()).and_then(|(entries, name)| entries.get(name)) {
            Some(Some(Content::Bytes(bytes))) => Ok(bytes.iter().copied().take(limit as usize).collect()),
            Some(_) => Err(Error::io(path, io::ErrorKind::PermissionDenied.into())),
            None => Err(Error::NotFound { path: path.to_path_buf() }),
        }
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }
}

#[cfg(unix)]
fn os_string(name: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(name.to_vec())
}

#[cfg(not(unix))]
fn os_string(name: &[u8]) -> OsString {
    String::from_utf8_lossy(name).into_owned().into()
}
