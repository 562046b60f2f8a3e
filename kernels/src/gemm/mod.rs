//! The register tiles under every dense product, the packing that feeds them and the cut into tasks.
//!
//! Two products cover all dense layers:
//!
//! * [`tile`]: six rows of A (pixels, read where they are) times a packed panel of 16 columns of B (weights);
//!   12 FMA, 2 loads and 6 broadcasts a step of k: 15 of 16 AVX2 registers.
//! * [`outer`]: the same tile with A transposed, for weight gradients: six input channels by 16 output channels,
//!   summed over pixels.

pub(crate) mod outer;
pub(crate) mod pack;
pub(crate) mod tile;

use crate::{Grad, Mode};
use std::ops::Range;

/// Rows of a register tile.
pub(crate) const MR: usize = 6;
/// Columns of a register tile: two vectors.
pub(crate) const NR: usize = 16;

/// Floating-point operations below which a call stays on one thread: about 20 us of work, several times what
/// handing out tasks costs.
const SERIAL_FLOPS: usize = 2_000_000;

/// Whether so many operations are worth several threads.
pub(crate) const fn worth_threads(flops: usize) -> bool {
    flops >= SERIAL_FLOPS
}

/// Calls `f(i, chunks)` for every chunk index, in parallel if asked. Each buffer comes with its elements a
/// chunk (the last may be shorter; 0 for a buffer that is not there, whose chunks are all empty).
pub(crate) fn for_chunks<const N: usize, F>(
    chunks: Range<usize>,
    parallel: bool,
    mut buffers: [(&mut [f32], usize); N],
    f: &F,
) where
    F: Fn(usize, [&mut [f32]; N]) + Sync,
{
    if chunks.len() < 2 {
        for i in chunks {
            f(i, buffers.each_mut().map(|(b, _)| std::mem::take(b)));
        }
        return;
    }
    let half = chunks.len() / 2;
    let middle = chunks.start + half;
    let right = buffers.each_mut().map(|(b, size)| {
        let at = (half * *size).min(b.len());
        let (left, right) = std::mem::take(b).split_at_mut(at);
        *b = left;
        (right, *size)
    });
    let left = || for_chunks(chunks.start..middle, parallel, buffers, f);
    let right = || for_chunks(middle..chunks.end, parallel, right, f);
    if parallel {
        rayon::join(left, right);
    } else {
        left();
        right();
    }
}

/// A gradient that may not be wanted, as a buffer of [`for_chunks`] with `len` elements a chunk, and its mode.
pub(crate) fn grad_buffer(grad: Option<Grad<'_, f32>>, len: usize) -> ((&mut [f32], usize), Option<Mode>) {
    match grad {
        Some(Grad { to, mode }) => ((to, len), Some(mode)),
        None => ((&mut [], 0), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_unequal_buffers_once() {
        for parallel in [false, true] {
            let (mut a, mut b) = (vec![0.0; 11], vec![0.0; 4]);
            for_chunks(0..4, parallel, [(&mut a, 3), (&mut b, 1), (&mut [], 0)], &|i, [a, b, none]| {
                assert!(none.is_empty());
                a.iter_mut().chain(b).for_each(|x| *x += 1.0 + i as f32);
            });
            assert_eq!(a, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 4.0, 4.0]);
            assert_eq!(b, [1.0, 2.0, 3.0, 4.0]);
        }
    }
}
