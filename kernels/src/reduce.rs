//! The determinism rule: work is cut by shape alone, and partial sums are combined in index order.

use crate::{Isa, Kernel, Mode, Simd};
use rayon::prelude::*;

/// Parts that a batch of `n` images is cut into for partial sums: enough for many threads to share, few enough
/// that combining them costs little. Depends on the shape alone.
pub const fn parts(n: usize) -> usize {
    if n < 16 { n } else { 16 }
}

/// Images `start..end` of part `part` when `n` images are cut into `parts`.
pub const fn part_range(n: usize, parts: usize, part: usize) -> std::ops::Range<usize> {
    part * n / parts..(part + 1) * n / parts
}

/// Elements below which combining stays on one thread (a task costs about a microsecond).
const SERIAL: usize = 16 * 1024;

/// `to[i] = sum over p of partial[p][i]` in the order of p, where `partial` is `[parts, to.len()]`; with
/// [`Mode::Add`] the sum is added to what is there.
pub fn combine(isa: Isa, partial: &[f32], to: &mut [f32], mode: Mode) {
    let len = to.len();
    assert!(len > 0 && partial.len().is_multiple_of(len), "partial sums are not a multiple of {len}");
    let body = |first: usize, to: &mut [f32]| isa.run(Combine { partial, len, first, to, mode });
    if len <= SERIAL {
        body(0, to);
    } else {
        to.par_chunks_mut(SERIAL / 4).enumerate().for_each(|(i, chunk)| body(i * SERIAL / 4, chunk));
    }
}

struct Combine<'a> {
    partial: &'a [f32],
    len: usize,
    first: usize,
    to: &'a mut [f32],
    mode: Mode,
}

impl Kernel for Combine<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { partial, len, first, to, mode } = self;
        let count = to.len();
        for (p, row) in partial.chunks_exact(len).enumerate() {
            let row = &row[first..first + count];
            if p == 0 && mode == Mode::Set {
                to.copy_from_slice(row);
            } else {
                to.iter_mut().zip(row).for_each(|(t, r)| *t += r);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_image_once() {
        for n in 1..100 {
            let seen: Vec<_> = (0..parts(n)).flat_map(|p| part_range(n, parts(n), p)).collect();
            assert_eq!(seen, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn combine_sums_in_order_and_adds() {
        let partial = [1.0, 2.0, 10.0, 20.0, 100.0, 200.0];
        for isa in Isa::available() {
            let mut to = [f32::NAN; 2];
            combine(isa, &partial, &mut to, Mode::Set);
            assert_eq!(to, [111.0, 222.0]);
            combine(isa, &partial, &mut to, Mode::Add);
            assert_eq!(to, [222.0, 444.0]);
        }
    }
}
