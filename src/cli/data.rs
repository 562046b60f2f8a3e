//! Opening data sets for the commands.

use super::at_least_one;
use crate::error::Result;
use crate::faces::CUTTER;
use crate::output::errln;
use moue_datasets::message::excerpt;
use moue_datasets::{Alone, CacheStatus, Dataset, OpenOptions, Peers, SYNTHETIC};
use std::env;
use std::path::PathBuf;

/// Which data set, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DataArgs {
    /// `synthetic`, or a data set: FER2013 as CSV or folders, CK+, or folders of classes.
    #[arg(long, value_name = "D", default_value = SYNTHETIC)]
    pub(super) data: String,
    /// Use at most N images of each split, all classes in proportion.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(super) limit: Option<usize>,
}

/// [`open_with`] alone.
pub(super) fn open(data: &str, limit: Option<usize>) -> Result<Dataset> {
    open_with(data, limit, &Alone)
}

/// Opens `data` together with `peers`. Decoded copies are kept in the folder `MOUE_CACHE` (default: `moue` in the
/// user's cache folder; empty: nowhere). The first of them warns of what is wrong with the data.
pub(super) fn open_with(data: &str, limit: Option<usize>, peers: &dyn Peers) -> Result<Dataset> {
    let (cache, cutter) = (cache_folder(), Some(CUTTER));
    let options = OpenOptions { cache, cap: limit, cutter, ..OpenOptions::default() };
    let dataset = Dataset::open_with(data, &options, peers)?;
    if peers.rank() == 0 {
        warn(data, &dataset);
    }
    Ok(dataset)
}

fn warn(data: &str, dataset: &Dataset) {
    if let Some(first) = dataset.skipped.first() {
        let (count, path, reason) = (dataset.skipped.len(), first.path.display(), &first.reason);
        errln!("moue: warning: {count} left out of {data}, the first: {path}: {reason}");
    }
    if dataset.uncut > 0 {
        let count = dataset.uncut;
        errln!(
            "moue: warning: {data}: no face found in {count} pictures, of which the largest central square is taken"
        );
    }
    let counts = dataset.train.counts(dataset.classes.len());
    let absent =
        dataset.classes.iter().zip(counts).filter(|(_, count)| *count == 0).map(|(class, _)| excerpt(class));
    let absent: Vec<String> = absent.collect();
    if !dataset.train.is_empty() && !absent.is_empty() {
        errln!("moue: warning: {data} has no training image of {}", absent.join(", "));
    }
    if let CacheStatus::Failed(reason) = &dataset.cache {
        errln!("moue: warning: no copy for the next time: {reason}");
    }
}

fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from);
    match set("MOUE_CACHE") {
        Some(folder) => (!folder.as_os_str().is_empty()).then_some(folder),
        None => {
            // The specification takes other paths as not set.
            let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
            let base = base.or_else(|| Some(set("HOME")?.join(".cache")))?;
            base.is_absolute().then(|| base.join("moue"))
        }
    }
}
