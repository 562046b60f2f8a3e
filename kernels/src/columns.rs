//! Products of few rows with large weights, cut by columns of the result: each weight is read once, by one task. Cut by
//! rows every task would read all of them: at 32 rows and 2304x3072 weights 28 MB each.

use crate::gemm::{NR, for_chunks};
use crate::pointwise::Forward;
use crate::{Conv, Isa, Mode, Shape};

/// Whether a product of `rows` rows is better cut by columns: with weights of a megabyte and more, which no task's cache
/// holds, and so few rows that few tasks could share them.
pub(crate) const fn pay(rows: usize, weights: usize) -> bool {
    rows <= 128 && weights >= 1 << 18
}

/// Scratch elements of [`product`].
pub(crate) const fn scratch_len(rows: usize, n: usize) -> usize {
    rows * n.next_multiple_of(NR)
}

/// `y[r, :]` (=|+=) `x[r, :]` * w for all rows, w `[k, n]`, packed. Every sum is that of the product cut by rows.
#[allow(clippy::too_many_arguments, reason = "a product's operands, and how it is made")]
pub(crate) fn product(
    isa: Isa,
    [k, n]: [usize; 2],
    x: &[f32],
    packed: &[f32],
    y: &mut [f32],
    mode: Mode,
    scratch: &mut [f32],
    parallel: bool,
) {
    let rows = y.len() / n;
    let scratch = &mut scratch[..scratch_len(rows, n)];
    for_chunks(0..n.div_ceil(NR), parallel, [(&mut *scratch, rows * NR)], &|i, [to]| {
        let conv = Conv { x: Shape::new(rows, 1, 1, k), cout: NR.min(n - i * NR), stride: 1 };
        let (packed, y) = (&packed[i * k * NR..][..k * NR], &mut to[..rows * conv.cout]);
        isa.run(Forward { conv: &conv, first: 0, x, packed, y, e: Mode::Set });
    });
    interleave(NR, scratch, y, n, mode);
}

/// From `[task, row, columns]` to `[row, n]`; the last task may have fewer columns, at the beginning of its part.
pub(crate) fn interleave(columns: usize, from: &[f32], y: &mut [f32], n: usize, mode: Mode) {
    let rows = y.len() / n;
    for (i, from) in from.chunks_exact(rows * columns).enumerate() {
        let width = columns.min(n - i * columns);
        for (y, from) in y.chunks_exact_mut(n).zip(from.chunks_exact(width)) {
            let y = &mut y[i * columns..][..width];
            match mode {
                Mode::Set => y.copy_from_slice(from),
                Mode::Add => y.iter_mut().zip(from).for_each(|(y, from)| *y += from),
            }
        }
    }
}
