//! The images of a run: which are trained on, which are watched, which are tested.

use super::{Config, Fold, Folding};
use crate::error::Result;
use moue_datasets::{Dataset, Faces, Split};

/// The splits of a run.
#[derive(Debug)]
pub struct Sets {
    /// Class names.
    pub classes: Vec<String>,
    /// What is trained on.
    pub train: Faces,
    /// Held out: validation before test, none to two.
    held: Vec<(Split, Faces)>,
}

impl Sets {
    /// The splits of `data`, or with [`Config::fold`] the parts of its training split.
    ///
    /// # Errors
    /// A fold that cannot be cut.
    pub fn new(data: Dataset, config: &Config) -> Result<Self> {
        if let Some(fold) = config.fold {
            return Self::fold(&data, fold);
        }
        let held = [(Split::Validation, data.validation), (Split::Test, data.test)];
        let held = held.into_iter().filter_map(|(split, faces)| Some((split, faces?))).collect();
        Ok(Self { classes: data.classes, train: data.train, held })
    }

    /// The parts of the training split of `data` of which one is tested.
    ///
    /// # Errors
    /// A fold that cannot be cut.
    pub fn fold(data: &Dataset, fold: Fold) -> Result<Self> {
        let (train, test) = match fold.by {
            Folding::Image => data.fold(fold.of, fold.index)?,
            Folding::Subject => data.fold_by_subject(fold.of, fold.index)?,
        };
        Ok(Self { classes: data.classes.clone(), train, held: vec![(Split::Test, test)] })
    }

    /// What decides which epoch's weights are the best: validation if there is one, else test.
    pub fn watched(&self) -> Option<&(Split, Faces)> {
        self.held.first()
    }

    /// What the result is measured on: test if there is one, else validation.
    pub fn tested(&self) -> Option<&(Split, Faces)> {
        self.held.last()
    }

    /// Checksum of the training images and labels: a run is only continued on those that it started with.
    pub fn fingerprint(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.train.pixels);
        hasher.update(&self.train.labels);
        hasher.finalize()
    }
}
