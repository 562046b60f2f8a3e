//! Faces for moue: data sets, folds, augmentation and batches.
//!
//! ```text
//!  FER2013 CSV ----- parse ----+
//!  folders of images - decode -+--> Faces --> Dataset --> split / fold --> Loader --> batch
//!  CK+ tree -------- decode ---+    u8, 48 x 48   ^                        shuffle    f32
//!  synthetic ------- draw -----+                  |                        augment    [n, 48, 48, 1]
//!                                     packed cache on disk                 normalise
//! ```
//!
//! [`Dataset::open`] reads any of the sources into [`Faces`]: 8-bit grey pixels with label, image
//! number, subject and name. Decoded folders and CSV files are kept in one packed file, which the
//! next start maps into memory. Several processes open a data set together ([`Peers`]): each decodes
//! its share. [`Dataset::split`] hands out what the source calls
//! training, validation or test; [`Dataset::fold`] cuts cross-validation folds. A [`Loader`] turns
//! faces into batches of normalised and augmented `f32`.
//!
//! Everything random comes from [`Rng`], keyed by seed, epoch and image: the same options give the
//! same bits, on any number of threads and after a resume.
//!
//! ```
//! use moue_datasets::{Dataset, OpenOptions, Split};
//!
//! let options = OpenOptions { synthetic_per_class: 20, ..OpenOptions::default() };
//! let data = Dataset::open("synthetic", &options)?;
//! assert_eq!(data.classes[3], "happy");
//! assert_eq!(data.split(Split::Train)?.counts(7), [20; 7]);
//! let (train, test) = data.fold(5, 0)?;
//! assert_eq!((train.len(), test.len()), (112, 28));
//! # Ok::<(), moue_datasets::Error>(())
//! ```
// One mapping of a file, in `cache`, says why it is allowed.
#![deny(unsafe_code)]

mod affine;
mod augment;
mod cache;
mod ckplus;
pub mod classes;
mod copies;
mod dataset;
pub mod decode;
mod error;
mod faces;
mod files;
mod folder;
pub mod folds;
#[doc(hidden)]
pub mod fuzzing;
mod kaggle;
mod listing;
mod loader;
pub mod message;
mod open;
mod peers;
mod pixels;
mod rng;
mod sampler;
pub mod sheet;
pub mod synthetic;

pub use affine::Affine;
pub use augment::Augment;
pub use dataset::{CacheStatus, Dataset, OpenOptions, Skipped, Split};
pub use decode::{decode_face, read_face};
pub use error::{Error, Result};
pub use faces::{Face, Faces, Normalisation, PIXELS, SIDE};
pub use listing::MAX_CLASSES;
pub use loader::Loader;
pub use open::SYNTHETIC;
pub use peers::{Alone, Peers};
pub use pixels::{Pixels, Summary};
pub use rng::Rng;
pub use sampler::{Epoch, Sampling};
pub use sheet::{augmentation_sheet, contact_sheet};
