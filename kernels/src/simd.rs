//! The vector that every kernel is written with: eight `f32` lanes, whatever the machine.
//!
//! One width everywhere means one packing, one blocking and one summation tree for all instruction sets
//! (NEON holds the eight lanes in two registers). A value of a type that implements [`Simd`] is a proof that
//! the CPU has the instructions: only [`crate::Isa`] makes one, after asking the CPU.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// About a dozen operations on eight lanes of `f32`.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Eight lanes.
    type V: Copy + Send + Sync;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Reads eight lanes.
    fn load(self, x: &[f32; LANES]) -> Self::V;
    /// Writes eight lanes.
    fn store(self, v: Self::V, y: &mut [f32; LANES]);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine has fused multiply-add.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of each lane; where one is NaN, `b` on x86, NaN on NEON.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// Square root of each lane, correctly rounded.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `yes` where `a > b`, else `no`.
    fn select_gt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// The lanes as an array.
    fn to_array(self, v: Self::V) -> [f32; LANES];

    /// Asks for the cache line of `x`, which will be read soon; a hint, and nothing where there is no such
    /// instruction.
    #[inline(always)]
    fn prefetch(self, _x: &f32) {}

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// Reads fewer than eight lanes; the rest are zero.
    #[inline(always)]
    fn load_tail(self, x: &[f32]) -> Self::V {
        let mut lanes = [0.0; LANES];
        lanes[..x.len()].copy_from_slice(x);
        self.load(&lanes)
    }

    /// Writes the first `y.len()` lanes, fewer than eight.
    #[inline(always)]
    fn store_tail(self, v: Self::V, y: &mut [f32]) {
        y.copy_from_slice(&self.to_array(v)[..y.len()]);
    }

    /// Sum of the lanes by a fixed tree: (0+4)+(2+6) + (1+5)+(3+7).
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let a = self.to_array(v);
        let (s0, s1, s2, s3) = (a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]);
        (s0 + s2) + (s1 + s3)
    }
}
