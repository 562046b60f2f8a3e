//! The folder of a run.
//!
//! | file | holds |
//! | --- | --- |
//! | `config.json` | what the run was started with |
//! | `metrics.jsonl` | one JSON object an epoch ([`EpochRow`](super::EpochRow)) |
//! | `log.txt` | what was said |
//! | `best.safetensors`, `last.safetensors` | weights ([`Weights`](crate::Weights)) |
//! | `checkpoint.bin`, `checkpoint-previous.bin` | what `--resume` needs |
//! | `lock` | nothing; locked while a process works on the run |

use super::checkpoint;
use super::{Config, EpochRow, MAX_EPOCHS};
use crate::error::{Error, Result};
use crate::files::{read_file, remove_abandoned, write_atomically};
use crate::output::errln;
use moue_datasets::message::{one_line, shown};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Largest `config.json` that is read; one has 400 bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Largest `metrics.jsonl` that is read: 1,000 bytes for each of the most epochs; a line has 250.
const MAX_METRICS: u64 = 1000 * MAX_EPOCHS;

const CONFIG: &str = "config.json";
const LOCK: &str = "lock";
const METRICS: &str = "metrics.jsonl";
/// Name of [`RunFolder::best`].
pub(super) const BEST: &str = "best.safetensors";
const LAST: &str = "last.safetensors";

/// A run's folder, locked against other processes.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    log: File,
    /// Locked until it is closed.
    _lock: File,
}

impl RunFolder {
    /// The folder at `path` for a new run, created at need.
    ///
    /// # Errors
    /// [`Error::Format`] if it holds a run already or is in use; [`Error::Io`] if it cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        let folder = Self::lock(path)?;
        if Self::holds_run(path) {
            let reason = "holds a run already; continue it with --resume, or choose another --out";
            return Err(Error::format(path, reason));
        }
        Ok(folder)
    }

    /// Whether the folder at `path` has anything of a run that could be lost: not the configuration alone, as a run that
    /// failed before its first checkpoint leaves it.
    pub fn holds_run(path: &Path) -> bool {
        checkpoint::exists(path) || [BEST, LAST, METRICS].iter().any(|name| path.join(name).exists())
    }

    /// The first of `path`, `path-2`, `path-3` ... that does not exist yet, for a new run.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn create_unique(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = (2..).map(|i| path.with_file_name(format!("{name}-{i}")));
        for candidate in std::iter::once(path.to_owned()).chain(names) {
            match fs::create_dir(&candidate) {
                Ok(()) => return Self::lock(&candidate),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(candidate)(e)),
            }
        }
        unreachable!("there is always another name")
    }

    /// The folder of an existing run.
    ///
    /// # Errors
    /// [`Error::Format`] if it is in use or holds no run; [`Error::Io`] if it does not exist or cannot be written to.
    pub fn open(path: &Path) -> Result<Self> {
        fs::metadata(path).map_err(Error::io(path))?;
        // Nothing is written to, or removed from, a folder of something else.
        if !path.join(LOCK).exists() && !checkpoint::exists(path) {
            Self::load_config(path)?;
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self> {
        let file = |name: &str| {
            let file = path.join(name);
            OpenOptions::new().append(true).create(true).open(&file).map_err(Error::io(file))
        };
        let lock = file(LOCK)?;
        match lock.try_lock() {
            Ok(()) => remove_abandoned(path),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::format(path, "another process is working on this run"));
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {
                errln!("moue: warning: {} cannot be locked: let no other process work on it", shown(path));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(path.join(LOCK))(e)),
        }
        Ok(Self { path: path.to_owned(), log: file("log.txt")?, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Weights of the best epoch.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// Weights of the last epoch.
    pub fn last(&self) -> PathBuf {
        self.path.join(LAST)
    }

    /// One line an epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// What the run was started with.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Writes `config.json`.
    pub(super) fn save_config(&self, config: &Config) -> Result<()> {
        let mut json = serde_json::to_string_pretty(config).expect("plain data");
        json.push('\n');
        write_atomically(&self.config(), json.as_bytes())
    }

    /// Reads `config.json` of the run in `folder`.
    pub(super) fn load_config(folder: &Path) -> Result<Config> {
        let path = folder.join(CONFIG);
        if !path.exists() {
            return Err(Error::format(folder, "not the folder of a run: neither checkpoint nor config.json"));
        }
        Config::parse(&path, &read_file(&path, MAX_CONFIG)?)
    }

    /// Appends a line to `log.txt`.
    pub(super) fn log(&mut self, line: &str) -> Result<()> {
        writeln!(self.log, "{}", one_line(line)).map_err(Error::io(self.path.join("log.txt")))
    }

    /// Writes the line of the epoch `row.epoch`, in place of lines from that epoch on that an interrupted process
    /// may have left.
    pub(super) fn save_metrics(&self, row: &EpochRow) -> Result<()> {
        let old = Self::read_metrics(&self.path)?;
        let earlier = |line: &&str| serde_json::from_str::<EpochRow>(line).is_ok_and(|r| r.epoch < row.epoch);
        let mut lines: Vec<&str> = old.lines().filter(earlier).collect();
        let new = serde_json::to_string(row).expect("plain data");
        lines.push(&new);
        write_atomically(&self.metrics(), (lines.join("\n") + "\n").as_bytes())
    }

    /// Epochs of the run in `folder` that have left their line.
    pub(super) fn epochs_recorded(folder: &Path) -> Result<usize> {
        Ok(Self::read_metrics(folder)?.lines().count())
    }

    /// The lines so far; none before the first epoch is over.
    fn read_metrics(folder: &Path) -> Result<String> {
        let path = folder.join(METRICS);
        if !path.exists() {
            return Ok(String::new());
        }
        read_text(&path)
    }
}

/// What the folder of a run tells, read without touching it: another process may be at work on the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The folder.
    pub path: PathBuf,
    /// What the run was started with.
    pub config: Config,
    /// The epochs that are over.
    pub rows: Vec<EpochRow>,
}

impl Record {
    /// Reads `config.json` and `metrics.jsonl` of the run at `path`.
    ///
    /// # Errors
    /// [`Error::Format`] if there is no run or a line cannot be read; [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self> {
        fs::metadata(path).map_err(Error::io(path))?;
        let config = RunFolder::load_config(path)?;
        let row = |(i, line): (usize, &str)| {
            let at = |e| Error::format(path.join(METRICS), format!("line {}: {e}", i + 1));
            serde_json::from_str(line).map_err(at)
        };
        let rows = RunFolder::read_metrics(path)?.lines().enumerate().map(row).collect::<Result<_>>()?;
        Ok(Self { path: path.to_owned(), config, rows })
    }

    /// Epochs that are over.
    pub fn epochs(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether it is, or will come to be, a run of `epochs`.
    pub(crate) fn leads_to(&self, epochs: u64) -> bool {
        self.epochs() <= epochs && self.config.is_laid_out_for(epochs)
    }

    /// Weights of the best epoch.
    pub fn best(&self) -> PathBuf {
        self.path.join(BEST)
    }

    /// Weights of the last epoch.
    pub fn last(&self) -> PathBuf {
        self.path.join(LAST)
    }
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_file(path, MAX_METRICS)?).map_err(|e| Error::format(path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u64) -> EpochRow {
        EpochRow {
            epoch,
            step: 0,
            loss: 0.5,
            train_accuracy: 0.5,
            validation_accuracy: None,
            test_accuracy: Some(0.25),
            images_per_second: 1.0,
            lr: 1e-3,
            seconds: 2.0,
        }
    }

    #[test]
    fn a_folder_belongs_to_one_run_and_one_process() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/run");
        let first = RunFolder::create(&path).unwrap();
        let message = RunFolder::open(&path).unwrap_err().to_string();
        assert!(message.contains("another process"), "{message}");
        drop(first);
        RunFolder::create(&path).unwrap();
        fs::write(path.join("last.safetensors"), "").unwrap();
        let message = RunFolder::create(&path).unwrap_err().to_string();
        assert!(message.contains("holds a run already"), "{message}");
        RunFolder::open(&path).unwrap();
        let second = RunFolder::create_unique(&path).unwrap();
        assert_eq!(second.path(), base.path().join("a/run-2"));
        assert!(RunFolder::open(&base.path().join("b")).is_err());
    }

    #[test]
    fn repeated_epochs_replace_their_lines() {
        let base = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(base.path()).unwrap();
        for epoch in [1, 2, 3, 2] {
            folder.save_metrics(&row(epoch)).unwrap();
        }
        let text = fs::read_to_string(folder.metrics()).unwrap();
        let rows: Vec<EpochRow> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(rows, [row(1), row(2)]);
    }
}
