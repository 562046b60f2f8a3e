//! Peak arithmetic and memory bandwidth of all threads together.

use super::{median, seconds};
use moue_kernels::{Isa, peak};
use rayon::prelude::*;
use std::hint::black_box;

/// Rounds of one run: under a millisecond, short against a scheduler's time slice.
const ROUNDS: usize = 200_000;

/// Runs that the best is taken of.
const RUNS: usize = 60;

/// Bytes that a measurement of the bandwidth copies: far more than a last-level cache's share.
const COPIED: usize = 64 << 20;

/// GFLOP/s of multiply-adds that never touch memory, on all threads of the pool at once: the sum of each thread's
/// best run, since other work on the machine can only slow it.
pub fn peak_gflops(isa: Isa) -> f64 {
    let run = || seconds(|| _ = black_box(peak::multiply_adds(isa, ROUNDS)));
    let best = rayon::broadcast(|_| (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min));
    best.into_iter().map(|seconds| (peak::FLOPS_PER_ROUND * ROUNDS) as f64 / seconds / 1e9).sum()
}

/// GB/s of copying memory on all threads, each byte counted once read and once written.
pub fn copy_bandwidth() -> f64 {
    let len = COPIED / size_of::<f32>();
    let (from, mut to) = (vec![1.0f32; len], vec![0.0f32; len]);
    let chunk = len.div_ceil(rayon::current_num_threads());
    let mut run = || {
        to.par_chunks_mut(chunk).zip(from.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
    };
    run();
    2.0 * COPIED as f64 / median((0..9).map(|_| seconds(&mut run)).collect()) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_a_computer() {
        for isa in Isa::available() {
            let peak = peak_gflops(isa);
            assert!((0.01..1e5).contains(&peak), "{peak} GFLOP/s on {isa:?}");
        }
    }
}
