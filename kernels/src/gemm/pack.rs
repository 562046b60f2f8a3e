//! Weights in panels of 16 columns: `[panel][k][16]`, zero beyond the last column.

use super::{NR, for_chunks};

/// A packed panel: for every k, two vectors of columns.
pub(crate) type Panel = [[[f32; 8]; 2]];

/// Elements below which packing stays on one thread.
const SERIAL: usize = 64 * 1024;

/// Elements of `k` rows and `n` columns in panels.
pub(crate) const fn packed_len(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(NR)
}

/// The panels of a packed matrix of `k` rows.
#[inline(always)]
pub(crate) fn panels(k: usize, packed: &[f32]) -> impl Iterator<Item = &Panel> {
    packed.chunks_exact(k * NR).map(|p| p.as_chunks::<8>().0.as_chunks::<2>().0)
}

/// Packs `b`, `[k, n]`.
pub(crate) fn pack(k: usize, n: usize, b: &[f32], packed: &mut [f32]) {
    let panel = |i: usize, [panel]: [&mut [f32]; 1]| {
        let first = i * NR;
        let columns = NR.min(n - first);
        for (to, from) in panel.as_chunks_mut::<NR>().0.iter_mut().zip(b.chunks_exact(n)) {
            to[..columns].copy_from_slice(&from[first..first + columns]);
            to[columns..].fill(0.0);
        }
    };
    for_chunks(0..n.div_ceil(NR), packed.len() >= SERIAL, [(packed, k * NR)], &panel);
}

/// Packs the weights `w`, `[taps, n, k]`, for the gradient of the input: row `(t, k)` of the packed matrix is
/// column k of tap `taps - 1 - t`, so that a convolution with it runs the taps backwards and swaps the channels.
pub(crate) fn pack_flipped(taps: usize, n: usize, k: usize, w: &[f32], packed: &mut [f32]) {
    let panel = |i: usize, [panel]: [&mut [f32]; 1]| {
        let first = i * NR;
        let columns = NR.min(n - first);
        for (panel, w) in panel.chunks_exact_mut(k * NR).zip(w.chunks_exact(n * k).rev()) {
            let w = &w[first * k..(first + columns) * k];
            // Sixteen rows of w are read side by side so that the panel is written in order.
            for (j, to) in panel.as_chunks_mut::<NR>().0.iter_mut().enumerate() {
                to.fill(0.0);
                for (to, row) in to.iter_mut().zip(w.chunks_exact(k)) {
                    *to = row[j];
                }
            }
        }
    };
    for_chunks(0..n.div_ceil(NR), packed.len() >= SERIAL, [(packed, taps * k * NR)], &panel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_columns_and_zeros() {
        let (k, n) = (3, 18);
        let b: Vec<f32> = (0..k * n).map(|i| i as f32 + 1.0).collect();
        let mut packed = vec![f32::NAN; packed_len(k, n)];
        pack(k, n, &b, &mut packed);
        for p in 0..2 {
            for r in 0..k {
                for c in 0..NR {
                    let column = p * NR + c;
                    let want = if column < n { b[r * n + column] } else { 0.0 };
                    assert_eq!(packed[(p * k + r) * NR + c], want);
                }
            }
        }
    }

    #[test]
    fn flipped_panels_swap_channels_and_run_taps_backwards() {
        let (taps, n, k) = (3, 17, 2);
        let w: Vec<f32> = (0..taps * n * k).map(|i| i as f32 + 1.0).collect();
        let mut packed = vec![f32::NAN; packed_len(taps * k, n)];
        pack_flipped(taps, n, k, &w, &mut packed);
        for (c, t, r) in (0..32).flat_map(|c| (0..taps).flat_map(move |t| (0..k).map(move |r| (c, t, r)))) {
            let want = if c < n { w[((taps - 1 - t) * n + c) * k + r] } else { 0.0 };
            assert_eq!(packed[((c / NR * taps + t) * k + r) * NR + c % NR], want);
        }
    }
}
