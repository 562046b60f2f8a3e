//! Inference, as it classifies faces.

use super::{median, seconds};
use crate::error::Result;
use crate::graph::{Graph, Phase};
use crate::infer::Forward;
use crate::nn::Model;
use moue_datasets::Rng;
use moue_kernels::Isa;

/// Median cost of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Inference {
    /// Seconds of one batch.
    pub seconds: f64,
    /// Multiply-adds of convolutions and matrix products in a batch.
    pub macs: u64,
    /// Bytes of the arenas.
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
    model.record(&mut g, 1);
    let mut forward = Forward::new(*model, &g.init_params(&mut rng), isa)?;
    forward.logits(batch, |pixels| {
        pixels.iter_mut().for_each(|x| *x = rng.range(-1.7, 1.7));
        Ok(())
    })?;
    let macs = forward.macs()? * batch as u64;
    // The faces stay where they are.
    let mut run = || seconds(|| _ = forward.logits(batch, |_| Ok(())).expect("as the first time"));
    (0..WARM_UP).for_each(|_| _ = run());
    let times = (0..reps).map(|_| run()).collect();
    Ok(Inference { seconds: median(times), macs, arena_bytes: forward.arena_bytes() })
}
