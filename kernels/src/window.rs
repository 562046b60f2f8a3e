//! The 3x3 window with stride 2 and padding 1 of a maximum: where it is, and the way back.

use crate::lanes::load;
use crate::simd::LANES;
use crate::{Shape, Simd};
use std::ops::Range;

/// 2^23 + k for the nine positions of a window: floats whose lowest byte is k, so that a position can be
/// selected lane by lane as a float and stored as a byte.
const TAPS: [f32; 9] = {
    let mut taps = [0.0; 9];
    let mut k = 0;
    while k < 9 {
        taps[k] = (8_388_608 + k) as f32;
        k += 1;
    }
    taps
};

/// Rows (or columns) of a map of `size` that the window at `i` covers.
#[inline(always)]
fn covered(i: usize, size: usize) -> Range<usize> {
    (2 * i).saturating_sub(1)..(2 * i + 2).min(size)
}

/// The window over a map of `shape` that output pixel (i, j) is the maximum of.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) shape: Shape,
    pub(crate) i: usize,
    pub(crate) j: usize,
}

impl Window {
    /// Calls `f` with the position in the window and the pixel of the image, in row-major order.
    #[inline(always)]
    pub(crate) fn each(self, mut f: impl FnMut(usize, usize)) {
        let Self { shape, i, j } = self;
        for row in covered(i, shape.h) {
            for column in covered(j, shape.w) {
                f((row + 1 - 2 * i) * 3 + column + 1 - 2 * j, row * shape.w + column);
            }
        }
    }

    /// The maximum of `map(x)` over the window; `index` gets where it is.
    #[inline(always)]
    pub(crate) fn maximum<S: Simd, const N: usize>(
        self,
        s: S,
        x: &[f32],
        block: &Range<usize>,
        map: impl Fn([S::V; N]) -> [S::V; N],
        index: &mut [u8],
    ) -> [S::V; N] {
        let mut best = [s.splat(f32::NEG_INFINITY); N];
        // The centre is always inside the map: what is left if nothing is above minus infinity.
        let mut at = [s.splat(TAPS[4]); N];
        self.each(|tap, pixel| {
            let tap = s.splat(TAPS[tap]);
            let x = map(load::<S, N>(s, &x[pixel * self.shape.c..][block.clone()]));
            for k in 0..N {
                // Strictly greater: the first maximum stays.
                at[k] = s.select_gt(x[k], best[k], tap, at[k]);
                best[k] = s.max(x[k], best[k]);
            }
        });
        for (k, bytes) in index.chunks_mut(LANES).enumerate() {
            for (byte, lane) in bytes.iter_mut().zip(s.to_array(at[k])) {
                *byte = lane.to_bits() as u8;
            }
        }
        best
    }
}

/// Positions in a window as floats.
#[inline(always)]
pub(crate) fn window_bytes<S: Simd, const N: usize>(s: S, index: &[u8]) -> [S::V; N] {
    let mut at = [s.zero(); N];
    for (k, bytes) in index.chunks(LANES).enumerate() {
        let mut lanes = [0.0; LANES];
        for (lane, byte) in lanes.iter_mut().zip(bytes) {
            *lane = f32::from(*byte);
        }
        at[k] = s.load(&lanes);
    }
    at
}

/// Takes from `left`, what no pixel has taken yet, the lanes whose index `at` is `tap`. The window is walked in
/// index order, so "at most tap" is "equal".
#[inline(always)]
pub(crate) fn taken<S: Simd, const N: usize>(
    s: S,
    tap: usize,
    at: &[S::V; N],
    left: &mut [S::V; N],
) -> [S::V; N] {
    let above = s.splat(tap as f32 + 0.5);
    let mut taken = [s.zero(); N];
    for k in 0..N {
        taken[k] = s.select_gt(above, at[k], left[k], s.zero());
        left[k] = s.select_gt(above, at[k], s.zero(), left[k]);
    }
    taken
}
