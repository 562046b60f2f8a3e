//! Using trained weights.

use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::graph::{Graph, Phase};
use crate::nn::{FoldedNetwork, Model};
use crate::params::Params;
use crate::plan::{OpTime, Plan};
use crate::views::Views;
use crate::weights::Weights;
use moue_datasets::{Faces, Loader, Normalisation, PIXELS};
use moue_kernels::Isa;
use rayon::prelude::*;
use std::ops::Sub;
use std::path::Path;
use std::sync::Mutex;

/// Faces that are normalised and classified in one call.
const BATCH: usize = 64;

/// Most faces of one pass through the network on one thread: they share the weights while most of their activations
/// stay in the second-level cache. Microseconds a face on one thread: 610 with 1, 601 with 2, 633 with 4.
const CHUNK: usize = 2;

/// Forward passes of one model, for batches of any size.
///
/// A single face is shared by the threads, layer by layer. Several are cut into chunks that go through the network
/// side by side, each in an arena of its own. A face's logits are the same bits either way, on any number of threads.
#[derive(Debug)]
pub struct Forward {
    engine: Engine,
    pixels: Vec<f32>,
    logits: Vec<f32>,
}

/// What threads share.
#[derive(Debug)]
struct Engine {
    model: Model,
    isa: Isa,
    /// Folded parameters, on cache lines and large pages.
    weights: Arena<f32>,
    /// Plans that no thread is using.
    plans: Mutex<Vec<SizedPlan>>,
}

/// A plan for batches of one size.
#[derive(Debug)]
struct SizedPlan {
    size: (usize, bool),
    plan: Plan<f32>,
    network: FoldedNetwork,
}

impl Engine {
    /// A plan for `n` faces, which uses `threads` or stays on the one that runs it.
    fn plan(&self, n: usize, threads: bool) -> Result<SizedPlan> {
        let mut graph = Graph::new(Phase::Eval);
        let network = self.model.record_folded(&mut graph, n, threads);
        Ok(SizedPlan { size: (n, threads), plan: graph.compile_forward(self.isa)?, network })
    }

    /// Logits of some faces.
    fn run(&self, pixels: &[f32], threads: bool, logits: &mut [f32]) -> Result<()> {
        let size = (pixels.len() / PIXELS, threads);
        let lock = || self.plans.lock().expect("nothing panics while it holds the lock");
        let free = {
            let mut plans = lock();
            plans.iter().position(|sized| sized.size == size).map(|at| plans.swap_remove(at))
        };
        let mut sized = match free {
            Some(sized) => sized,
            None => self.plan(size.0, threads)?,
        };
        sized.plan.set(sized.network.input, pixels);
        sized.plan.infer(self.weights.whole());
        logits.copy_from_slice(sized.plan.value(sized.network.logits));
        lock().push(sized);
        Ok(())
    }
}

impl Forward {
    /// With these parameters; their batch norms are folded into the convolutions.
    ///
    /// # Errors
    /// Parameters of another model, a model that does not compile, or no memory.
    pub fn new(model: Model, params: &Params<f32>, isa: Isa) -> Result<Self> {
        let engine = Engine { model, isa, weights: prepare(&model, params, isa)?, plans: Mutex::default() };
        Ok(Self { engine, pixels: Vec::new(), logits: Vec::new() })
    }

    /// Takes other parameters of the same model.
    ///
    /// # Errors
    /// As [`Forward::new`].
    pub fn load(&mut self, params: &Params<f32>) -> Result<()> {
        self.engine.weights = prepare(&self.engine.model, params, self.engine.isa)?;
        Ok(())
    }

    /// Logits `[n, classes]`, row-major, of `n` faces that `fill` writes as `[n, 48, 48, 1]`.
    ///
    /// # Errors
    /// What `fill` fails with, or no memory.
    pub fn logits(&mut self, n: usize, fill: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<&[f32]> {
        let Self { engine, pixels, logits } = self;
        let classes = engine.model.classes;
        pixels.resize(n * PIXELS, 0.0);
        logits.resize(n * classes, 0.0);
        fill(pixels)?;
        if n == 1 {
            engine.run(pixels, true, logits)?;
        } else {
            let chunk = chunk(n);
            let chunks = pixels.par_chunks(chunk * PIXELS).zip(logits.par_chunks_mut(chunk * classes));
            chunks.try_for_each(|(pixels, logits)| engine.run(pixels, false, logits))?;
        }
        Ok(logits)
    }

    /// Times the operations of `reps` passes through the network, with the faces of the last [`Forward::logits`] and
    /// cut like there: a single face by all threads together, several by each thread at once. Returns the faces of a
    /// pass and what each of the plans that ran side by side measured.
    pub(crate) fn profile(&self, reps: usize) -> Result<(usize, Vec<Vec<OpTime>>)> {
        let engine = &self.engine;
        let alone = self.pixels.len() == PIXELS;
        let faces = chunk(self.pixels.len() / PIXELS);
        let pass = || {
            let SizedPlan { mut plan, network, .. } = engine.plan(faces, alone)?;
            plan.set(network.input, &self.pixels[..faces * PIXELS]);
            // The first pass meets a cold arena.
            plan.infer(engine.weights.whole());
            plan.start_profile();
            (0..reps).for_each(|_| plan.infer(engine.weights.whole()));
            Ok(plan.profile())
        };
        let times: Result<_> = if alone {
            pass().map(|times| vec![times])
        } else {
            rayon::broadcast(|_| pass()).into_iter().collect()
        };
        Ok((faces, times?))
    }

    /// Multiply-adds of one face, those of convolutions counted as of direct ones.
    ///
    /// # Errors
    /// No memory.
    pub fn macs(&self) -> Result<u64> {
        Ok(self.engine.plan(1, false)?.plan.macs())
    }

    /// Bytes of the arenas so far.
    pub fn arena_bytes(&self) -> usize {
        let plans = self.engine.plans.lock().expect("nothing panics while it holds the lock");
        plans.iter().map(|sized| sized.plan.arena_bytes()).sum()
    }

    /// The class of each face, in the order of `faces`.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn classify(&mut self, faces: &Faces, normalisation: Normalisation) -> Result<Vec<usize>> {
        self.each(faces, normalisation, argmax)
    }

    /// What `of` makes of the logits of each face, in the order of `faces`.
    fn each<T>(
        &mut self,
        faces: &Faces,
        normalisation: Normalisation,
        of: impl Fn(&[f32]) -> T,
    ) -> Result<Vec<T>> {
        let loader = Loader::plain(faces, BATCH, normalisation)?;
        let epoch = loader.epoch(0);
        let (mut labels, mut images) = ([0; BATCH], [0; BATCH]);
        let outputs = self.engine.model.classes;
        let mut results = Vec::with_capacity(faces.len());
        for batch in 0..loader.batches_per_epoch() {
            let n = BATCH.min(faces.len() - batch * BATCH);
            let logits = self.logits(n, |pixels| {
                loader.fill(&epoch, batch, pixels, &mut labels, &mut images)?;
                Ok(())
            })?;
            results.extend(logits.chunks_exact(outputs).map(&of));
        }
        Ok(results)
    }
}

/// Faces of a chunk of `n`: at least eight chunks, or a face each, so that threads finish together; by the number of
/// faces alone.
fn chunk(n: usize) -> usize {
    (n / 8).clamp(1, CHUNK)
}

/// Folded parameters in an allocation of their own.
fn prepare(model: &Model, params: &Params<f32>, isa: Isa) -> Result<Arena<f32>> {
    let folded = model.fold(isa, params)?.values;
    let bytes = size_of_val(&folded[..]);
    let mut weights = Arena::new(folded.len()).map_err(|source| Error::Memory { bytes, source })?;
    weights.all().copy_from_slice(&folded);
    Ok(weights)
}

/// Index of the largest, the first among equals; 0 without any.
pub(crate) fn argmax<T: PartialOrd>(row: &[T]) -> usize {
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
    views: Views,
}

impl Classifier {
    /// A classifier with these weights.
    ///
    /// # Errors
    /// As [`Forward::new`].
    pub fn new(weights: Weights, isa: Isa) -> Result<Self> {
        let forward = Forward::new(weights.model, &weights.params, isa)?;
        Ok(Self { weights, forward, views: Views::One })
    }

    /// Classifies several views of each face from now on.
    #[must_use]
    pub fn with_views(self, views: Views) -> Self {
        Self { views, ..self }
    }

    /// A classifier with the weights in the file at `path`.
    ///
    /// # Errors
    /// As [`Weights::load`] and [`Forward::new`].
    pub fn load(path: &Path, isa: Isa) -> Result<Self> {
        Self::new(Weights::load(path)?, isa)
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
        let Self { weights, forward, views } = self;
        let scale = weights.softmax_scale();
        let classes = weights.model.classes;
        let (maps, (factor, addend)) = (views.maps(), weights.normalisation.affine());
        let count = maps.len();
        let mut probabilities = Vec::with_capacity(faces.len());
        for faces in faces.chunks(BATCH) {
            let logits = forward.logits(faces.len() * count, |pixels| {
                for (face, pixels) in faces.iter().zip(pixels.chunks_exact_mut(count * PIXELS)) {
                    if *views == Views::One {
                        // Sampling the face as it is would take 4 % longer: 332 us a face in place of 319.
                        weights.normalisation.apply(&face[..], pixels);
                        continue;
                    }
                    for (map, view) in maps.iter().zip(pixels.as_chunks_mut().0) {
                        map.sample(face, factor, addend, view);
                    }
                }
                Ok(())
            })?;
            probabilities.extend(logits.chunks_exact(count * classes).map(|rows| {
                let mut mean = vec![0.0; classes];
                rows.chunks_exact(classes)
                    .for_each(|row| add_softmax(row, scale, 1.0 / count as f64, &mut mean));
                mean
            }));
        }
        Ok(probabilities)
    }

    /// Scores of the classes for each of `faces` as they are, `[n, classes]` row-major: softmax of these over a
    /// temperature gives the probabilities, whatever temperature the weights have.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn scores(&mut self, faces: &Faces) -> Result<Vec<f64>> {
        let scale = self.weights.model.logit_scale();
        let scaled = |row: &[f32]| row.iter().map(|&x| scale * f64::from(x)).collect::<Vec<f64>>();
        Ok(self.forward.each(faces, self.weights.normalisation, scaled)?.concat())
    }

    /// The index of the most probable class for each of `faces`.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn classify(&mut self, faces: &Faces) -> Result<Vec<usize>> {
        if self.views == Views::One {
            return self.forward.classify(faces, self.weights.normalisation);
        }
        faces.check(self.weights.model.classes)?;
        let faces: Vec<&[u8; PIXELS]> = faces.pixels.as_chunks().0.iter().collect();
        Ok(self.probabilities(&faces)?.iter().map(|p| argmax(p)).collect())
    }
}

/// exp(scale * x) over its sum.
pub(crate) fn exact_softmax<T>(row: &[T], scale: f64) -> Vec<f64>
where
    T: Copy + PartialOrd + Sub<Output = T> + Into<f64>,
{
    let powers: Vec<f64> = powers(row, scale).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

/// Adds `weight` times the softmax of `scale * row` to `to`. Allocates nothing.
pub(crate) fn add_softmax(row: &[f32], scale: f64, weight: f64, to: &mut [f32]) {
    let factor = weight / powers(row, scale).sum::<f64>();
    to.iter_mut().zip(powers(row, scale)).for_each(|(to, p)| *to += (factor * p) as f32);
}

/// exp(scale * (x - the largest)).
fn powers<T>(row: &[T], scale: f64) -> impl Iterator<Item = f64>
where
    T: Copy + PartialOrd + Sub<Output = T> + Into<f64>,
{
    let largest = row[argmax(row)];
    row.iter().map(move |&x| (scale * (x - largest).into()).exp())
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
    fn threads_finish_together() {
        for n in 1..100_usize {
            assert!(n.div_ceil(chunk(n)) >= n.min(8), "{n} faces");
        }
        assert_eq!(([10, 15, 16].map(chunk)), [1, 1, CHUNK]);
    }

    fn softmax(row: &[f32], scale: f64) -> Vec<f32> {
        let mut p = vec![0.0; row.len()];
        add_softmax(row, scale, 1.0, &mut p);
        p
    }

    #[test]
    fn probabilities_are_a_softmax() {
        let p = softmax(&[1.0, 0.0], 2.0);
        assert!((f64::from(p[0]) - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-7);
        assert_eq!(softmax(&[1000.0, 0.0], 30.0), [1.0, 0.0]);
        let mut half = [0.25, 0.0];
        add_softmax(&[1.0, 0.0], 2.0, 0.5, &mut half);
        assert_eq!(half, [0.25 + 0.5 * p[0], 0.5 * p[1]]);
    }

    /// A face's answer does not depend on the batch it comes in, nor on the call.
    #[test]
    fn batches_do_not_matter() {
        let model = Model::new(CbamPosition::Block4, Loss::Softmax, 7);
        let names = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        let weights = Weights::new(model, names, normalisation, 1, Isa::fastest()).unwrap();
        let mut classifier = Classifier::new(weights, Isa::fastest()).unwrap();
        let faces = synthetic::faces(0, Split::Test, 10).unwrap();
        let all: Vec<&[u8; PIXELS]> = (0..70).map(|i| faces.face(i).try_into().unwrap()).collect();
        let together = classifier.probabilities(&all).unwrap();
        let single = classifier.probabilities(&all[66..67]).unwrap();
        assert_eq!(together[66], single[0]);
        let labels = classifier.classify(&faces).unwrap();
        assert_eq!(labels, together.iter().map(|p| argmax(p)).collect::<Vec<_>>());

        // A temperature makes probabilities sharper or flatter and leaves their order.
        let tempered = |temperature| {
            let weights = Weights { temperature, ..classifier.weights().clone() };
            Classifier::new(weights, Isa::fastest()).unwrap().probabilities(&all[..9]).unwrap()
        };
        for ((sharp, plain), flat) in tempered(0.25).iter().zip(&together).zip(&tempered(4.0)) {
            let top = argmax(plain);
            assert!(argmax(sharp) == top && argmax(flat) == top);
            assert!(sharp[top] > plain[top] && plain[top] > flat[top] && flat[top] > 1.0 / 7.0);
        }
        let scores = classifier.scores(&faces).unwrap();
        let row: Vec<f32> = scores[7 * 66..7 * 67].iter().map(|&x| x as f32).collect();
        assert_eq!(softmax(&row, 1.0), together[66]);

        let mirrored: Vec<u8> = faces.face(3).chunks(48).flat_map(|row| row.iter().rev().copied()).collect();
        let pair = [faces.face(3).try_into().unwrap(), mirrored[..].try_into().unwrap()];
        let mut both = classifier.with_views(Views::Flip);
        let p = both.probabilities(&pair).unwrap();
        assert_eq!(p[0], p[1], "a face and its mirror image have the same two views");
        assert_ne!(p[0], together[3]);
        let labels = both.classify(&faces).unwrap();
        assert_eq!(labels[3], argmax(&p[0]));
    }
}
