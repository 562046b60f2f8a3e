//! Instruction sets agree: the same training on each gives the losses of the f64 oracle to rounding.
//!
//! The oracle's losses do not depend on the machine, so that runs of this test on different CPUs are comparable, too.

mod common;

use common::{DNN_CBAM, Training};
use moue::Isa;
use moue::ops::Real;

const STEPS: usize = 3;

/// Relative error of a loss, far below the bound of its roundings (1e-4 before the first step): measured are 4e-6 at
/// most, where a wrong sign or a missing term shows in the second digit.
const ALLOWED: f64 = 1e-5;

/// The losses of the first steps.
fn losses<T: Real>(isa: Isa) -> Vec<f64> {
    let mut t = Training::<T>::new(&DNN_CBAM, 2, 1e-4, isa).random_batch(6);
    (0..STEPS).map(|_| t.step()).collect()
}

#[test]
fn losses_are_the_oracles_on_every_instruction_set() {
    let truth = losses::<f64>(Isa::fastest());
    for isa in Isa::available() {
        for (step, (loss, want)) in losses::<f32>(isa).iter().zip(&truth).enumerate() {
            let error = (loss - want).abs() / want;
            println!("{isa:?} step {step}: {loss} for {want}, off by {error:.1e}");
            assert!(error <= ALLOWED, "step {step} on {isa:?}: {loss} for {want}, off by {error:e}");
        }
    }
}
