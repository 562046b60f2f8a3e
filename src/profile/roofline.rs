//! The roofline model (Williams, Waterman and Patterson 2009): whether arithmetic or memory bounds an operation.

use super::{copy_bandwidth, peak_gflops};
use moue_kernels::Isa;

/// Mean cost of one operation.
#[derive(Clone, Debug)]
pub struct OpProfile {
    /// Name.
    pub op: &'static str,
    /// Shapes of first input and result.
    pub shape: String,
    /// Seconds forward.
    pub forward: f64,
    /// Seconds backward.
    pub backward: f64,
    /// Multiply-adds of convolutions and matrix products, forward and backward; those of convolutions are counted as
    /// of direct ones, whatever computes them.
    pub macs: u64,
    /// Bytes that it reads and writes at least, forward and backward.
    pub bytes: u64,
}

impl OpProfile {
    /// Seconds forward and backward.
    pub fn seconds(&self) -> f64 {
        self.forward + self.backward
    }

    /// GFLOP/s, a multiply-add counted as two; 0 for what takes no time.
    pub fn gflops(&self) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { 2.0 * self.macs as f64 / seconds / 1e9 } else { 0.0 }
    }

    /// FLOP/byte; 0 if no arithmetic is counted.
    pub fn intensity(&self) -> f64 {
        2.0 * self.macs as f64 / self.bytes.max(1) as f64
    }
}

/// What the machine can do, on all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Roofline {
    /// GFLOP/s of multiply-adds.
    pub peak_gflops: f64,
    /// GB/s of copying memory, read and written bytes together. What stays in a cache is faster.
    pub bandwidth_gb_s: f64,
}

impl Roofline {
    /// Measures both.
    pub fn measure(isa: Isa) -> Self {
        Self { peak_gflops: peak_gflops(isa), bandwidth_gb_s: copy_bandwidth() }
    }

    /// GFLOP/s that are within reach at `intensity` (FLOP/byte).
    pub fn gflops(&self, intensity: f64) -> f64 {
        self.peak_gflops.min(self.bandwidth_gb_s * intensity)
    }

    /// FLOP/byte from which on arithmetic is the bound.
    pub fn ridge(&self) -> f64 {
        self.peak_gflops / self.bandwidth_gb_s
    }

    /// How near `op` comes to the roof: the time it needs at least over the time it takes, which is GFLOP/s over
    /// [`Roofline::gflops`] and holds for operations without counted arithmetic too. Above 1 where data stays in a
    /// cache, or where an algorithm such as Winograd's needs fewer multiply-adds than are counted.
    pub fn fraction(&self, op: &OpProfile) -> f64 {
        let (arithmetic, memory) =
            (2.0 * op.macs as f64 / self.peak_gflops, op.bytes as f64 / self.bandwidth_gb_s);
        let seconds = op.seconds();
        if seconds > 0.0 { arithmetic.max(memory) / seconds / 1e9 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOFLINE: Roofline = Roofline { peak_gflops: 100.0, bandwidth_gb_s: 20.0 };

    fn op(macs: u64, bytes: u64, seconds: f64) -> OpProfile {
        OpProfile { op: "op", shape: String::new(), forward: seconds, backward: 0.0, macs, bytes }
    }

    #[test]
    fn the_roof_bends_at_the_ridge() {
        assert_eq!(ROOFLINE.ridge(), 5.0);
        assert_eq!([1.0, 5.0, 50.0].map(|x| ROOFLINE.gflops(x)), [20.0, 100.0, 100.0]);
    }

    #[test]
    fn the_fraction_is_the_rate_over_the_roof() {
        // 2 and 20 FLOP/byte: below and above the ridge.
        for op in [op(1 << 30, 1 << 30, 0.5), op(10 << 30, 1 << 30, 0.5)] {
            let expected = op.gflops() / ROOFLINE.gflops(op.intensity());
            assert!((ROOFLINE.fraction(&op) / expected - 1.0).abs() < 1e-12);
        }
        // Memory alone: 10 GB in a second.
        assert_eq!(ROOFLINE.fraction(&op(0, 10_000_000_000, 1.0)), 0.5);
        assert_eq!(ROOFLINE.fraction(&op(0, 1, 0.0)), 0.0);
    }
}
