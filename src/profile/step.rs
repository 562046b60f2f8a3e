//! One training step, whole and operation by operation.

use super::{OpProfile, median, seconds};
use crate::error::Result;
use crate::graph::{Graph, Phase};
use crate::nn::Model;
use crate::optim::Adam;
use moue_datasets::{PIXELS, Rng};
use moue_kernels::Isa;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};

/// Median cost of a training step.
#[derive(Clone, Debug)]
pub struct StepProfile {
    /// Seconds of forward, backward and Adam.
    pub seconds: f64,
    /// Multiply-adds of convolutions and matrix products, forward and backward.
    pub macs: u64,
    /// Trained parameters.
    pub parameters: usize,
    /// Multiply-adds of one image's forward pass, those of convolutions counted as of direct ones.
    pub macs_per_image: u64,
    /// Bytes of the plan's arena.
    pub arena_bytes: usize,
    /// Heap allocations of a step; `None` unless the program counts them (see [`profile_step`]).
    pub allocations: Option<f64>,
    /// Every operation in forward order, then Adam.
    pub ops: Vec<OpProfile>,
}

/// Numbers that Adam reads or writes for each parameter: parameter, gradient and both moments; all but the gradient
/// again.
const ADAM_NUMBERS: usize = 7;

const WARM_UP: usize = 3;

/// Trains `model` on batches of noise and measures `reps` steps, then as many again with a clock on each operation.
///
/// Allocations are counted if the program's global allocator is `stats_alloc::INSTRUMENTED_SYSTEM`.
///
/// # Errors
/// If the model does not compile.
pub fn profile_step(model: &Model, batch: usize, reps: usize, isa: Isa) -> Result<StepProfile> {
    let mut rng = Rng::new(0);
    let mut g = Graph::new(Phase::Train);
    let net = model.record(&mut g, batch);
    let mut params = g.init_params(&mut rng);
    let mut plan = g.compile::<f32>(net.loss, isa)?;
    let mut adam = Adam::new(&params, 1e-3, isa);
    let faces: Vec<f32> = (0..batch * PIXELS).map(|_| rng.range(-1.7, 1.7)).collect();
    let classes: Vec<u32> = (0..batch).map(|i| (i % model.classes) as u32).collect();

    let (parameters, macs_per_image) = (params.count(), plan.macs() / batch as u64);
    let mut adam_seconds = 0.0;
    let mut step = || {
        plan.set(net.input, &faces);
        plan.set_labels(net.labels, &classes);
        plan.forward(&mut params);
        plan.backward(&mut params);
        adam_seconds += seconds(|| adam.step(&mut params));
    };
    (0..WARM_UP).for_each(|_| step());
    let mut times = Vec::with_capacity(reps);
    let region = Region::new(&INSTRUMENTED_SYSTEM);
    (0..reps).for_each(|_| times.push(seconds(&mut step)));
    let change = region.change();
    let counted = INSTRUMENTED_SYSTEM.stats().allocations > 0;
    let allocations = counted.then(|| (change.allocations + change.reallocations) as f64 / reps as f64);

    plan.start_profile();
    adam_seconds = 0.0;
    for _ in 0..reps {
        plan.forward(&mut params);
        plan.backward(&mut params);
        adam_seconds += seconds(|| adam.step(&mut params));
    }
    let mut ops: Vec<OpProfile> = plan
        .profile()
        .into_iter()
        .map(|time| OpProfile {
            macs: time.macs + time.backward_macs,
            bytes: time.forward_bytes + time.backward_bytes,
            op: time.op,
            shape: time.shape,
            forward: time.forward.as_secs_f64() / reps as f64,
            backward: time.backward.as_secs_f64() / reps as f64,
        })
        .collect();
    let macs = ops.iter().map(|op| op.macs).sum();
    ops.push(OpProfile {
        op: "adam",
        shape: params.count().to_string(),
        forward: 0.0,
        backward: adam_seconds / reps as f64,
        macs: 0,
        bytes: (ADAM_NUMBERS * size_of::<f32>() * params.count()) as u64,
    });
    let (seconds, arena_bytes) = (median(times), plan.arena_bytes());
    Ok(StepProfile { seconds, macs, parameters, macs_per_image, arena_bytes, allocations, ops })
}
