//! Using trained weights.

use crate::error::Result;
use crate::graph::{Graph, Phase};
use crate::nn::{Model, Network};
use crate::params::Params;
use crate::plan::Plan;
use crate::weights::Weights;
use moue_datasets::{Faces, Loader, Normalisation, PIXELS};
use moue_kernels::Isa;
use std::path::Path;

/// Faces in a batch of evaluation: more do not make it faster.
const BATCH: usize = 64;

/// Forward passes of one model, with a plan for every batch size met so far.
#[derive(Debug)]
pub struct Forward {
    model: Model,
    isa: Isa,
    plans: Vec<(usize, Plan<f32>, Network)>,
}

impl Forward {
    /// Without plans yet: each is made at its first use.
    pub fn new(model: Model, isa: Isa) -> Self {
        Self { model, isa, plans: Vec::new() }
    }

    /// Logits `[n, classes]`, row-major, of `n` faces that `fill` writes as `[n, 48, 48, 1]`.
    ///
    /// `params` are not changed: they are borrowed mutably because training plans share the signature.
    ///
    /// # Errors
    /// What `fill` fails with, or a model that does not compile.
    pub fn logits(
        &mut self,
        params: &mut Params<f32>,
        n: usize,
        fill: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<&[f32]> {
        let at = match self.plans.iter().position(|p| p.0 == n) {
            Some(at) => at,
            None => {
                let mut graph = Graph::new(Phase::Eval);
                let network = self.model.record(&mut graph, n);
                self.plans.push((n, graph.compile_forward(self.isa)?, network));
                self.plans.len() - 1
            }
        };
        let (_, plan, network) = &mut self.plans[at];
        fill(plan.input_mut(network.input))?;
        plan.forward(params);
        Ok(plan.value(network.logits))
    }

    /// The class that `params` see in each face, in the order of `faces`.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn classify(
        &mut self,
        params: &mut Params<f32>,
        faces: &Faces,
        normalisation: Normalisation,
    ) -> Result<Vec<usize>> {
        let loader = Loader::plain(faces, BATCH, normalisation)?;
        let epoch = loader.epoch(0);
        let (mut labels, mut images) = ([0; BATCH], [0; BATCH]);
        let outputs = self.model.classes;
        let mut classes = Vec::with_capacity(faces.len());
        for batch in 0..loader.batches_per_epoch() {
            let n = BATCH.min(faces.len() - batch * BATCH);
            let logits = self.logits(params, n, |pixels| {
                loader.fill(&epoch, batch, pixels, &mut labels, &mut images)?;
                Ok(())
            })?;
            classes.extend(logits.chunks_exact(outputs).map(argmax));
        }
        Ok(classes)
    }
}

/// Index of the largest, the first among equals; 0 without any.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let larger = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (1..row.len()).fold(0, larger)
}

/// Trained weights, ready to classify faces.
///
/// ```no_run
/// use moue::{Classifier, Isa};
/// use std::path::Path;
///
/// let mut classifier = Classifier::load(Path::new("runs/fer/best.safetensors"), Isa::fastest())?;
/// let face = moue::datasets::read_face(Path::new("me.jpg"))?;
/// let probabilities = classifier.probabilities(&[&face])?;
/// for (class, p) in classifier.classes().iter().zip(&probabilities[0]) {
///     println!("{class}: {p:.3}");
/// }
/// # Ok::<(), moue::Error>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    weights: Weights,
    forward: Forward,
}

impl Classifier {
    /// A classifier with these weights.
    pub fn new(weights: Weights, isa: Isa) -> Self {
        let forward = Forward::new(weights.model, isa);
        Self { weights, forward }
    }

    /// A classifier with the weights in the file at `path`.
    ///
    /// # Errors
    /// As [`Weights::load`].
    pub fn load(path: &Path, isa: Isa) -> Result<Self> {
        Ok(Self::new(Weights::load(path)?, isa))
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Class names, in the order of the probabilities.
    pub fn classes(&self) -> &[String] {
        &self.weights.classes
    }

    /// The probability of each class for each face (48 x 48 grey values, row by row).
    ///
    /// # Errors
    /// A model that does not compile.
    pub fn probabilities(&mut self, faces: &[&[u8; PIXELS]]) -> Result<Vec<Vec<f32>>> {
        let Self { weights, forward } = self;
        let (scale, classes) = (weights.model.logit_scale(), weights.model.classes);
        let mut probabilities = Vec::with_capacity(faces.len());
        for faces in faces.chunks(BATCH) {
            let logits = forward.logits(&mut weights.params, faces.len(), |pixels| {
                for (face, pixels) in faces.iter().zip(pixels.chunks_exact_mut(PIXELS)) {
                    weights.normalisation.apply(&face[..], pixels);
                }
                Ok(())
            })?;
            probabilities.extend(logits.chunks_exact(classes).map(|row| softmax(row, scale)));
        }
        Ok(probabilities)
    }

    /// The index of the most probable class for each of `faces`.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn classify(&mut self, faces: &Faces) -> Result<Vec<usize>> {
        self.forward.classify(&mut self.weights.params, faces, self.weights.normalisation)
    }
}

/// exp(scale * x) over its sum.
fn softmax(row: &[f32], scale: f64) -> Vec<f32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|&x| (scale * f64::from(x - largest)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CbamPosition, Loss};
    use moue_datasets::{Split, synthetic};

    #[test]
    fn the_first_of_the_largest_wins() {
        assert_eq!(argmax(&[0.0, 2.0, 2.0, 1.0]), 1);
        assert_eq!(argmax(&[-1.0]), 0);
        assert_eq!(argmax(&[f32::NAN, 1.0]), 0);
    }

    #[test]
    fn probabilities_are_a_softmax() {
        let p = softmax(&[1.0, 0.0], 2.0);
        assert!((f64::from(p[0]) - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-7);
        assert_eq!(softmax(&[1000.0, 0.0], 30.0), [1.0, 0.0]);
    }

    /// A face's answer does not depend on the batch it comes in, nor on the call.
    #[test]
    fn batches_do_not_matter() {
        let model = Model { cbam: CbamPosition::Block4, loss: Loss::Softmax, classes: 7 };
        let names = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        let weights = Weights::new(model, names, normalisation, 1, Isa::fastest()).unwrap();
        let mut classifier = Classifier::new(weights, Isa::fastest());
        let faces = synthetic::faces(0, Split::Test, 10).unwrap();
        let all: Vec<&[u8; PIXELS]> = (0..70).map(|i| faces.face(i).try_into().unwrap()).collect();
        let together = classifier.probabilities(&all).unwrap();
        let single = classifier.probabilities(&all[66..67]).unwrap();
        assert!(together[66].iter().zip(&single[0]).all(|(a, b)| (a - b).abs() < 1e-5));
        let labels = classifier.classify(&faces).unwrap();
        assert_eq!(labels, together.iter().map(|p| argmax(p)).collect::<Vec<_>>());
    }
}
