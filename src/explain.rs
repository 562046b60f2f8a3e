//! Why a face is told to be happy: where the network looked (CBAM's spatial attention, Woo et al. 2018), and which
//! places spoke for the class (Grad-CAM, Selvaraju et al. 2017). Both come from the engine's own graph and gradients.

use crate::error::{Error, Result};
use crate::graph::{Graph, Phase, Var};
use crate::infer::argmax;
use crate::nn::Network;
use crate::params::Params;
use crate::plan::Plan;
use crate::weights::Weights;
use moue_datasets::{Face, PIXELS};
use moue_kernels::{Isa, Shape};

/// A number for each place of a face.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Rows and columns.
    pub side: usize,
    /// Row by row; 0 or more.
    pub values: Vec<f32>,
}

impl HeatMap {
    /// The map on `side` x `side` places, bilinear between the centres of its own.
    pub fn resized(&self, side: usize) -> Self {
        let scale = self.side as f32 / side as f32;
        let last = self.side - 1;
        let place = |i: usize| {
            let at = ((i as f32 + 0.5) * scale - 0.5).clamp(0.0, last as f32);
            let low = (at as usize).min(last);
            (low, (low + 1).min(last), at - low as f32)
        };
        let places: Vec<_> = (0..side).map(place).collect();
        let mix = |a: f32, b: f32, t: f32| a + t * (b - a);
        let mut values = Vec::with_capacity(side * side);
        for &(y0, y1, ty) in &places {
            values.extend(places.iter().map(|&(x0, x1, tx)| {
                let row =
                    |y: usize| mix(self.values[y * self.side + x0], self.values[y * self.side + x1], tx);
                mix(row(y0), row(y1), ty)
            }));
        }
        Self { side, values }
    }

    /// The map with its smallest value at 0 and its largest at 1; all 0 where it is flat.
    #[must_use]
    pub fn stretched(mut self) -> Self {
        let least = self.values.iter().copied().fold(f32::INFINITY, f32::min);
        let range = self.values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least;
        let factor = if range > 0.0 { 1.0 / range } else { 0.0 };
        self.values.iter_mut().for_each(|x| *x = (*x - least) * factor);
        self
    }
}

/// What is known about one answer.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The class that is explained: an index into the weights' classes.
    pub class: usize,
    /// Grad-CAM for that class, on the map of the layer; all 0 where nothing spoke for it.
    pub grad_cam: HeatMap,
    /// The spatial attention, 0 to 1; `None` for a model without CBAM.
    pub attention: Option<HeatMap>,
}

/// A model recorded for one face, with gradients of its feature maps.
#[derive(Debug)]
pub struct Explainer {
    recorded: Recorded,
    plan: Plan<f32>,
    params: Params<f32>,
    affine: (f32, f32),
}

/// What was recorded.
#[derive(Clone, Copy, Debug)]
struct Recorded {
    face: Var,
    logits: Var,
    /// One number a class: what the logits are weighed with to give the number that is differentiated.
    class: Var,
    map: Var,
    shape: Shape,
    attention: Option<(Var, Shape)>,
}

/// The layers that can be explained, from the first to the last: those of the model whose feature maps have more than
/// one place.
pub fn layers(weights: &Weights) -> Vec<String> {
    let mut graph = Graph::new(Phase::Eval);
    weights.model.record(&mut graph, 1);
    maps(&graph).map(|(name, _)| name.clone()).collect()
}

/// The last layer with maps of at least 12 x 12 places. docs/predict.md compares the layers.
pub fn default_layer(weights: &Weights) -> String {
    let mut graph = Graph::new(Phase::Eval);
    weights.model.record(&mut graph, 1);
    let fine = maps(&graph).rfind(|(_, v)| graph.shape(*v).h >= 12);
    fine.map_or_else(String::new, |(name, _)| name.clone())
}

fn maps(graph: &Graph) -> impl DoubleEndedIterator<Item = &(String, Var)> {
    graph.named().iter().filter(|(name, _)| !is_attention(name))
}

fn is_attention(name: &str) -> bool {
    name.ends_with(".spatial")
}

impl Explainer {
    /// For the model of these weights and one of its [`layers`].
    ///
    /// # Errors
    /// A layer that the model does not have ([`Error::Usage`]), or no memory.
    pub fn new(weights: &Weights, layer: &str, isa: Isa) -> Result<Self> {
        let mut graph = Graph::new(Phase::Eval);
        let Network { input, logits, .. } = weights.model.record(&mut graph, 1);
        let Some(map) = maps(&graph).find(|(name, _)| name == layer).map(|(_, v)| *v) else {
            let names = layers(weights).join(", ");
            return Err(Error::Usage(format!("the model has no layer `{layer}`; it has {names}")));
        };
        let params = weights.params.clone();
        Self::of(graph, [input, logits, map], params, weights.normalisation.affine(), isa)
    }

    /// For any graph that has a face as its input, and logits and feature maps as values.
    fn of(
        mut graph: Graph,
        [face, logits, map]: [Var; 3],
        params: Params<f32>,
        affine: (f32, f32),
        isa: Isa,
    ) -> Result<Self> {
        // The last attention: the one nearest to the answer.
        let attention = graph.named().iter().rfind(|(name, _)| is_attention(name)).map(|(_, v)| *v);
        let class = graph.input(graph.shape(logits));
        let score = graph.dot(logits, class);
        graph.keep(logits);
        graph.keep(map);
        graph.watch(map);
        attention.into_iter().for_each(|v| graph.keep(v));
        let attention = attention.map(|v| (v, graph.shape(v)));
        let recorded = Recorded { face, logits, class, map, shape: graph.shape(map), attention };
        Ok(Self { recorded, plan: graph.compile(score, isa)?, params, affine })
    }

    /// Explains why `face` is of `class`, or of the class that the model takes it for.
    ///
    /// Grad-CAM: the feature maps A_k, weighed with the mean over all places of the gradient of the class's logit,
    /// ReLU(sum over k of mean(d logit / d A_k) A_k) (Selvaraju et al. 2017, equations 1 and 2).
    ///
    /// # Panics
    /// If `class` is not one of the model's.
    pub fn explain(&mut self, face: &Face, class: Option<usize>) -> Explanation {
        let Self { recorded, plan, params, affine: (factor, addend) } = self;
        let pixels: [f32; PIXELS] = std::array::from_fn(|i| f32::from(face[i]) * *factor + *addend);
        plan.set(recorded.face, &pixels);
        plan.forward(params);
        let logits = plan.value(recorded.logits);
        let class = class.unwrap_or_else(|| argmax(logits));
        let mut weights = vec![0.0; logits.len()];
        weights[class] = 1.0;
        // After the forward pass: only the gradient of the last product reads it.
        plan.set(recorded.class, &weights);
        plan.backward(params);
        let grad_cam = grad_cam(recorded.shape, plan.value(recorded.map), plan.gradient(recorded.map));
        let attention =
            recorded.attention.map(|(v, shape)| HeatMap { side: shape.h, values: plan.value(v).to_vec() });
        Explanation { class, grad_cam, attention }
    }
}

/// Equations 1 and 2 of Grad-CAM for one image: maps and gradients are `[h, w, c]`, h = w.
fn grad_cam(shape: Shape, maps: &[f32], gradients: &[f32]) -> HeatMap {
    let places = (shape.h * shape.w) as f32;
    let mut weights = vec![0.0; shape.c];
    for pixel in gradients.chunks_exact(shape.c) {
        weights.iter_mut().zip(pixel).for_each(|(weight, gradient)| *weight += gradient / places);
    }
    let weighed = |pixel: &[f32]| pixel.iter().zip(&weights).map(|(a, w)| a * w).sum::<f32>().max(0.0);
    HeatMap { side: shape.h, values: maps.chunks_exact(shape.c).map(weighed).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CbamPosition, Loss, Model};
    use crate::params::Init;
    use moue_datasets::{Normalisation, Rng, SIDE, Split, classes, synthetic};

    fn weights(cbam: CbamPosition) -> Weights {
        let model = Model::new(cbam, Loss::Softmax, 7);
        let names = classes::FER2013.map(str::to_owned).to_vec();
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        Weights::new(model, names, normalisation, 5, Isa::fastest()).unwrap()
    }

    fn faces(n: usize) -> Vec<Face> {
        let faces = synthetic::faces(0, Split::Test, n).unwrap();
        (0..n).map(|i| faces.face(i).try_into().unwrap()).collect()
    }

    /// What stands between feature maps and logits: convolution, ReLU, average, dense layer.
    fn rest(g: &mut Graph, maps: Var) -> Var {
        let w = g.param("conv", &[3, 3, 4, 5], Init::Uniform { fan_in: 36 });
        let h = g.conv3x3(maps, w);
        let h = g.relu(h);
        let h = g.global_avg(h);
        let w = g.param("dense", &[5, 3], Init::Uniform { fan_in: 5 });
        let b = g.param("bias", &[3], Init::Constant(0.0));
        g.linear(h, w, b)
    }

    /// Mean gradients of a small model's maps are those of central differences in f64.
    #[test]
    fn gradients_are_those_of_differences() {
        let isa = Isa::fastest();
        let mut g = Graph::new(Phase::Eval);
        let face = g.input([1, SIDE, SIDE, 1]);
        let maps = (1..=3).fold(face, |x, i| {
            let cin = g.shape(x).c;
            let w = g.param(format!("pointwise{i}"), &[cin, 4], Init::Uniform { fan_in: cin });
            g.pointwise(x, w, 2)
        });
        let maps = g.sigmoid(maps);
        let logits = rest(&mut g, maps);
        let params = g.init_params(&mut Rng::new(3));
        let mut explainer = Explainer::of(g, [face, logits, maps], params, (1.0 / 255.0, 0.0), isa).unwrap();

        let mut g = Graph::new(Phase::Eval);
        let maps = g.input([1, 6, 6, 4]);
        let logits = rest(&mut g, maps);
        g.keep(logits);
        let mut params: Params<f64> = g.init_params(&mut Rng::new(0)).cast();
        for (spec, values) in
            explainer.params.tensors().filter(|(spec, _)| !spec.name.starts_with("pointwise"))
        {
            let to = params.get_mut(&spec.name).unwrap();
            to.iter_mut().zip(values).for_each(|(to, from)| *to = f64::from(*from));
        }
        let mut plan = g.compile_forward::<f64>(isa).unwrap();

        for class in 0..3 {
            let cam = explainer.explain(&faces(1)[0], Some(class)).grad_cam;
            let values: Vec<f64> =
                explainer.plan.value(explainer.recorded.map).iter().map(|x| f64::from(*x)).collect();
            // Moving a map as a whole changes the logit by 36 times its mean gradient.
            let mut logit = |channel: usize, step: f64| {
                let moved = values.iter().enumerate();
                let moved: Vec<f64> =
                    moved.map(|(i, x)| if i % 4 == channel { x + step } else { *x }).collect();
                plan.set(maps, &moved);
                plan.forward(&mut params);
                plan.value(logits)[class]
            };
            let slope = |channel| (logit(channel, 1e-6) - logit(channel, -1e-6)) / 2e-6 / 36.0;
            let slopes: Vec<f64> = (0..4).map(slope).collect();
            let largest = cam.values.iter().copied().fold(0.0, f32::max);
            for (place, got) in cam.values.iter().enumerate() {
                let sum: f64 = (0..4).map(|k| slopes[k] * values[4 * place + k]).sum();
                let want = sum.max(0.0);
                assert!((f64::from(*got) - want).abs() <= 1e-4 * f64::from(largest), "{class}: {got} {want}");
            }
        }
    }

    /// In front of the average and a dense layer, Grad-CAM is CAM (Zhou et al. 2016) over the number of places.
    #[test]
    fn at_the_last_layer_it_is_cam() {
        let weights = weights(CbamPosition::Block4);
        let mut explainer = Explainer::new(&weights, "out", Isa::fastest()).unwrap();
        for class in [0, 4] {
            let cam = explainer.explain(&faces(1)[0], Some(class)).grad_cam;
            let dense = weights.params.get("head.weight").unwrap();
            let maps = explainer.plan.value(explainer.recorded.map);
            for (got, pixel) in cam.values.iter().zip(maps.chunks_exact(128)) {
                let sum: f32 = pixel.iter().enumerate().map(|(k, a)| a * dense[7 * k + class] / 9.0).sum();
                assert!((got - sum.max(0.0)).abs() < 1e-6, "{got} {sum}");
            }
        }
    }

    /// Nothing of one face or class is left when another is explained, on any number of threads.
    #[test]
    fn explanations_stand_alone() {
        let weights = weights(CbamPosition::Block4);
        let faces = faces(2);
        let explain = |order: &[usize]| {
            let mut explainer = Explainer::new(&weights, "block3", Isa::fastest()).unwrap();
            let all: Vec<_> = order.iter().map(|&i| explainer.explain(&faces[i], None)).collect();
            all.last().map(|e| (e.class, e.grad_cam.clone(), e.attention.clone())).unwrap()
        };
        let alone = explain(&[1]);
        assert!(alone.1.side == 6 && alone.1.values.iter().all(|x| *x >= 0.0));
        let attention = alone.2.as_ref().unwrap();
        assert!(attention.side == 3 && attention.values.iter().all(|x| (0.0..=1.0).contains(x)));
        assert_ne!(alone, explain(&[0]));
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| explain(&[1, 0, 0, 1])), alone);
        }
    }

    #[test]
    fn layers_are_named() {
        let plain = weights(CbamPosition::None);
        assert_eq!(layers(&plain), ["block1", "block2", "block3", "block4", "out"]);
        assert_eq!(layers(&weights(CbamPosition::Block2)), layers(&plain));
        assert_eq!(default_layer(&plain), "block2");
        let mut explainer = Explainer::new(&plain, "block1", Isa::fastest()).unwrap();
        assert!(explainer.explain(&faces(1)[0], None).attention.is_none());
        let error = Explainer::new(&plain, "block9", Isa::fastest()).unwrap_err().to_string();
        assert!(error.contains("block9") && error.contains("block1, block2"), "{error}");
    }

    #[test]
    fn maps_are_enlarged_between_their_centres() {
        let map = HeatMap { side: 2, values: vec![0.0, 1.0, 2.0, 3.0] };
        let large = map.resized(4);
        assert_eq!(large.values[..4], [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(large.values[12..], [2.0, 2.25, 2.75, 3.0]);
        assert_eq!(map.resized(2), map);
        assert_eq!(map.stretched().values, [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
        let flat = HeatMap { side: 1, values: vec![0.7] };
        assert_eq!(flat.stretched().values, [0.0]);
    }
}
