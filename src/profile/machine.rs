//! Peak arithmetic and memory bandwidth of all threads together.

use super::{median, seconds};
use moue_kernels::{Isa, peak};
use rayon::prelude::*;
use std::hint::black_box;

/// Rounds of one measurement: a few milliseconds, short against a scheduler's time slice.
const ROUNDS: usize = 500_000;

/// Bytes that a measurement of the bandwidth copies: far more than a last-level cache's share.
const COPIED: usize = 64 << 20;

/// GFLOP/s of multiply-adds that never touch memory, on all threads of the pool at once; the best of several
/// runs, since other work on the machine can only slow it.
pub fn peak_gflops(isa: Isa) -> f64 {
    let threads = rayon::current_num_threads();
    let run = || _ = rayon::broadcast(|_| black_box(peak::multiply_adds(isa, ROUNDS)));
    run();
    let best = (0..12).map(|_| seconds(run)).fold(f64::INFINITY, f64::min);
    (peak::FLOPS_PER_ROUND * ROUNDS * threads) as f64 / best / 1e9
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
