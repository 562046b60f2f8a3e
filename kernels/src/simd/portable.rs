//! Eight lanes for any machine, on `wide::f32x8`.

use super::{LANES, Simd};
use wide::f32x8;

/// Needs nothing from the CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Simd for Portable {
    type V = f32x8;

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> f32x8 {
        f32x8::new(*x)
    }
    #[inline(always)]
    fn store(self, v: f32x8, y: &mut [f32; LANES]) {
        *y = v.to_array();
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        a.fast_max(b)
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn select_gt(self, a: f32x8, b: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
        a.simd_gt(b).select(yes, no)
    }
    #[inline(always)]
    fn to_array(self, v: f32x8) -> [f32; LANES] {
        v.to_array()
    }
}
