//! Training: [`Trainer`] makes steps; [`Session`] makes a run of them, with evaluation after every epoch, a folder
//! of results, checkpoints and resuming.

mod average;
pub(crate) mod checkpoint;
mod config;
mod console;
mod data;
mod distillation;
mod evaluate;
mod feed;
mod folder;
mod init;
mod progress;
mod report;
mod resume;
mod session;
mod trainer;

pub use config::{Augmentation, Config, Fold, Folding, Refinements, Schedule};
pub(crate) use config::{MAX_BATCH, MAX_COPIES, MAX_EPOCHS};
pub use data::Sets;
pub(crate) use distillation::is_share;
pub use distillation::{Distillation, Teachers};
pub use folder::{Record, RunFolder};
pub use progress::{Best, EpochRow, Progress, Tally};
pub use report::Report;
pub use resume::Resume;
pub use session::{Options, Session};
pub use trainer::{Helpers, Recipe, Step, Trainer};
