//! Knowledge distillation (Hinton et al. 2015): a network learns from others. These teachers say of every face that is
//! trained on, as it was varied (Beyer et al. 2022), how probable each class is, and that is a part of its target.

use crate::error::{Error, Result};
use crate::infer::{Forward, add_softmax};
use crate::nn::{Loss, Model};
use crate::pretrained;
use crate::weights::Weights;
use moue_datasets::{Normalisation, PIXELS};
use moue_kernels::Isa;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Most teachers of a run.
const MAX_TEACHERS: usize = 16;

/// Who teaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// Weights of the teachers: files, or `pretrained`. Their answers are averaged.
    pub teachers: Vec<String>,
    /// Their share of the target, above 0 and at most 1; the rest is the label's.
    pub share: f64,
}

impl Distillation {
    /// Checks that `student` can learn so.
    pub(crate) fn check(&self, student: &Model) -> std::result::Result<(), String> {
        let Self { teachers, share } = self;
        if !(1..=MAX_TEACHERS).contains(&teachers.len()) {
            return Err(format!("a run cannot have {} teachers", teachers.len()));
        }
        if !is_share(*share) {
            return Err(format!("teachers cannot have a share of {share}"));
        }
        match student.loss {
            Loss::Softmax => Ok(()),
            loss => Err(format!("a network with {} cannot have teachers, one with softmax can", loss.name())),
        }
    }
}

/// Whether `x` can be the teachers' share of a target.
pub(crate) fn is_share(x: f64) -> bool {
    x > 0.0 && x <= 1.0
}

/// The teachers at work.
#[derive(Debug)]
pub struct Teachers {
    teachers: Vec<Teacher>,
    share: f64,
    /// Share of the labels' part that is spread over all classes.
    smoothing: f64,
    classes: usize,
    checksum: u32,
}

#[derive(Debug)]
struct Teacher {
    name: String,
    forward: Forward,
    /// What its logits are multiplied with.
    scale: f64,
    /// From a pixel as the student sees it to one as this teacher was trained: factor and addend.
    renormalise: (f32, f32),
}

impl Teachers {
    /// Loads the teachers of `student`; `smoothing` is that of the labels.
    ///
    /// # Errors
    /// [`Error::Usage`] for a distillation that cannot be; as [`Weights::load`]; weights of other classes, or without
    /// probabilities (L2-SVM).
    pub fn load(how: &Distillation, student: &Weights, smoothing: f64, isa: Isa) -> Result<Self> {
        how.check(&student.model).map_err(Error::Usage)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut teachers = Vec::new();
        for name in &how.teachers {
            let weights = pretrained::load(name)?;
            let wrong = |reason: String| Err(Error::format(pretrained::name_of(Path::new(name)), reason));
            if weights.model.loss == Loss::Svm {
                return wrong("an SVM's scores are no probabilities that could be learned".to_owned());
            }
            if weights.classes != student.classes {
                let (theirs, ours) = (weights.classes.join(", "), student.classes.join(", "));
                return wrong(format!("a teacher of {theirs}, but what is trained are {ours}"));
            }
            hasher.update(&weights.to_bytes());
            teachers.push(Teacher {
                name: name.clone(),
                forward: Forward::new(weights.model, &weights.params, isa)?,
                scale: weights.softmax_scale(),
                renormalise: renormalise(student.normalisation, weights.normalisation),
            });
        }
        let (share, classes, checksum) = (how.share, student.classes.len(), hasher.finalize());
        Ok(Self { teachers, share, smoothing, classes, checksum })
    }

    /// Of all their weights: a run that goes on must have the same teachers.
    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Length of a target.
    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// Overwrites `targets`, `[n, classes]`, with the soft targets of faces of `pixels`, `[n, 48, 48, 1]`: the mean of
    /// the teachers' probabilities times their share, and the rest for the label.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for answers that are no numbers; no memory.
    pub(super) fn targets(&mut self, pixels: &[f32], labels: &[u32], targets: &mut [f32]) -> Result<()> {
        let Self { teachers, share, smoothing, classes, .. } = self;
        let label = 1.0 - *share;
        targets.fill((label * *smoothing / *classes as f64) as f32);
        for (target, &class) in targets.chunks_exact_mut(*classes).zip(labels) {
            target[class as usize] += (label * (1.0 - *smoothing)) as f32;
        }
        let weight = *share / teachers.len() as f64;
        for Teacher { name, forward, scale, renormalise: (factor, addend) } in teachers {
            let logits = forward.logits(pixels.len() / PIXELS, |to| {
                to.iter_mut().zip(pixels).for_each(|(to, x)| *to = x * *factor + *addend);
                Ok(())
            })?;
            if !logits.iter().all(|x| x.is_finite()) {
                return Err(Error::NotFinite(format!("{name}: this teacher's answers are no numbers")));
            }
            for (row, target) in logits.chunks_exact(*classes).zip(targets.chunks_exact_mut(*classes)) {
                add_softmax(row, *scale, weight, target);
            }
        }
        Ok(())
    }
}

/// (x * std + mean - mean') / std', exactly 1 and 0 where the two are the same.
fn renormalise(from: Normalisation, to: Normalisation) -> (f32, f32) {
    (from.std / to.std, (from.mean - to.mean) / to.std)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Classifier;
    use crate::nn::CbamPosition;
    use moue_datasets::{Split, synthetic};
    use std::path::Path;

    fn weights(loss: Loss, seed: u64) -> Weights {
        let names = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
        let model = Model::new(CbamPosition::None, loss, 7);
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        Weights::new(model, names, normalisation, seed, Isa::fastest()).unwrap()
    }

    fn distillation(teachers: &[Weights], folder: &Path, share: f64) -> Distillation {
        let save = |(i, weights): (usize, &Weights)| {
            let path = folder.join(format!("teacher{i}.safetensors"));
            weights.save(&path).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Distillation { teachers: teachers.iter().enumerate().map(save).collect(), share }
    }

    /// Two teachers of different losses, temperatures and normalisations have three eighths of the target each, the
    /// label a quarter.
    #[test]
    fn targets_are_the_teachers_answers_and_the_label() {
        let folder = tempfile::tempdir().unwrap();
        let mut teachers = [weights(Loss::AM_SOFTMAX, 1), weights(Loss::Softmax, 2)];
        teachers[0].temperature = 2.0;
        teachers[1].normalisation = Normalisation { mean: 0.3, std: 0.1 };
        let how = distillation(&teachers, folder.path(), 0.75);
        let student = weights(Loss::Softmax, 3);
        let mut loaded = Teachers::load(&how, &student, 0.14, Isa::fastest()).unwrap();

        let faces = synthetic::faces(0, Split::Train, 1).unwrap();
        let all: Vec<&[u8; PIXELS]> = (0..3).map(|i| faces.face(i).try_into().unwrap()).collect();
        let mut pixels = vec![0.0; 3 * PIXELS];
        for (face, to) in all.iter().zip(pixels.chunks_exact_mut(PIXELS)) {
            student.normalisation.apply(&face[..], to);
        }
        let mut targets = vec![f32::NAN; 3 * 7];
        loaded.targets(&pixels, &[2, 0, 6], &mut targets).unwrap();
        let answers =
            teachers.map(|w| Classifier::new(w, Isa::fastest()).unwrap().probabilities(&all).unwrap());
        for (i, &label) in [2, 0, 6].iter().enumerate() {
            for j in 0..7 {
                let own = if j == label { 0.86 + 0.02 } else { 0.02 };
                let expected = 0.375 * (answers[0][i][j] + answers[1][i][j]) + 0.25 * own;
                let got = targets[7 * i + j];
                assert!((got - expected).abs() < 1e-5, "face {i}, class {j}: {got} in place of {expected}");
            }
        }
    }

    #[test]
    fn pixels_stay_as_they_are_for_a_teacher_of_the_same_faces() {
        for normalisation in
            [Normalisation { mean: 0.513_578_65, std: 0.306_744_3 }, Normalisation::identity()]
        {
            assert_eq!(renormalise(normalisation, normalisation), (1.0, 0.0));
        }
    }

    #[test]
    fn teachers_that_cannot_teach_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let student = weights(Loss::Softmax, 1);
        let refused = |teacher: &Weights, what: &str| {
            let how = distillation(std::slice::from_ref(teacher), folder.path(), 0.5);
            let error = Teachers::load(&how, &student, 0.0, Isa::fastest()).unwrap_err().to_string();
            assert!(error.contains("teacher0.safetensors") && error.contains(what), "{error}");
        };
        let mut other = student.clone();
        other.classes.swap(0, 1);
        refused(&other, "a teacher of disgust, angry");
        refused(&weights(Loss::Svm, 1), "no probabilities");

        let how = distillation(std::slice::from_ref(&student), folder.path(), 0.5);
        let margin = weights(Loss::AM_SOFTMAX, 1);
        let error = Teachers::load(&how, &margin, 0.0, Isa::fastest()).unwrap_err().to_string();
        assert!(error.contains("am-softmax cannot have teachers"), "{error}");
    }

    /// Huge logits, as no training makes them.
    #[test]
    fn answers_that_are_no_numbers_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let student = weights(Loss::Softmax, 1);
        let mut teacher = student.clone();
        teacher.params.get_mut("head.weight").unwrap().fill(f32::MAX);
        teacher.params.get_mut("head.bias").unwrap().fill(f32::MAX);
        let how = distillation(&[teacher], folder.path(), 0.5);
        let mut loaded = Teachers::load(&how, &student, 0.0, Isa::fastest()).unwrap();
        let error = loaded.targets(&[1.0; PIXELS], &[0], &mut [0.0; 7]).unwrap_err().to_string();
        assert!(error.contains("teacher0.safetensors: this teacher's answers"), "{error}");
    }
}
