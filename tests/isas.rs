//! Instruction sets agree: the same training on each gives the losses of the f64 oracle to rounding.
//!
//! The oracle's losses do not depend on the machine, so that runs of this test on different CPUs are comparable, too.

mod common;

use common::{DNN_CBAM, Training};
use moue::Isa;
use moue::ops::Real;

/// Losses of the f64 oracle before each step. Stored, since computing them takes minutes under emulation; the first test
/// holds them to the oracle.
const ORACLE: [f64; 3] = [15.760861878657613, 11.743713555446568, 8.674070596566253];

/// Relative error of a loss, far below the bound of its roundings (1e-4 before the first step): measured are 4e-6 at
/// most, where a wrong sign or a missing term shows in the second digit.
const ALLOWED: f64 = 1e-5;

/// The losses before the first steps.
fn losses<T: Real>(isa: Isa) -> Vec<f64> {
    let mut t = Training::<T>::new(&DNN_CBAM, 2, 1e-4, isa).random_batch(6);
    ORACLE.iter().map(|_| t.step()).collect()
}

/// Another machine's `exp` and `ln` may round differently.
#[test]
fn stored_losses_are_the_oracles() {
    let losses = losses::<f64>(Isa::fastest());
    let same = losses.iter().zip(ORACLE).all(|(loss, want)| (loss - want).abs() <= 1e-12 * want);
    assert!(same, "{losses:?} for {ORACLE:?}");
}

#[test]
fn losses_are_the_oracles_on_every_instruction_set() {
    for isa in Isa::selected().unwrap() {
        for (step, (loss, want)) in losses::<f32>(isa).iter().zip(ORACLE).enumerate() {
            let error = (loss - want).abs() / want;
            println!("{isa:?} step {step}: {loss} for {want}, off by {error:.1e}");
            assert!(error <= ALLOWED, "step {step} on {isa:?}: {loss} for {want}, off by {error:e}");
        }
    }
}
