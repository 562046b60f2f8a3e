//! What happens to finished sums on their way to memory.

use crate::simd::LANES;
use crate::{Mode, Simd};

/// Applied to vectors of sums of neighbouring columns (output channels) as a kernel stores them. A type and not a
/// flag: each body is written once, and compiled for training, where sums are set or added, and for inference.
pub(crate) trait Epilogue: Copy + Send + Sync {
    /// What sums of columns `column..column + 8` start from: a bias costs a tile two loads then, and not twelve
    /// with as many additions at its end.
    fn start<S: Simd>(self, s: S, column: usize) -> S::V;

    /// `v` plus [`Self::start`], for kernels whose sums cannot start from it.
    fn shift<S: Simd>(self, s: S, column: usize, v: S::V) -> S::V;

    /// What is stored for sums `v` that have been started or shifted; `old` reads what is there.
    fn finish<S: Simd>(self, s: S, v: S::V, old: impl FnOnce() -> S::V) -> S::V;

    /// For kernels that sum in memory: this without its floor. More is added with [`Mode::Add`], then
    /// [`Self::floor`] is applied.
    fn open(self) -> Self;

    /// Results are at least this.
    fn floor(self) -> f32;
}

impl Epilogue for Mode {
    #[inline(always)]
    fn start<S: Simd>(self, s: S, _: usize) -> S::V {
        s.zero()
    }

    #[inline(always)]
    fn shift<S: Simd>(self, _: S, _: usize, v: S::V) -> S::V {
        v
    }

    #[inline(always)]
    fn finish<S: Simd>(self, s: S, v: S::V, old: impl FnOnce() -> S::V) -> S::V {
        if self == Mode::Add { s.add(old(), v) } else { v }
    }

    #[inline(always)]
    fn open(self) -> Self {
        self
    }

    #[inline(always)]
    fn floor(self) -> f32 {
        f32::NEG_INFINITY
    }
}

/// max(v + bias, floor), v set or added as `mode` says.
#[derive(Clone, Copy)]
pub(crate) struct Bias<'a> {
    /// One vector for every eight columns, the last filled up.
    bias: &'a [[f32; LANES]],
    mode: Mode,
    floor: f32,
}

impl<'a> Bias<'a> {
    /// `bias` holds whole vectors. ReLU is a floor of 0, none a floor of minus infinity: one body for both.
    pub(crate) fn new(bias: &'a [f32], mode: Mode, relu: bool) -> Self {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        Self { bias: bias.as_chunks().0, mode, floor }
    }
}

impl Epilogue for Bias<'_> {
    #[inline(always)]
    fn start<S: Simd>(self, s: S, column: usize) -> S::V {
        s.load(&self.bias[column / LANES])
    }

    #[inline(always)]
    fn shift<S: Simd>(self, s: S, column: usize, v: S::V) -> S::V {
        s.add(v, self.start(s, column))
    }

    #[inline(always)]
    fn finish<S: Simd>(self, s: S, v: S::V, old: impl FnOnce() -> S::V) -> S::V {
        let v = self.mode.finish(s, v, old);
        // The floor first: x86 then keeps a NaN.
        s.max(s.splat(self.floor), v)
    }

    #[inline(always)]
    fn open(self) -> Self {
        Self { floor: f32::NEG_INFINITY, ..self }
    }

    #[inline(always)]
    fn floor(self) -> f32 {
        self.floor
    }
}
