//! A training step allocates nothing once it has run: the plan's arena is all the memory it has.

mod common;

use common::{DNN_CBAM, Training, with_threads};
use moue::Isa;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The only test of this program: another one would allocate beside it.
#[test]
fn a_training_step_allocates_nothing() {
    with_threads(2, || {
        let mut t = Training::<f32>::new(&DNN_CBAM, 8, 1e-3, Isa::fastest()).random_batch(2);
        (0..3).for_each(|_| _ = t.step());
        let region = Region::new(ALLOCATOR);
        (0..5).for_each(|_| _ = t.step());
        let change = region.change();
        assert_eq!((change.allocations, change.reallocations), (0, 0), "{change:?}");
    });
}
