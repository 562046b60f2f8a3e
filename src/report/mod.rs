//! Reports: what a run came to, and the paper's tables and figures beside our own.
//!
//! [`Confusion`] and [`Scored`] measure, [`chart`] draws, a [`Document`] collects blocks and is written as one HTML
//! page and as Markdown; [`run_report`] fills one for a run, [`paper`] for all that the paper shows.

pub mod chart;
mod confusion;
mod document;
mod html;
mod markdown;
pub mod paper;
mod parts;
mod run;
mod sample;
mod scored;

pub use confusion::Confusion;
pub(crate) use document::png;
pub use document::{Block, Document, Figure, Gallery, Image, Table};
#[cfg(feature = "serve")]
pub(crate) use html::png_uri;
pub use run::{Evaluated, Fitted, run_report};
pub use sample::mean_and_deviation;
pub use scored::{Answer, BINS, Bin, Calibration, Mistake, Scored, match_classes};
