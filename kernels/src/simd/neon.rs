//! Eight lanes in two NEON registers.

use super::{LANES, Simd};
use std::arch::aarch64::*;

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// `None` where the CPU lacks NEON (no 64-bit Arm CPU that runs an operating system does).
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

/// Lanes 0 to 3 and 4 to 7.
type Pair = (float32x4_t, float32x4_t);

impl Simd for Neon {
    type V = Pair;
    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vdupq_n_f32(x), vdupq_n_f32(x)) }
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Pair {
        // SAFETY: `self` proves NEON; the array is eight readable floats.
        unsafe { (vld1q_f32(x.as_ptr()), vld1q_f32(x[4..].as_ptr())) }
    }
    #[inline(always)]
    fn store(self, v: Pair, y: &mut [f32; LANES]) {
        // SAFETY: `self` proves NEON; the array is eight writable floats.
        unsafe {
            vst1q_f32(y.as_mut_ptr(), v.0);
            vst1q_f32(y[4..].as_mut_ptr(), v.1)
        }
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)) }
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1)) }
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vdivq_f32(a.0, b.0), vdivq_f32(a.1, b.1)) }
    }
    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }
    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vmaxq_f32(a.0, b.0), vmaxq_f32(a.1, b.1)) }
    }
    #[inline(always)]
    fn sqrt(self, a: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vsqrtq_f32(a.0), vsqrtq_f32(a.1)) }
    }
    #[inline(always)]
    fn select_gt(self, a: Pair, b: Pair, yes: Pair, no: Pair) -> Pair {
        // SAFETY: `self` proves NEON.
        unsafe { (vbslq_f32(vcgtq_f32(a.0, b.0), yes.0, no.0), vbslq_f32(vcgtq_f32(a.1, b.1), yes.1, no.1)) }
    }
    #[inline(always)]
    fn to_array(self, v: Pair) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        lanes
    }
}
