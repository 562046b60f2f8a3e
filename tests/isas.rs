//! Instruction sets agree: the same training on each gives the same losses to rounding.

mod common;

use common::{DNN_CBAM, Training};
use moue::Isa;
use moue::gradcheck::f32_tolerance;

const STEPS: usize = 4;

/// Training amplifies rounding: after a step of Adam, whose size does not depend on the gradient's, elements with a
/// gradient below its own noise move apart by up to twice the learning rate. An order of magnitude a step is what
/// this network at this learning rate stays well within.
const GROWTH: f64 = 10.0;

#[test]
fn losses_agree_between_instruction_sets() {
    let losses = |isa| {
        let mut t = Training::<f32>::new(&DNN_CBAM, 8, 1e-4, isa).random_batch(6);
        let tolerance = f32_tolerance(t.plan.roundings());
        ((0..STEPS).map(|_| t.step()).collect::<Vec<f64>>(), tolerance)
    };
    let (fastest, tolerance) = losses(Isa::fastest());
    for isa in Isa::available() {
        let (other, _) = losses(isa);
        for (step, (a, b)) in fastest.iter().zip(&other).enumerate() {
            let allowed = tolerance * GROWTH.powi(step as i32);
            assert!((a - b).abs() / a <= allowed, "step {step} on {isa:?}: {b} for {a}, allowed {allowed:e}");
        }
    }
}
