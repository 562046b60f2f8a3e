//! Scratch for as many tasks as run at once, not for as many as there are: it then stays in a core's cache from
//! task to task. Which task gets which slot changes nothing, since scratch is garbage on entry.

use std::sync::{Mutex, PoisonError};

/// Most slots; more threads than these share.
const MAX: usize = 64;

/// Slots that a call wants: a thread each, never more than tasks.
pub(crate) fn slots(tasks: usize) -> usize {
    rayon::current_num_threads().min(MAX).min(tasks).max(1)
}

/// Scratch cut into slots.
pub(crate) struct Slots<'a> {
    slots: [Mutex<&'a mut [f32]>; MAX],
    count: usize,
}

impl<'a> Slots<'a> {
    /// As many slots of `len` elements as fit `scratch`.
    ///
    /// # Panics
    /// If not one fits.
    pub(crate) fn new(scratch: &'a mut [f32], len: usize) -> Self {
        let count = scratch.len().checked_div(len).unwrap_or(MAX).min(MAX);
        assert!(count > 0, "scratch: {} elements, a task wants {len}", scratch.len());
        let mut rest = scratch;
        let slots = std::array::from_fn(|i| {
            let take = if i < count { len } else { 0 };
            Mutex::new(rest.split_off_mut(..take).expect("counted above"))
        });
        Self { slots, count }
    }

    /// Calls `f` with a slot that nobody else has: this thread's own, unless there are more threads than slots.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut [f32]) -> R) -> R {
        let index = rayon::current_thread_index().unwrap_or(0) % self.count;
        // A task that panicked leaves garbage, which is what a slot holds anyway.
        let mut slot = self.slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        f(&mut slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn nobody_shares_a_slot_while_it_is_used() {
        let mut scratch = vec![0.0; 3 * 10 + 7];
        let slots = Slots::new(&mut scratch, 10);
        assert_eq!(slots.count, 3);
        (0..500).into_par_iter().for_each(|task| {
            slots.with(|slot| {
                assert_eq!(slot.len(), 10);
                slot.fill(task as f32);
                std::thread::yield_now();
                assert!(slot.iter().all(|&x| x == task as f32));
            });
        });
    }

    #[test]
    fn tasks_without_scratch_do_not_wait_for_each_other() {
        assert_eq!(Slots::new(&mut [], 0).count, MAX);
    }

    #[test]
    #[should_panic(expected = "a task wants 11")]
    fn too_little_scratch_is_refused() {
        Slots::new(&mut [0.0; 10], 11);
    }
}
