//! Six rows by sixteen columns in registers.

use super::{MR, NR, pack::Panel};
use crate::Simd;
use crate::epilogue::Epilogue;
use crate::simd::LANES;

/// Accumulators of `M` rows.
pub(crate) type Acc<S, const M: usize> = [[<S as Simd>::V; 2]; M];

/// `M` rows of zeros.
#[inline(always)]
pub(crate) fn zeros<S: Simd, const M: usize>(s: S) -> Acc<S, M> {
    [[s.zero(); 2]; M]
}

/// What `M` rows of sums of 16 columns from `column` on start from.
#[inline(always)]
pub(crate) fn start<S: Simd, E: Epilogue, const M: usize>(s: S, column: usize, e: E) -> Acc<S, M> {
    [[e.start(s, column), e.start(s, column + LANES)]; M]
}

/// Steps of k that are written out: a sixth of the loop's overhead is left.
const UNROLL: usize = 4;

/// acc[r] + sum over k of rows[r][k] * panel[k].
///
/// The accumulators go in and out by value: behind a reference the compiler stored all twelve in every step.
#[inline(always)]
pub(crate) fn accumulate<S: Simd, const M: usize>(
    s: S,
    mut acc: Acc<S, M>,
    rows: [&[f32]; M],
    panel: &Panel,
) -> Acc<S, M> {
    // Equal lengths, visible to the compiler: no bounds check is left in the loop.
    let (body, rest) = panel.as_chunks::<UNROLL>();
    let n = body.len();
    let mut chunks: [&[[f32; UNROLL]]; M] = [&[]; M];
    for r in 0..M {
        chunks[r] = &rows[r].as_chunks::<UNROLL>().0[..n];
    }
    for k in 0..n {
        for u in 0..UNROLL {
            let (b0, b1) = (s.load(&body[k][u][0]), s.load(&body[k][u][1]));
            for r in 0..M {
                let a = s.splat(chunks[r][k][u]);
                acc[r][0] = s.mul_add(a, b0, acc[r][0]);
                acc[r][1] = s.mul_add(a, b1, acc[r][1]);
            }
        }
    }
    for (k, b) in rest.iter().enumerate() {
        let (b0, b1) = (s.load(&b[0]), s.load(&b[1]));
        for r in 0..M {
            let a = s.splat(rows[r][n * UNROLL + k]);
            acc[r][0] = s.mul_add(a, b0, acc[r][0]);
            acc[r][1] = s.mul_add(a, b1, acc[r][1]);
        }
    }
    acc
}

/// Stores a row of accumulators at the start of `y`, or in all of it if it is shorter than a tile.
#[inline(always)]
pub(crate) fn store_row<S: Simd, E: Epilogue>(s: S, acc: [S::V; 2], y: &mut [f32], e: E) {
    if let Some(y) = y.first_chunk_mut::<NR>() {
        let [lo, hi] = y.as_chunks_mut::<LANES>().0 else { unreachable!() };
        let a = e.finish(s, acc[0], || s.load(lo));
        let b = e.finish(s, acc[1], || s.load(hi));
        s.store(a, lo);
        s.store(b, hi);
    } else {
        let (lo, hi) = y.split_at_mut(LANES.min(y.len()));
        store_tail(s, acc[0], lo, e);
        if !hi.is_empty() {
            store_tail(s, acc[1], hi, e);
        }
    }
}

/// [`store_row`] of at most eight columns.
#[inline(always)]
fn store_tail<S: Simd, E: Epilogue>(s: S, v: S::V, y: &mut [f32], e: E) {
    let v = e.finish(s, v, || s.load_tail(y));
    s.store_tail(v, y);
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

/// y[rows.y[r] + column] = e(sum over k of a[rows.a[r] + k] * panel[k][column]) for the `M` first rows.
#[inline(always)]
fn tile_of<S: Simd, E: Epilogue, const M: usize>(
    s: S,
    a: &[f32],
    panel: &Panel,
    rows: &Rows,
    y: &mut [f32],
    columns: Columns,
    e: E,
) {
    let mut slices: [&[f32]; M] = [&[]; M];
    for (r, slice) in slices.iter_mut().enumerate() {
        // Beyond the last row the first is read again and the result dropped: fewer tiles to compile.
        let at = if r < rows.count { rows.a[r] } else { rows.a[0] };
        *slice = &a[at..][..panel.len()];
    }
    let acc = accumulate(s, start(s, columns.first, e), slices, panel);
    for r in 0..M.min(rows.count) {
        let y = &mut y[rows.y[r] + columns.first..rows.y[r] + columns.end];
        store_row(s, acc[r], y, e);
    }
}

/// [`tile_of`] for as many rows as there are.
#[inline(always)]
pub(crate) fn tile<S: Simd, E: Epilogue>(
    s: S,
    a: &[f32],
    panel: &Panel,
    rows: &Rows,
    y: &mut [f32],
    columns: Columns,
    e: E,
) {
    if rows.count > 3 {
        tile_of::<S, E, 6>(s, a, panel, rows, y, columns, e);
    } else if rows.count > 0 {
        tile_of::<S, E, 3>(s, a, panel, rows, y, columns, e);
    }
}
