//! What several tests start from: a model recorded, compiled and given faces.
#![allow(dead_code, unreachable_pub, reason = "each test is a crate that uses a part")]

use moue::nn::{CbamPosition, Loss, Model, Network, Targets};
use moue::ops::Real;
use moue::{Graph, Isa, Method, Optimizer, Params, Phase, Plan, Rng};

pub const AM_SOFTMAX: Loss = Loss::AmSoftmax { scale: 30.0, margin: 0.35 };

/// DNN-CBAM with AM-Softmax, as in the paper.
pub const DNN_CBAM: Model = Model::new(CbamPosition::Block4, AM_SOFTMAX, 7);

/// A model being trained on one batch.
pub struct Training<T> {
    pub net: Network,
    pub plan: Plan<T>,
    pub params: Params<T>,
    pub optimizer: Optimizer<T>,
}

impl<T: Real> Training<T> {
    /// Fresh parameters; the batch, with labels, still to be set. By Adam.
    pub fn new(model: &Model, n: usize, lr: f64, isa: Isa) -> Self {
        Self::of(model, n, Targets::Labels { smoothing: 0.0 }, Method::Adam, lr, isa)
    }

    /// The same against `targets`, by `method`.
    pub fn of(model: &Model, n: usize, targets: Targets, method: Method, lr: f64, isa: Isa) -> Self {
        let mut g = Graph::new(Phase::Train);
        let net = model.record_for(&mut g, n, targets);
        let params: Params<T> = g.init_params(&mut Rng::new(11)).cast();
        let optimizer = Optimizer::new(method, &params, lr, isa);
        let plan = g.compile(net.loss, isa).expect("the model compiles");
        Self { net, plan, params, optimizer }
    }

    /// Random faces with random labels.
    pub fn random_batch(mut self, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let faces = self.plan.input_mut(self.net.input);
        faces.iter_mut().for_each(|x| *x = T::from_f64(rng.range(-1.7, 1.7).into()));
        let n = self.plan.tensor(self.net.logits).shape().n;
        let labels: Vec<u32> = (0..n).map(|_| rng.below(7) as u32).collect();
        self.plan.set_labels(self.net.labels, &labels);
        self
    }

    /// Loss and gradients.
    pub fn differentiate(&mut self) -> f64 {
        self.plan.forward(&mut self.params);
        self.plan.backward(&mut self.params);
        self.plan.loss()
    }

    /// One training step; the loss before it.
    pub fn step(&mut self) -> f64 {
        let loss = self.differentiate();
        self.optimizer.step(&mut self.params);
        loss
    }
}

/// Runs `f` in a pool of `threads` threads.
pub fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(f)
}
