//! What can go wrong, and with which file, option or operation.

use moue_datasets::message::{self, excerpt, one_line, shown};
use moue_kernels::Shape;
use std::path::{Path, PathBuf};

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can fail; each message names what is at fault, in one line of bounded length whatever was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation was recorded with operands that do not fit.
    #[error("{op}: expected {}, got {}", excerpt(expected), excerpt(got))]
    Operand {
        /// Operation.
        op: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        got: String,
    },
    /// A loss must be a single number.
    #[error("the loss must be one number, but its shape is {0}")]
    LossShape(Shape),
    /// No memory for the values of a plan.
    #[error("no memory for the {bytes} bytes of a step's values: {source}")]
    Memory {
        /// Bytes of the arena.
        bytes: usize,
        /// Why.
        source: std::io::Error,
    },
    /// Two parameters share a name.
    #[error("two parameters are called `{}`", excerpt(.0))]
    DuplicateName(String),
    /// Parameters of one model given to another.
    #[error("the parameters are of another model: {}", message::reason(.0))]
    OtherModel(String),
    /// The data set could not be read.
    #[error(transparent)]
    Data(#[from] moue_datasets::Error),
    /// A file could not be read or written.
    #[error("{}: {}", shown(path), excerpt(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file's content is not what it should be.
    #[error("{}: {}", shown(path), message::reason(.reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An option or its value makes no sense.
    #[error("{}", one_line(.0))]
    Usage(String),
    /// Gradients that a check found wrong.
    #[error("{failed} gradient checks failed")]
    Gradients {
        /// How many checks.
        failed: usize,
    },
    /// Runs that could not be trained to their end; what is wrong with each was told when it was met.
    #[error("{failed} runs failed, as told above; the report has what there is")]
    Runs {
        /// How many runs.
        failed: usize,
    },
    /// The loss or a gradient stopped being a number.
    #[error("{}", one_line(.0))]
    NotFinite(String),
    /// Processes that are to train together started with different data, weights, options or instruction sets.
    #[error("the processes disagree on data, weights, options or instruction set: start all with the same")]
    Disagreement,
    /// None of the pictures could be read; what is wrong with each was told when it was met.
    #[error("no picture could be read")]
    NoPicture,
    /// A signal ended the work early; nothing is lost.
    #[error("{}", one_line(.0))]
    Interrupted(String),
}

impl Error {
    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The run in `path` is not the one that was asked for.
    pub(crate) fn other_options(path: &Path) -> Self {
        Self::format(path, "was started with other options; repeat those, or choose another --out")
    }

    /// A format error of the file at `path`.
    pub fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }
}
