//! Six rows by sixteen columns in registers.

use super::{MR, NR, pack::Panel};
use crate::{Mode, Simd};

/// Accumulators of `M` rows.
pub(crate) type Acc<S, const M: usize> = [[<S as Simd>::V; 2]; M];

/// `M` rows of zeros.
#[inline(always)]
pub(crate) fn zeros<S: Simd, const M: usize>(s: S) -> Acc<S, M> {
    [[s.zero(); 2]; M]
}

/// acc[r] += sum over k of rows[r][k] * panel[k].
#[inline(always)]
pub(crate) fn accumulate<S: Simd, const M: usize>(
    s: S,
    acc: &mut Acc<S, M>,
    rows: [&[f32]; M],
    panel: &Panel,
) {
    // Equal lengths, visible to the compiler: no bounds check is left in the loop.
    let mut cut = rows;
    for row in &mut cut {
        *row = &row[..panel.len()];
    }
    for (k, b) in panel.iter().enumerate() {
        let (b0, b1) = (s.load(&b[0]), s.load(&b[1]));
        for r in 0..M {
            let a = s.splat(cut[r][k]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
    }
}

/// Writes or adds a row of accumulators to the start of `y`, or to all of it if it is shorter than a tile.
#[inline(always)]
pub(crate) fn store_row<S: Simd>(s: S, acc: [S::V; 2], y: &mut [f32], mode: Mode) {
    if let Some(y) = y.first_chunk_mut::<NR>() {
        let [lo, hi] = y.as_chunks_mut::<8>().0 else { unreachable!() };
        let [mut a, mut b] = acc;
        if mode == Mode::Add {
            a = s.add(s.load(lo), a);
            b = s.add(s.load(hi), b);
        }
        s.store(a, lo);
        s.store(b, hi);
    } else {
        let (lo, hi) = (s.to_array(acc[0]), s.to_array(acc[1]));
        for (y, a) in y.iter_mut().zip(lo.iter().chain(&hi)) {
            *y = if mode == Mode::Add { *y + a } else { *a };
        }
    }
}

/// Up to six rows: where each starts in A and in Y.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rows {
    pub(crate) a: [usize; MR],
    pub(crate) y: [usize; MR],
    pub(crate) count: usize,
}

impl Rows {
    /// `count` rows at equal distances.
    #[inline(always)]
    pub(crate) fn even(count: usize, a: (usize, usize), y: (usize, usize)) -> Self {
        let mut rows = Self { count, ..Self::default() };
        for r in 0..MR {
            rows.a[r] = a.0 + r * a.1;
            rows.y[r] = y.0 + r * y.1;
        }
        rows
    }

    /// Adds a row; true when six are there.
    #[inline(always)]
    pub(crate) fn push(&mut self, a: usize, y: usize) -> bool {
        self.a[self.count] = a;
        self.y[self.count] = y;
        self.count += 1;
        self.count == MR
    }
}

/// The columns that a tile writes: `NR` of them from `first`, fewer at the right edge of `n`.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) first: usize,
    pub(crate) end: usize,
}

impl Columns {
    /// Columns of panel `i` of `n` columns.
    #[inline(always)]
    pub(crate) fn of_panel(i: usize, n: usize) -> Self {
        Self { first: i * NR, end: n.min((i + 1) * NR) }
    }
}

/// y[rows.y[r] + column] (=|+=) sum over k of a[rows.a[r] + k] * panel[k][column] for the `M` first rows.
#[inline(always)]
fn tile_of<S: Simd, const M: usize>(
    s: S,
    a: &[f32],
    panel: &Panel,
    rows: &Rows,
    y: &mut [f32],
    columns: Columns,
    mode: Mode,
) {
    let mut slices: [&[f32]; M] = [&[]; M];
    for r in 0..M {
        slices[r] = &a[rows.a[r]..][..panel.len()];
    }
    let mut acc = zeros::<S, M>(s);
    accumulate(s, &mut acc, slices, panel);
    for r in 0..M {
        store_row(s, acc[r], &mut y[rows.y[r] + columns.first..rows.y[r] + columns.end], mode);
    }
}

/// [`tile_of`] for as many rows as there are.
#[inline(always)]
pub(crate) fn tile<S: Simd>(
    s: S,
    a: &[f32],
    panel: &Panel,
    rows: &Rows,
    y: &mut [f32],
    columns: Columns,
    mode: Mode,
) {
    match rows.count {
        6 => tile_of::<S, 6>(s, a, panel, rows, y, columns, mode),
        5 => tile_of::<S, 5>(s, a, panel, rows, y, columns, mode),
        4 => tile_of::<S, 4>(s, a, panel, rows, y, columns, mode),
        3 => tile_of::<S, 3>(s, a, panel, rows, y, columns, mode),
        2 => tile_of::<S, 2>(s, a, panel, rows, y, columns, mode),
        1 => tile_of::<S, 1>(s, a, panel, rows, y, columns, mode),
        _ => {}
    }
}
