//! Learning from trained networks (Hinton et al. 2015): of every face that is trained on, as it was varied, they say how
//! probable each class is (Beyer et al. 2022), and that is a part of the target.

use super::init::initial_weights;
use crate::error::{Error, Result};
use crate::infer::{Forward, argmax};
use crate::weights::Weights;
use moue_datasets::PIXELS;
use moue_kernels::Isa;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Who teaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Teaching {
    /// Weights of the teachers: files, or `pretrained`. What they say is averaged.
    pub weights: Vec<String>,
    /// Their share of the target, above 0 and at most 1; the rest is the label's.
    pub share: f64,
}

/// The teachers at work.
#[derive(Debug)]
pub struct Teachers {
    /// Of each: its network, and what its logits are multiplied with.
    each: Vec<(Forward, f64)>,
    share: f64,
    classes: usize,
}

impl Teachers {
    /// Loads the teachers of `pupil`.
    ///
    /// # Errors
    /// As [`Weights::load`]; weights of other classes, or trained on faces that were normalised otherwise.
    pub fn load(teaching: &Teaching, pupil: &Weights, isa: Isa) -> Result<Self> {
        let mut each = Vec::new();
        for from in &teaching.weights {
            let teacher = initial_weights(from)?;
            let wrong = |what: &str| {
                Err(Error::format(Path::new(from), format!("this teacher {what} what is to be trained")))
            };
            if teacher.classes != pupil.classes {
                return wrong("does not know the classes of");
            }
            if teacher.normalisation != pupil.normalisation {
                return wrong("was trained on faces of another mean or deviation than");
            }
            each.push((Forward::new(teacher.model, &teacher.params, isa)?, teacher.softmax_scale()));
        }
        Ok(Self { each, share: teaching.share, classes: pupil.classes.len() })
    }

    /// Classes that they know.
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// Overwrites `targets`, `[n, classes]`, for faces of `pixels`, `[n, 48, 48, 1]`: the teachers' mean of the
    /// probabilities times their share, and the rest for the label, of which `smoothing` is spread over all classes.
    /// Allocates nothing from the second call with as many faces on.
    pub(super) fn targets(
        &mut self,
        pixels: &[f32],
        labels: &[u32],
        smoothing: f64,
        targets: &mut [f32],
    ) -> Result<()> {
        let classes = self.classes;
        let rest = 1.0 - self.share;
        targets.fill((rest * smoothing / classes as f64) as f32);
        for (row, &label) in targets.chunks_exact_mut(classes).zip(labels) {
            row[label as usize] += (rest * (1.0 - smoothing)) as f32;
        }
        let weight = self.share / self.each.len() as f64;
        for (forward, scale) in &mut self.each {
            let logits = forward.logits(pixels.len() / PIXELS, |to| {
                to.copy_from_slice(pixels);
                Ok(())
            })?;
            for (row, target) in logits.chunks_exact(classes).zip(targets.chunks_exact_mut(classes)) {
                let largest = row[argmax(row)];
                let power = |x: f32| (*scale * f64::from(x - largest)).exp();
                let factor = weight / row.iter().map(|&x| power(x)).sum::<f64>();
                for (target, &x) in target.iter_mut().zip(row) {
                    *target += (factor * power(x)) as f32;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Classifier;
    use crate::nn::{CbamPosition, Loss, Model};
    use moue_datasets::{Normalisation, Split, synthetic};

    fn weights(cbam: CbamPosition, loss: Loss, seed: u64) -> Weights {
        let names = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        Weights::new(Model::new(cbam, loss, 7), names, normalisation, seed, Isa::fastest()).unwrap()
    }

    /// Two teachers of different networks, losses and temperatures, one half of the target each but for the label's
    /// share.
    #[test]
    fn targets_are_the_teachers_answers_and_the_label() {
        let folder = tempfile::tempdir().unwrap();
        let mut teachers = [
            weights(CbamPosition::Block4, Loss::AM_SOFTMAX, 1),
            weights(CbamPosition::None, Loss::Softmax, 2),
        ];
        teachers[0].temperature = 2.0;
        let paths = [0, 1].map(|i| folder.path().join(i.to_string()).to_str().unwrap().to_owned());
        for (weights, path) in teachers.iter().zip(&paths) {
            weights.save(Path::new(path)).unwrap();
        }
        let teaching = Teaching { weights: paths.to_vec(), share: 0.75 };
        let pupil = weights(CbamPosition::Block1, Loss::Softmax, 3);
        let mut loaded = Teachers::load(&teaching, &pupil, Isa::fastest()).unwrap();

        let faces = synthetic::faces(0, Split::Train, 1).unwrap();
        let all: Vec<&[u8; PIXELS]> = (0..3).map(|i| faces.face(i).try_into().unwrap()).collect();
        let mut pixels = vec![0.0; 3 * PIXELS];
        for (face, to) in all.iter().zip(pixels.chunks_exact_mut(PIXELS)) {
            pupil.normalisation.apply(&face[..], to);
        }
        let mut targets = vec![f32::NAN; 3 * 7];
        loaded.targets(&pixels, &[2, 0, 6], 0.14, &mut targets).unwrap();
        let answers =
            teachers.map(|w| Classifier::new(w, Isa::fastest()).unwrap().probabilities(&all).unwrap());
        for (i, &label) in [2, 0, 6].iter().enumerate() {
            for j in 0..7 {
                let own = if j == label { 0.86 + 0.02 } else { 0.02 };
                let expected = 0.375 * (answers[0][i][j] + answers[1][i][j]) + 0.25 * own;
                assert!((targets[7 * i + j] - expected).abs() < 1e-6, "face {i}, class {j}");
            }
        }
    }

    #[test]
    fn teachers_of_other_classes_or_faces_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let pupil = weights(CbamPosition::Block4, Loss::Softmax, 1);
        let refused = |teacher: Weights, what: &str| {
            teacher.save(&path).unwrap();
            let teaching = Teaching { weights: vec![path.to_str().unwrap().to_owned()], share: 0.5 };
            let error = Teachers::load(&teaching, &pupil, Isa::fastest()).unwrap_err().to_string();
            assert!(error.contains("w.safetensors") && error.contains(what), "{error}");
        };
        let mut other = pupil.clone();
        other.classes.swap(0, 1);
        refused(other, "not know the classes");
        let mut other = pupil.clone();
        other.normalisation.mean = 0.4;
        refused(other, "another mean");
    }
}
