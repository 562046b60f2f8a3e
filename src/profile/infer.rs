//! Inference, as it classifies faces.

use super::{OpProfile, median, seconds};
use crate::error::Result;
use crate::graph::{Graph, Phase};
use crate::infer::Forward;
use crate::nn::Model;
use moue_datasets::Rng;
use moue_kernels::Isa;

/// Median cost of a forward pass.
#[derive(Clone, Debug)]
pub struct Inference {
    /// Seconds of one batch.
    pub seconds: f64,
    /// Multiply-adds of convolutions and matrix products in a batch.
    pub macs: u64,
    /// Bytes of the arenas.
    pub arena_bytes: usize,
    /// Every operation in order; times, multiply-adds and bytes of one face's share in a pass.
    pub ops: Vec<OpProfile>,
}

const WARM_UP: usize = 5;

/// Classifies `reps` batches of noise, then times the operations in as many passes.
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
    let ops = operations(&forward, reps)?;
    Ok(Inference { seconds: median(times), macs, arena_bytes: forward.arena_bytes(), ops })
}

/// Mean costs of the operations for one face. Threads that each have faces of their own share the time.
fn operations(forward: &Forward, reps: usize) -> Result<Vec<OpProfile>> {
    let (faces, plans) = forward.profile(reps)?;
    let share = (faces * plans.len() * plans.len() * reps) as f64;
    let one = |i: usize| {
        let time = &plans[0][i];
        OpProfile {
            op: time.op,
            shape: time.shape.clone(),
            forward: plans.iter().map(|plan| plan[i].forward.as_secs_f64()).sum::<f64>() / share,
            backward: 0.0,
            macs: time.macs / faces as u64,
            bytes: time.forward_bytes / faces as u64,
        }
    };
    Ok((0..plans[0].len()).map(one).collect())
}
