//! What a data set is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::decode::Cutter;
use crate::faces::Faces;
use crate::{Error, Result, folds};

/// One of the three parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// What the weights are fitted to.
    Train,
    /// What choices (epochs, hyperparameters) are made by.
    Validation,
    /// What is measured once, at the end.
    Test,
}

impl Split {
    /// All splits; a split's discriminant is its position here.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// `train`, `validation` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Split {
    type Err = Error;

    /// Reads `train` or `training`, `validation`, `valid`, `val`, `dev` or `PublicTest`, `test` or
    /// `PrivateTest`, without regard to case.
    fn from_str(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Ok(Self::Train),
            "validation" | "valid" | "val" | "dev" | "publictest" => Ok(Self::Validation),
            "test" | "privatetest" => Ok(Self::Test),
            _ => Err(Error::UnknownSplit(name.to_owned())),
        }
    }
}

/// A file or folder that was left out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// How [`Dataset::open`] is to go about it.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Folder for packed copies of decoded data sets, created at need; `None` for no cache.
    pub cache: Option<PathBuf>,
    /// Seed of the synthetic faces.
    pub seed: u64,
    /// Synthetic training faces per class; validation and test have a fifth of that each.
    pub synthetic_per_class: usize,
    /// Keep at most this many faces of each split, all classes in proportion (see
    /// [`Faces::capped`]).
    pub cap: Option<usize>,
    /// How image files are cut; `None` for [`fit_face`](crate::decode::fit_face). Rows of CSV files are cut already.
    pub cutter: Option<Cutter>,
    /// For the CK+ tree: take the first frame of each labelled sequence as a neutral face.
    pub neutral_first_frame: bool,
}

impl Default for OpenOptions {
    /// No cache, seed 0, 600 synthetic faces per class, no cap, no cutter, no neutral frames.
    fn default() -> Self {
        Self {
            cache: None,
            seed: 0,
            synthetic_per_class: 600,
            cap: None,
            cutter: None,
            neutral_first_frame: false,
        }
    }
}

/// What became of the cache when a data set was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheStatus {
    /// No cache was asked for, or the faces are drawn and not read.
    Unused,
    /// The faces come from this packed copy.
    Hit(PathBuf),
    /// The source was decoded and this packed copy written.
    Written(PathBuf),
    /// The source was decoded; the copy could not be written for this reason.
    Failed(String),
}

/// Labelled faces in up to three splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// File or folder name of the source, or `synthetic`.
    pub name: String,
    /// Class names; labels are indices into it.
    pub classes: Vec<String>,
    /// The training split, or all faces of a source that has no splits; empty if the source has
    /// other splits only.
    pub train: Faces,
    /// The validation split, if there is one.
    pub validation: Option<Faces>,
    /// The test split, if there is one.
    pub test: Option<Faces>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
    /// Pictures of which the largest central square was taken, as [`OpenOptions::cutter`] found no face.
    pub uncut: usize,
    /// Whether the cache was of use.
    pub cache: CacheStatus,
}

impl Dataset {
    pub(crate) fn new(name: String, classes: Vec<String>, splits: [Option<Faces>; 3]) -> Self {
        let [train, validation, test] = splits;
        Self {
            name,
            classes,
            train: train.unwrap_or_default(),
            validation,
            test,
            skipped: Vec::new(),
            uncut: 0,
            cache: CacheStatus::Unused,
        }
    }

    /// The faces of one split.
    ///
    /// # Errors
    /// [`Error::MissingSplit`], naming the splits that there are.
    pub fn split(&self, split: Split) -> Result<&Faces> {
        self.get(split).ok_or_else(|| {
            let present: Vec<&str> =
                Split::ALL.into_iter().filter(|s| self.get(*s).is_some()).map(Split::name).collect();
            Error::MissingSplit { dataset: self.name.clone(), wanted: split, present: present.join(", ") }
        })
    }

    fn get(&self, split: Split) -> Option<&Faces> {
        match split {
            Split::Train => Some(&self.train).filter(|faces| !faces.is_empty()),
            Split::Validation => self.validation.as_ref(),
            Split::Test => self.test.as_ref(),
        }
    }

    pub(crate) fn splits(&self) -> [Option<&Faces>; 3] {
        [Some(&self.train), self.validation.as_ref(), self.test.as_ref()]
    }

    pub(crate) fn splits_mut(&mut self) -> impl Iterator<Item = &mut Faces> {
        [Some(&mut self.train), self.validation.as_mut(), self.test.as_mut()].into_iter().flatten()
    }

    /// Fold `fold` of `folds` of the training split by image number; see [`folds::fold()`].
    ///
    /// # Errors
    /// As [`folds::fold()`].
    pub fn fold(&self, folds: usize, fold: usize) -> Result<(Faces, Faces)> {
        folds::fold(&self.train, &self.classes, folds, fold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_names() {
        for (name, split) in [
            ("Training", Split::Train),
            ("VAL", Split::Validation),
            ("PublicTest", Split::Validation),
            ("privatetest", Split::Test),
        ] {
            assert_eq!(name.parse::<Split>().unwrap(), split);
        }
        assert!(Split::ALL.iter().all(|split| split.to_string().parse::<Split>().unwrap() == *split));
        assert!("tests".parse::<Split>().unwrap_err().to_string().contains("`tests`"));
    }
}
