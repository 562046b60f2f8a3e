//! What the CPU can do at best: a loop of nothing but fused multiply-adds, to hold the kernels against.

use crate::{Isa, Kernel, Simd};
use std::hint::black_box;

/// Independent chains: as many accumulators as a register tile has, more than latency times issue width needs
/// (4 cycles, 2 a cycle).
const CHAINS: usize = 12;

/// Floating-point operations of one round of [`multiply_adds`].
pub const FLOPS_PER_ROUND: usize = 2 * crate::simd::LANES * CHAINS;

/// Runs `rounds` multiply-adds in each of twelve chains, on this thread. The result means nothing.
pub fn multiply_adds(isa: Isa, rounds: usize) -> f32 {
    isa.run(Chains { rounds })
}

struct Chains {
    rounds: usize,
}

impl Kernel for Chains {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // Every chain tends to 0.5: no infinity, no denormal.
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(0.25)));
        let mut chains = [s.zero(); CHAINS];
        for _ in 0..self.rounds {
            for x in &mut chains {
                *x = s.mul_add(a, *x, b);
            }
        }
        chains.into_iter().map(|x| s.sum(x)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chain_runs_all_rounds() {
        for isa in Isa::available() {
            assert_eq!(multiply_adds(isa, 1), 0.25 * 96.0);
            assert_eq!(multiply_adds(isa, 2), 0.375 * 96.0);
        }
    }
}
