//! The network for inference: the blocks of `blocks`, with each batch norm folded into the convolution before it.
//!
//! With scale = gamma / sqrt(var + eps) per output channel, BN(conv(x, w)) = conv(x, w * scale) + beta - mean * scale
//! (Jacob et al. 2018, section 3.2). Folded weights stand in the form that the kernels read, so that no call packs
//! or transforms them again.

use super::Model;
use super::layers::Layers;
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Phase, Var};
use crate::ops::{NORM_EPS, Real};
use crate::params::{Init, Params};
use moue_datasets::{Rng, SIDE};
use moue_kernels::{Conv, Folded, FoldedKind, Isa, Shape, winograd_pays};

/// A recorded model for inference.
#[derive(Clone, Copy, Debug)]
pub struct FoldedNetwork {
    /// Normalised faces, `[n, 48, 48, 1]`.
    pub input: Var,
    /// As [`super::Network::logits`]. Kept.
    pub logits: Var,
}

/// A layer and the names of what it is made of.
struct Layer {
    folded: Folded,
    /// Of the trained weights; a depthwise layer's come first.
    weights: Vec<String>,
    /// Of the trained batch norm.
    norm: String,
}

impl Layer {
    /// The folded parameter has the name of the (last) weights.
    fn name(&self) -> &str {
        self.weights.last().expect("a layer has weights")
    }

    /// Folds the batch norm into weights and bias and prepares them.
    fn fold<T: Real>(&self, isa: Isa, trained: &Params<T>, to: &mut [T]) -> Result<()> {
        let (scaled, bias) = fold_norm(trained, self.name(), &self.norm)?;
        let weights = match &self.weights[..] {
            [depthwise, _] => [find(trained, depthwise)?, &scaled],
            _ => [&scaled, &[][..]],
        };
        T::folded_prepare(isa, &self.folded, weights, &bias, to);
        Ok(())
    }
}

/// The trained parameter of this name.
pub(super) fn find<'a, T: Real>(trained: &'a Params<T>, name: &str) -> Result<&'a [T]> {
    trained.get(name).ok_or_else(|| Error::OtherModel(format!("`{name}` is missing")))
}

/// The weights of this name, output channels innermost, times the scale of a batch norm, and the bias that is left of
/// it. Every number is rounded once.
pub(super) fn fold_norm<T: Real>(trained: &Params<T>, weights: &str, norm: &str) -> Result<(Vec<T>, Vec<T>)> {
    let part = |part: &str| find(trained, &format!("{norm}.{part}"));
    let (gamma, beta, mean, var) = (part("gamma")?, part("beta")?, part("mean")?, part("var")?);
    let scale: Vec<f64> = (gamma.iter().zip(var))
        .map(|(gamma, var)| gamma.to_f64() / (var.to_f64() + NORM_EPS).sqrt())
        .collect();
    let bias = (beta.iter().zip(mean).zip(&scale))
        .map(|((beta, mean), scale)| T::from_f64(beta.to_f64() - mean.to_f64() * scale))
        .collect();
    let scaled = (find(trained, weights)?.iter().enumerate())
        .map(|(i, w)| T::from_f64(w.to_f64() * scale[i % scale.len()]))
        .collect();
    Ok((scaled, bias))
}

/// Records layers and remembers what they are made of.
struct Recorder<'a> {
    g: &'a mut Graph,
    threads: bool,
    layers: Vec<Layer>,
}

impl Recorder<'_> {
    /// A layer that reads a value of shape `x`, and its prepared weights.
    fn layer(
        &mut self,
        kind: FoldedKind,
        x: Shape,
        cout: usize,
        relu: bool,
        names: Names,
    ) -> (Folded, Param) {
        let stride = if names.strided { 2 } else { 1 };
        let conv = Conv { x, cout, stride };
        let folded = Folded { kind, conv, relu, threads: self.threads };
        let layer = Layer { folded, weights: names.weights, norm: names.norm };
        let w = self.g.param(layer.name(), &[folded.prepared_len()], Init::Constant(0.0));
        self.layers.push(layer);
        (folded, w)
    }

    /// Standard 3x3 convolution, batch norm, ReLU.
    fn conv3x3(&mut self, name: &str, index: &str, x: Shape, cout: usize) -> (Folded, Param) {
        let pays = winograd_pays(&Conv { x, cout, stride: 1 });
        let kind = if pays { FoldedKind::Winograd } else { FoldedKind::Conv3x3 };
        let names = Names::new([format!("{name}.conv{index}.weight")], format!("{name}.bn{index}"));
        self.layer(kind, x, cout, true, names)
    }
}

impl Layers for Recorder<'_> {
    type Value = Var;

    fn graph(&mut self) -> &mut Graph {
        self.g
    }

    fn plain(&mut self, x: Var) -> Var {
        x
    }

    fn conv(&mut self, name: &str, index: &str, x: Var, cout: usize) -> Var {
        let (layer, w) = self.conv3x3(name, index, self.g.shape(x), cout);
        self.g.folded(x, layer, w)
    }

    fn ds_conv(&mut self, name: &str, index: usize, x: Var, cout: usize, relu: bool) -> Var {
        let weights = ["dw", "pw"].map(|kind| format!("{name}.{kind}{index}.weight"));
        let names = Names::new(weights, format!("{name}.bn{index}"));
        let (layer, w) = self.layer(FoldedKind::DwPw, self.g.shape(x), cout, relu, names);
        self.g.folded(x, layer, w)
    }

    fn stem(&mut self, x: Var, c: usize) -> Var {
        let shape = self.g.shape(x);
        let (first, w1) = self.conv3x3("stem", "1", shape, c);
        let (second, w2) = self.conv3x3("stem", "2", shape.with_c(c), c);
        self.g.folded_stem(x, [first, second], [w1, w2])
    }

    fn residual_block(&mut self, name: &str, x: Var, c: usize) -> Var {
        let h = self.ds_conv(name, 1, x, c, true);
        let h = self.ds_conv(name, 2, h, c, false);
        let names = Names::new([format!("{name}.short.weight")], format!("{name}.short_bn"));
        let (layer, w) =
            self.layer(FoldedKind::Pointwise, self.g.shape(x), c, true, Names { strided: true, ..names });
        self.g.residual_end(h, x, layer, w)
    }
}

/// What a layer is made of.
struct Names {
    weights: Vec<String>,
    norm: String,
    strided: bool,
}

impl Names {
    fn new(weights: impl Into<Vec<String>>, norm: String) -> Self {
        Self { weights: weights.into(), norm, strided: false }
    }
}

impl Model {
    /// Records the model for inference on batches of `n` faces, with the parameters that [`Model::fold`] makes.
    /// Without `threads` its convolutions stay on the thread that runs the plan, where whole batches run side by
    /// side; results are the same bits.
    pub fn record_folded(&self, g: &mut Graph, n: usize, threads: bool) -> FoldedNetwork {
        self.record_layers(g, n, threads).0
    }

    fn record_layers(&self, g: &mut Graph, n: usize, threads: bool) -> (FoldedNetwork, Vec<Layer>) {
        let input = g.input([n, SIDE, SIDE, 1]);
        let mut r = Recorder { g, threads, layers: Vec::new() };
        let embedding = self.embed(&mut r, input);
        let logits = self.logits(r.g, embedding);
        r.g.keep(logits);
        (FoldedNetwork { input, logits }, r.layers)
    }

    /// The parameters of [`Model::record_folded`] from trained ones. Every number is rounded once.
    ///
    /// # Errors
    /// Parameters of another model.
    pub fn fold<T: Real>(&self, isa: Isa, trained: &Params<T>) -> Result<Params<T>> {
        let mut g = Graph::new(Phase::Eval);
        let (_, layers) = self.record_layers(&mut g, 1, false);
        let mut folded: Params<T> = g.init_params(&mut Rng::new(0)).cast();
        let names: Vec<String> = folded.specs().iter().map(|spec| spec.name.clone()).collect();
        for name in names {
            let to = folded.get_mut(&name).expect("its own parameter");
            if let Some(layer) = layers.iter().find(|layer| layer.name() == name) {
                layer.fold(isa, trained, to)?;
            } else {
                let from = trained.get(&name).filter(|from| from.len() == to.len());
                to.copy_from_slice(from.ok_or_else(|| Error::OtherModel(format!("`{name}` is missing")))?);
            }
        }
        Ok(folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Architecture, Attention, CbamPosition, Loss};

    /// Trained-looking parameters: batch norms with statistics of their own.
    fn params(model: &Model) -> Params<f64> {
        let mut g = Graph::new(Phase::Eval);
        model.record(&mut g, 1);
        let mut rng = Rng::new(4);
        let mut params: Params<f64> = g.init_params(&mut rng).cast();
        let names: Vec<String> = params.tensors().map(|(spec, _)| spec.name.clone()).collect();
        for name in names {
            let range = match name.rsplit('.').next() {
                Some("gamma" | "var") => 0.5..1.5,
                Some("beta" | "mean") => -0.5..0.5,
                _ => continue,
            };
            let values = params.get_mut(&name).unwrap();
            values.iter_mut().for_each(|x| *x = rng.range(range.start, range.end).into());
        }
        params
    }

    fn pixels(n: usize) -> Vec<f64> {
        let mut rng = Rng::new(9);
        (0..n * SIDE * SIDE).map(|_| rng.range(-1.7, 1.7).into()).collect()
    }

    fn infer<T: Real>(model: &Model, n: usize, threads: bool, folded: &Params<T>) -> Vec<T> {
        let mut g = Graph::new(Phase::Eval);
        let net = model.record_folded(&mut g, n, threads);
        folded.check(g.param_specs().0, g.param_specs().1).unwrap();
        let mut plan = g.compile_forward::<T>(Isa::fastest()).unwrap();
        let x: Vec<T> = pixels(n).into_iter().map(T::from_f64).collect();
        plan.set(net.input, &x);
        plan.infer(&folded.values);
        plan.value(net.logits).to_vec()
    }

    fn infer_elementary(model: &Model, n: usize, trained: &Params<f64>) -> Vec<f64> {
        let net = model.elementary(trained, n).unwrap();
        let mut plan = net.graph.compile_forward::<f64>(Isa::fastest()).unwrap();
        plan.set(net.input, &pixels(n));
        plan.infer(&net.params.values);
        plan.value(net.logits).to_vec()
    }

    fn evaluate(model: &Model, n: usize, params: &Params<f64>) -> Vec<f64> {
        let mut g = Graph::new(Phase::Eval);
        let net = model.record(&mut g, n);
        let mut plan = g.compile_forward::<f64>(Isa::fastest()).unwrap();
        plan.set(net.input, &pixels(n));
        plan.forward(&mut params.clone());
        plan.value(net.logits).to_vec()
    }

    /// In f64, folding changes nothing but the order of roundings; in f32 the whole network keeps five digits.
    #[test]
    fn folding_changes_nothing() {
        use CbamPosition::{Block2, Block4, None, Pools};
        let am = Loss::AM_SOFTMAX;
        let plain = |cbam| Model::new(cbam, Loss::Softmax, 7);
        for model in [
            Model::new(Block4, am, 7),
            plain(None),
            plain(Block2),
            Model { attention: Attention::Se, identity_blocks: [1; 4], ..plain(Block4) },
            Model { widths: Some([24, 40, 72, 48]), ..plain(Block4) },
            Model { widths: Some([1, 9, 17, 33]), identity_blocks: [0, 2, 1, 0], ..plain(Block2) },
            Model { architecture: Architecture::Vgg, widths: Some([24, 40, 72, 48]), ..plain(Pools) },
            Model { architecture: Architecture::Cnn, ..Model::new(None, Loss::Svm, 7) },
        ] {
            let trained = params(&model);
            let isa = Isa::fastest();
            let truth = evaluate(&model, 2, &trained);
            let largest = truth.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let folded = infer(&model, 2, true, &model.fold(isa, &trained).unwrap());
            let elementary = infer_elementary(&model, 2, &trained);
            let narrow = infer::<f32>(&model, 2, true, &model.fold(isa, &trained.cast()).unwrap());
            for (((t, f), e), n) in truth.iter().zip(folded).zip(elementary).zip(narrow) {
                assert!((t - f).abs() <= 1e-12 * largest, "{model:?}: {f} in place of {t}");
                assert!((t - e).abs() <= 1e-12 * largest, "{model:?}: elementary {e} in place of {t}");
                assert!((t - f64::from(n)).abs() <= 1e-5 * largest, "{model:?}: f32 {n} in place of {t}");
            }
        }
    }

    /// An image's logits are the same bits in any batch, on any number of threads.
    #[test]
    fn batch_and_threads_do_not_matter() {
        let am = Loss::AM_SOFTMAX;
        let model = Model::new(CbamPosition::Block4, am, 7);
        let folded = model.fold::<f32>(Isa::fastest(), &params(&model).cast()).unwrap();
        let all = infer(&model, 9, false, &folded);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for n in [1, 2, 5, 9] {
                assert_eq!(pool.install(|| infer(&model, n, true, &folded)), all[..7 * n]);
            }
        }
    }

    #[test]
    fn other_parameters_are_refused() {
        let model = |cbam| Model::new(cbam, Loss::Softmax, 7);
        let plain = params(&model(CbamPosition::None));
        let error = model(CbamPosition::Block4).fold(Isa::fastest(), &plain).unwrap_err().to_string();
        assert!(error.contains("cbam.fc1.weight"), "{error}");
    }
}
