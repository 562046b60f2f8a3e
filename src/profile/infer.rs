//! Inference: the forward pass of an evaluation plan.

use super::{median, seconds};
use crate::error::Result;
use crate::graph::{Graph, Phase};
use crate::nn::Model;
use moue_datasets::Rng;
use moue_kernels::Isa;

/// Median cost of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Inference {
    /// Seconds of one batch.
    pub seconds: f64,
    /// Multiply-adds of convolutions and matrix products.
    pub macs: u64,
    /// Bytes of the plan's arena.
    pub arena_bytes: usize,
}

const WARM_UP: usize = 5;

/// Classifies `reps` batches of noise.
///
/// # Errors
/// If the model does not compile.
pub fn infer(model: &Model, batch: usize, reps: usize, isa: Isa) -> Result<Inference> {
    let mut rng = Rng::new(0);
    let mut g = Graph::new(Phase::Eval);
    let net = model.record(&mut g, batch);
    let mut params = g.init_params(&mut rng);
    let mut plan = g.compile_forward::<f32>(isa)?;
    plan.input_mut(net.input).iter_mut().for_each(|x| *x = rng.range(-1.7, 1.7));
    let mut run = || seconds(|| plan.forward(&mut params));
    (0..WARM_UP).for_each(|_| _ = run());
    let times = (0..reps).map(|_| run()).collect();
    Ok(Inference { seconds: median(times), macs: plan.macs(), arena_bytes: plan.arena_bytes() })
}
