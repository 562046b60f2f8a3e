//! What is to be recognised: files, folders, patterns, lists, stdin.

use crate::error::{Error, Result};
use image::DynamicImage;
use moue_datasets::decode::{MAX_BYTES, decode_image, is_image, read_image};
use moue_datasets::message::{one_line, shown};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest path in a list, in bytes.
const MAX_PATH: u64 = 1 << 16;

/// A picture to come.
#[derive(Debug)]
pub(super) struct Item {
    /// What it is called in results.
    pub(super) path: PathBuf,
    /// Its number in a film.
    pub(super) frame: Option<u64>,
    /// What copies of it are called below a folder.
    pub(super) name: PathBuf,
    pub(super) content: Content,
}

/// Where the picture is.
#[derive(Debug)]
pub(super) enum Content {
    /// At the path.
    File,
    /// Here, as a file has it.
    Bytes(Vec<u8>),
    /// Here, decoded.
    Picture(DynamicImage),
    /// Nowhere, for this reason.
    Nothing(String),
}

impl Item {
    pub(super) fn file(path: PathBuf, root: &Path) -> Self {
        let relative = path.strip_prefix(root).ok().filter(|name| !name.as_os_str().is_empty());
        let name = relative.map(Path::to_owned).or_else(|| path.file_name().map(PathBuf::from));
        Self { name: name.unwrap_or_default(), path, frame: None, content: Content::File }
    }

    fn failed(path: &Path, error: impl ToString) -> Self {
        let content = Content::Nothing(one_line(error.to_string()));
        Self { path: path.to_owned(), frame: None, name: PathBuf::new(), content }
    }

    /// A frame on stdin.
    pub(super) fn frame(number: u64, content: Content) -> Self {
        let path = PathBuf::from("-");
        Self { name: PathBuf::from(format!("frame{number}")), path, frame: Some(number), content }
    }

    /// Reads and decodes the picture.
    pub(super) fn picture(&self) -> std::result::Result<DynamicImage, String> {
        let read = match &self.content {
            Content::File => read_image(&self.path),
            Content::Bytes(bytes) => decode_image(bytes),
            Content::Picture(picture) => return Ok(picture.clone()),
            Content::Nothing(error) => return Err(error.clone()),
        };
        read.map_err(|error| without_path(&self.path, &error))
    }

    /// The picture on stdin.
    fn stdin() -> Self {
        let mut bytes = Vec::new();
        let content = match io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes) {
            Err(error) => Content::Nothing(one_line(error)),
            Ok(_) if bytes.len() as u64 > MAX_BYTES => {
                Content::Nothing(format!("more than {} MiB", MAX_BYTES >> 20))
            }
            Ok(_) => Content::Bytes(bytes),
        };
        Self { path: PathBuf::from("-"), frame: None, name: "stdin".into(), content }
    }
}

/// The message without a path in front: the path stands beside it.
fn without_path(path: &Path, error: &moue_datasets::Error) -> String {
    let text = error.to_string();
    let prefix = format!("{}: ", shown(path));
    one_line(text.strip_prefix(&prefix).unwrap_or(&text))
}

/// Whether `-` was written.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// All pictures that a path stands for; one that cannot be read where there are none. The folders `without`, real paths,
/// are passed over where they are below others.
pub(super) fn expand(path: &Path, without: &[PathBuf]) -> Vec<Item> {
    if is_stdin(path) {
        return vec![Item::stdin()];
    }
    let found = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => in_folder(path, without),
        Ok(_) => return vec![Item::file(path.to_owned(), path)],
        Err(error) => match path.to_str().filter(|text| text.contains(['*', '?', '['])) {
            Some(pattern) => return matching(path, pattern, without),
            None => Err(error.to_string()),
        },
    };
    match found {
        Ok(files) if files.is_empty() => vec![Item::failed(path, "no picture in this folder")],
        Ok(files) => files.into_iter().map(|file| Item::file(file, path)).collect(),
        Err(error) => vec![Item::failed(path, error)],
    }
}

/// The files and folders that a pattern matches, sorted.
fn matching(path: &Path, pattern: &str, without: &[PathBuf]) -> Vec<Item> {
    let paths = match glob::glob(pattern) {
        Ok(paths) => paths,
        Err(error) => return vec![Item::failed(path, error)],
    };
    let items: Vec<Item> = paths
        .flat_map(|found| match found {
            // A file whose name is another pattern is a file.
            Ok(found) if found.is_dir() => expand(&found, without),
            Ok(found) if is_special(&found) => vec![Item::failed(&found, "neither a file nor a folder")],
            Ok(found) => vec![Item::file(found.clone(), &found)],
            Err(error) => vec![Item::failed(error.path(), error.error())],
        })
        .collect();
    if items.is_empty() { vec![Item::failed(path, "no file matches this pattern")] } else { items }
}

/// All pictures below a folder, sorted; hidden files and links to folders are left out. A folder in it that cannot be
/// read stands for what it holds, so that it is told of as a picture is that cannot be read.
///
/// # Errors
/// `root` cannot be read.
pub(super) fn in_folder(root: &Path, without: &[PathBuf]) -> std::result::Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if folder == root => return Err(one_line(error)),
            Err(_) => {
                found.push(folder);
                continue;
            }
        };
        for entry in entries.filter_map(std::result::Result::ok) {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if without.is_empty() || !fs::canonicalize(&path).is_ok_and(|real| without.contains(&real)) {
                    folders.push(path);
                }
            } else if is_image(&path) && !is_special(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether this is a pipe or a device: reading one might never end.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// The pictures that a list names, one path a line, as its lines come.
pub(super) fn listed(list: &Path, without: &[PathBuf]) -> Result<impl Iterator<Item = Item> + Send + use<>> {
    let reader: Box<dyn Read + Send> = match is_stdin(list) {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(list).map_err(Error::io(list))?),
    };
    let mut reader = BufReader::new(reader);
    let (list, without) = (list.to_owned(), without.to_vec());
    let mut ended = false;
    let lines = std::iter::from_fn(move || {
        let mut line = Vec::new();
        if ended {
            return None;
        }
        match reader.by_ref().take(MAX_PATH).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(read) if read as u64 == MAX_PATH => {
                ended = true;
                Some(vec![Item::failed(&list, "a line of the list is longer than any path")])
            }
            Ok(_) => Some(path_of(&line).map_or_else(Vec::new, |path| expand(&path, &without))),
            Err(error) => {
                ended = true;
                Some(vec![Item::failed(&list, error)])
            }
        }
    });
    Ok(lines.flatten())
}

/// The path on a line, if there is one.
fn path_of(line: &[u8]) -> Option<PathBuf> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    (!line.is_empty()).then(|| PathBuf::from(os_string(line)))
}

#[cfg(unix)]
fn os_string(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn os_string(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}
