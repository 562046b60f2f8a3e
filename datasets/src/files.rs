//! Where folders and files are: on the disk, or in memory so that fuzzing needs no disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// A tree of folders and files.
pub(crate) trait Files: Sync {
    /// The name of each folder and file in `folder`, and whether it is a folder.
    fn entries(&self, folder: &Path) -> Result<Vec<(OsString, bool)>>;

    /// A file's content, as far as its first `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>>;

    /// Whether there is a folder at `path`.
    fn is_folder(&self, path: &Path) -> bool;
}

/// The file system.
pub(crate) struct Disk;

impl Files for Disk {
    fn entries(&self, folder: &Path) -> Result<Vec<(OsString, bool)>> {
        let io = |source| Error::io(folder, source);
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let kind = entry.file_type().map_err(io)?;
            let path = entry.path();
            let is_folder = kind.is_dir() || (kind.is_symlink() && path.is_dir());
            // Reading a pipe or a device might never end.
            if is_folder || kind.is_file() || path.is_file() {
                entries.push((entry.file_name(), is_folder));
            }
        }
        Ok(entries)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|source| Error::io(path, source))?;
        Ok(bytes)
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }
}
