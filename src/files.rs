//! Reading files up to a limit, and writing them so that a crash, a full disk or a signal leaves either the old content
//! or the new.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Reads a whole file, which may have `max_bytes`.
///
/// # Errors
/// [`Error::Io`] or, if it is larger, [`Error::Format`], with `path`.
pub(crate) fn read_file(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Error::format(path, format!("larger than {} MiB", max_bytes >> 20)));
    }
    Ok(bytes)
}

/// Replaces the file at `path` by `bytes`, or leaves it as it was.
///
/// # Errors
/// [`Error::Io`] with `path`.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    Staged::write(path, bytes)?.publish()
}

/// A complete file on the disk that does not have its name yet; removed again if it never gets it.
#[derive(Debug)]
pub(crate) struct Staged {
    target: PathBuf,
    temporary: PathBuf,
    published: bool,
}

impl Staged {
    /// Writes `bytes` to a temporary file beside `target` and waits until they are on the disk.
    pub(crate) fn write(target: &Path, bytes: &[u8]) -> Result<Self> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        // The same folder, hence the same file system: renaming is then atomic.
        let staged =
            Self { target: target.to_owned(), temporary: target.with_file_name(name), published: false };
        let write = || {
            let mut file = File::create(&staged.temporary)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(Error::io(target))?;
        Ok(staged)
    }

    /// Gives the file its name, in place of an older one.
    pub(crate) fn publish(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.target).map_err(Error::io(&self.target))?;
        self.published = true;
        // Makes the name itself durable; folders cannot be synced everywhere, and the content already is.
        if let Some(folder) = self.target.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(folder).and_then(|f| f.sync_all()).ok();
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            fs::remove_file(&self.temporary).ok();
        }
    }
}

/// Removes the temporary files that killed processes left in `folder`, where no other process may be writing.
pub(crate) fn remove_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_temporary) {
            // What cannot be removed does no harm but the room it takes.
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// Whether a file has a name that [`Staged::write`] gives: `.NAME.PROCESS.tmp`.
fn is_temporary(name: &str) -> bool {
    let middle = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".tmp"));
    middle.and_then(|m| m.rsplit_once('.')).is_some_and(|(_, process)| process.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_content_replaces_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_failure_keeps_the_old_content_and_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"old").unwrap();
        let error = write_atomically(&path, b"new").unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_atomically(&folder.path().join("no/such/folder"), b"").is_err());
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomically(&path, b"kept").unwrap();
        let mut abandoned = Staged::write(&path, b"never published").unwrap();
        // A killed process does not clean up.
        abandoned.published = true;
        drop(abandoned);
        fs::write(folder.path().join(".notes.tmp"), "somebody else's").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        remove_abandoned(folder.path());
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_unpublished_file_disappears() {
        let folder = tempfile::tempdir().unwrap();
        drop(Staged::write(&folder.path().join("a"), b"x").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
