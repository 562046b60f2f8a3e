//! Pictures that appear in a folder.

use super::inputs::{Item, in_folder};
use crate::error::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// Time between two looks at the folder.
const INTERVAL: Duration = Duration::from_millis(200);

/// Size and time of the last change: a file that keeps both between two looks is complete.
type Stamp = (u64, Option<SystemTime>);

/// Yields new and changed pictures until it is stopped.
pub(super) struct Appearing {
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    known: HashMap<PathBuf, Seen>,
    ready: VecDeque<PathBuf>,
}

struct Seen {
    stamp: Stamp,
    told: bool,
}

impl Appearing {
    /// What is in the folder already is old.
    pub(super) fn new(folder: &Path, stop: Arc<AtomicBool>) -> Result<Self> {
        let (known, ready) = (HashMap::new(), VecDeque::new());
        let mut this = Self { folder: folder.to_owned(), stop, known, ready };
        if !folder.is_dir() {
            return Err(Error::format(folder, "not a folder that can be watched"));
        }
        this.look().map_err(|error| Error::format(folder, error))?;
        this.known.values_mut().for_each(|seen| seen.told = true);
        Ok(this)
    }

    /// Compares the folder with the last look.
    fn look(&mut self) -> std::result::Result<(), String> {
        let mut now = HashMap::new();
        for path in in_folder(&self.folder, &[])? {
            // It may be gone again.
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let stamp = (metadata.len(), metadata.modified().ok());
            let told = self.known.get(&path).is_some_and(|seen| seen.stamp == stamp && seen.told);
            let settled = self.known.get(&path).is_some_and(|seen| seen.stamp == stamp);
            if settled && !told {
                self.ready.push_back(path.clone());
            }
            now.insert(path, Seen { stamp, told: settled });
        }
        self.known = now;
        Ok(())
    }
}

impl Iterator for Appearing {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(path) = self.ready.pop_front() {
                return Some(Item::file(path, &self.folder));
            }
            thread::sleep(INTERVAL);
            // A folder that cannot be read now may be there again later.
            self.look().ok();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_new_and_changed_files_appear_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("old.png"), "old").unwrap();
        let mut appearing = Appearing::new(folder.path(), Arc::default()).unwrap();
        let mut look = || {
            appearing.look().unwrap();
            let ready = appearing.ready.drain(..);
            ready.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        fs::write(path("new.png"), "n").unwrap();
        fs::write(path("notes.txt"), "n").unwrap();
        assert!(look().is_empty());
        fs::write(path("new.png"), "new").unwrap();
        assert!(look().is_empty(), "it has just grown");
        assert_eq!(look(), ["new.png"]);
        assert!(look().is_empty());
        fs::write(path("old.png"), "changed").unwrap();
        assert!(look().is_empty());
        assert_eq!(look(), ["old.png"]);
    }

    #[test]
    fn it_ends_when_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Arc::new(AtomicBool::new(true));
        assert!(Appearing::new(folder.path(), stop.clone()).unwrap().next().is_none());
        assert!(Appearing::new(&folder.path().join("missing"), stop).is_err());
    }
}
