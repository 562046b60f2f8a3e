//! Faces for moue.
#![forbid(unsafe_code)]

mod augment;
mod cache;
mod canvas;
mod ckplus;
pub mod classes;
mod dataset;
pub mod decode;
mod error;
mod faces;
mod folder;
pub mod folds;
mod kaggle;
mod listing;
mod loader;
mod rng;
pub mod sheet;
pub mod synthetic;

pub use augment::{Affine, Augment};
pub use dataset::{CacheStatus, Dataset, OpenOptions, Skipped, Split};
pub use decode::{decode_face, read_face};
pub use error::{Error, Result};
pub use faces::{Face, Faces, Normalisation, PIXELS, SIDE};
pub use loader::{Epoch, Loader};
pub use rng::Rng;
pub use sheet::{augmentation_sheet, contact_sheet};
