//! The one error type of the crate.

use std::path::{Path, PathBuf};

use crate::decode::extensions;
use crate::message::{excerpt, shown};

/// What can be wrong with a data set or a request; every message names the file, row or option at
/// fault and what was expected, in one line of bounded length whatever the data holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of a data set does not exist.
    #[error("{}: no such file or folder", shown(path))]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The operating system refused to read a file or folder.
    #[error("{}: {}", shown(path), excerpt(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Bytes that are not a readable image; the message has the reason alone, callers know the path.
    #[error("{}", excerpt(.0))]
    Image(String),
    /// Processes that open a data set together do not see the same files.
    #[error("the processes do not read the same data: expected the same files on every machine")]
    Peers,
    /// A file that is neither a CSV nor a folder of images.
    #[error(
        "{}: expected a FER2013 CSV file or a folder of images, found a file of another kind",
        shown(path)
    )]
    NotADataset {
        /// The file.
        path: PathBuf,
    },
    /// A CSV without the columns that are needed.
    #[error("{}: expected the columns emotion, pixels and Usage, found [{}]", shown(path), excerpt(found))]
    Columns {
        /// The CSV file.
        path: PathBuf,
        /// The column names that it has, joined by commas.
        found: String,
    },
    /// A CSV row that does not hold a face.
    #[error("{}: row {row} (the header is row 1): {}", shown(path), excerpt(problem))]
    Row {
        /// The CSV file.
        path: PathBuf,
        /// The row, counted from 1 with the header (blank lines do not count).
        row: u64,
        /// The column at fault and what was expected of it.
        problem: String,
    },
    /// A source without any face.
    #[error("{}: {expected}", shown(path))]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for and not found.
        expected: String,
    },
    /// Two folders for the same split or class.
    #[error("{} and {} are both the {}: keep one", shown(first), shown(second), excerpt(what))]
    Duplicate {
        /// What they are both, such as `train split`.
        what: String,
        /// One folder.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A class folder without images.
    #[error(
        "{}: no image of class `{}`: they are expected in its folder itself, as {}",
        shown(path),
        excerpt(class),
        extensions()
    )]
    EmptyClass {
        /// The class folder, or the split folder that should hold it.
        path: PathBuf,
        /// The class.
        class: String,
    },
    /// None of the images of a class can be read.
    #[error(
        "{}: none of the {count} images of class `{}` can be read; the first one: {}",
        shown(path),
        excerpt(class),
        excerpt(reason)
    )]
    BrokenClass {
        /// The class folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// How many images it has.
        count: usize,
        /// What is wrong with the first of them.
        reason: String,
    },
    /// More than one image in ten cannot be read.
    #[error(
        "{}: {broken} of {total} images cannot be read, more than one in ten; the first one, {}: {}",
        shown(path),
        shown(first),
        excerpt(reason)
    )]
    TooManyBroken {
        /// The data set.
        path: PathBuf,
        /// How many images are broken.
        broken: usize,
        /// Of how many.
        total: usize,
        /// The first broken image.
        first: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An emotion file of the CK+ tree that holds no code from 0 to 7.
    #[error("{}: expected one emotion code from 0 to 7, found `{}`", shown(path), excerpt(found))]
    EmotionCode {
        /// The text file.
        path: PathBuf,
        /// The start of its text.
        found: String,
    },
    /// A split that the data set does not have.
    #[error("{} has no {wanted} split; it has: {present}", excerpt(dataset))]
    MissingSplit {
        /// The data set's name.
        dataset: String,
        /// The split asked for.
        wanted: crate::Split,
        /// The splits that exist, joined by commas.
        present: String,
    },
    /// A split name that is not known.
    #[error("unknown split `{}`: expected train, validation or test", excerpt(.0))]
    UnknownSplit(String),
    /// A fold number outside `0..folds`.
    #[error("fold {fold} of {folds}: expected at least 2 folds and a fold number below their count")]
    FoldIndex {
        /// The fold asked for, from 0.
        fold: usize,
        /// The number of folds.
        folds: usize,
    },
    /// Fewer images (or subjects) than folds.
    #[error("cannot cut {available} {what} into {folds} folds")]
    TooFewForFolds {
        /// How many there are.
        available: usize,
        /// `images` or `subjects`.
        what: &'static str,
        /// The number of folds.
        folds: usize,
    },
    /// A fold whose training part lacks a class.
    #[error("fold {fold} of {folds}: no image of class `{}` is left for training", excerpt(class))]
    EmptyFoldClass {
        /// The fold, from 0.
        fold: usize,
        /// The number of folds.
        folds: usize,
        /// The class.
        class: String,
    },
    /// Subject-independent folds were asked for where subjects are not known.
    #[error("the data set does not tell its subjects apart: use folds by image number")]
    NoSubjects,
    /// A value outside its domain.
    #[error("{name}: expected {}, got {}", excerpt(expected), excerpt(got))]
    Invalid {
        /// The option or argument.
        name: &'static str,
        /// Its domain.
        expected: String,
        /// The value.
        got: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound { path },
            _ => Self::Io { path, source },
        }
    }

    pub(crate) fn invalid(name: &'static str, expected: impl Into<String>, got: impl ToString) -> Self {
        Self::Invalid { name, expected: expected.into(), got: got.to_string() }
    }
}
