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

    /// Whether the images here are those that weights with these facts were trained on; where they have no checksum,
    /// whether they are as many.
    pub fn trained_on(&self, facts: &Facts) -> bool {
        match facts.trained_on {
            Some(checksum) => checksum == self.fingerprint(),
            None => facts.images == self.train.len(),
        }
    }

    /// Whether the images of `split` here chose the epoch of weights with these facts; where they have no checksum,
    /// whether the split has the same name and there are as many training images.
    pub fn chose(&self, split: Split, facts: &Facts) -> bool {
        match (facts.watched, self.split(split)) {
            (Some(watched), Some(faces)) => watched == checksum(faces),
            _ => facts.split.as_deref() == Some(split.name()) && self.trained_on(facts),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CbamPosition, Loss, Model};
    use moue_datasets::synthetic;
    use std::collections::BTreeSet;

    /// Of six persons who make each face once: how many images, with their copies, are trained on, and how many
    /// images and persons are in both parts.
    fn shared(fold: Fold) -> [usize; 3] {
        let mut faces = synthetic::faces(0, Split::Train, 6).unwrap();
        faces.subjects = Some((0..faces.len() as u32).map(|i| i / 7).collect());
        let classes = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
        let none = moue_datasets::OpenOptions { synthetic_per_class: 1, ..Default::default() };
        let dataset = Dataset { classes, train: faces, ..Dataset::open("synthetic", &none).unwrap() };
        let config = Config::paper("", Model::new(CbamPosition::None, Loss::Softmax, 7), 1);
        let sets = Sets::fold(&dataset, fold, &config).unwrap();
        let (_, test) = sets.tested().unwrap();
        assert_eq!(sets.train.len() + test.len(), 42 * (1 + fold.copies));
        let common = |of: fn(&Faces) -> &[u32]| {
            let [train, test] = [&sets.train, test].map(|faces| of(faces).iter().collect::<BTreeSet<_>>());
            train.intersection(&test).count()
        };
        [sets.train.len(), common(|f| &f.numbers), common(|f| f.subjects.as_deref().unwrap())]
    }

    #[test]
    fn folds_are_cut_where_they_are_said_to_be() {
        let fold = |by, copies, leaky| Fold { copies, leaky, ..Fold::new(5, 1, by) };
        assert_eq!(shared(fold(Folding::Image, 0, false)), [33, 0, 6]);
        assert_eq!(shared(fold(Folding::Image, 2, false)), [99, 0, 6]);
        // One of three versions of most images is tested, and the others are trained on.
        let [trained_on, images, persons] = shared(fold(Folding::Image, 2, true));
        assert_eq!((trained_on, persons), (101, 6));
        assert!(images > 15, "{images}");
        assert_eq!(shared(fold(Folding::Subject, 0, false)), [35, 0, 0]);
        assert_eq!(shared(fold(Folding::Subject, 2, false)), [105, 0, 0]);
    }
}
