//! The images of a run: which are trained on, which are watched, which are tested.

use super::{Config, Fold, Folding};
use crate::error::Result;
use crate::weights::Facts;
use moue_datasets::{Dataset, Faces, Split, folds};

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
            return Self::fold(&data, fold, config);
        }
        let held = [(Split::Validation, data.validation), (Split::Test, data.test)];
        let held = held.into_iter().filter_map(|(split, faces)| Some((split, faces?))).collect();
        Ok(Self { classes: data.classes, train: data.train, held })
    }

    /// The parts of the training split of `data` of which one is tested. Fixed copies are drawn as `config` says,
    /// before or after the cut.
    ///
    /// # Errors
    /// A fold that cannot be cut.
    pub fn fold(data: &Dataset, fold: Fold, config: &Config) -> Result<Self> {
        let cut = |faces: &Faces| match fold.by {
            Folding::Image => folds::fold(faces, &data.classes, fold.of, fold.index),
            Folding::Subject => folds::fold_by_subject(faces, &data.classes, fold.of, fold.index),
        };
        let copied = |faces: &Faces| faces.with_copies(&config.augment.ranges(), fold.copies, config.seed);
        let (train, test) = match (fold.copies, fold.leaky) {
            (0, _) => cut(&data.train)?,
            (_, true) => cut(&copied(&data.train)?)?,
            (_, false) => {
                let (train, test) = cut(&data.train)?;
                (copied(&train)?, copied(&test)?)
            }
        };
        Ok(Self { classes: data.classes.clone(), train, held: vec![(Split::Test, test)] })
    }

    /// The faces of `split`, if there are any.
    pub fn split(&self, split: Split) -> Option<&Faces> {
        match split {
            Split::Train => Some(&self.train).filter(|faces| !faces.is_empty()),
            _ => self.held.iter().find(|(held, _)| *held == split).map(|(_, faces)| faces),
        }
    }

    /// What decides which epoch's weights are the best: validation if there is one, else test.
    pub fn watched(&self) -> Option<&(Split, Faces)> {
        self.held.first()
    }

    /// What the result is measured on: test if there is one, else validation.
    pub fn tested(&self) -> Option<&(Split, Faces)> {
        self.held.last()
    }

    /// Whether weights with these facts were trained on the images here; where they have no checksum, on as many.
    pub fn taught(&self, facts: &Facts) -> bool {
        match facts.trained_on {
            Some(checksum) => checksum == self.fingerprint(),
            None => facts.images == self.train.len(),
        }
    }

    /// Whether the images of `split` here chose the epoch of weights with these facts; where they have no checksum,
    /// those of the same name beside as many training images.
    pub fn chose(&self, split: Split, facts: &Facts) -> bool {
        match (facts.watched, self.split(split)) {
            (Some(watched), Some(faces)) => watched == checksum(faces),
            _ => facts.split.as_deref() == Some(split.name()) && self.taught(facts),
        }
    }

    /// Checksum of the training images and labels: a run is only continued on those that it started with.
    pub fn fingerprint(&self) -> u32 {
        checksum(&self.train)
    }

    /// The same of what is held out.
    pub fn held_fingerprint(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for (split, faces) in &self.held {
            hasher.update(split.name().as_bytes());
            hasher.update(&checksum(faces).to_le_bytes());
        }
        hasher.finalize()
    }
}

/// Of images and labels.
pub(super) fn checksum(faces: &Faces) -> u32 {
    let pixels = &faces.pixels;
    let mut hasher = crc32fast::Hasher::new_with_initial_len(pixels.summary().crc, pixels.len() as u64);
    hasher.update(&faces.labels);
    hasher.finalize()
}
