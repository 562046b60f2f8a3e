//! The transforms of F(4x4, 3x3): a tile of 4x4 outputs from 6x6 inputs with 36 products instead of 144.
//!
//! Lavin and Gray 2016 ("Fast Algorithms for Convolutional Neural Networks"): y = A^T ((G w G^T) . (B^T x B)) A.
//! The matrices follow from five points at which polynomials are evaluated, and infinity. Their 0, +-1, +-2
//! would amplify rounding errors by up to 48 a dimension; 0, +-a, +-b with a = 5/8 and b = 3/2 by 24 at the same
//! cost, all entries of A and B being exact in f32 (Barabasz et al. 2020, "Error Analysis and Improving the
//! Accuracy of Winograd Convolution for Deep Neural Networks", on the choice of points). With p = a^2 b^2,
//! s = a^2 + b^2, u = 2 a^2 (a^2 - b^2) and v = 2 b^2 (b^2 - a^2):
//!
//! ```text
//!       [ p     0   -s    0   1   0 ]         [ 1/p    0      0   ]         [ 1   1    1    1    1   0 ]
//!       [ 0  -ab^2 -b^2   a   1   0 ]         [ 1/u   a/u   a^2/u ]   A^T = [ 0   a   -a    b   -b   0 ]
//! B^T = [ 0   ab^2 -b^2  -a   1   0 ]     G = [ 1/u  -a/u   a^2/u ]         [ 0  a^2  a^2  b^2  b^2  0 ]
//!       [ 0  -a^2b -a^2   b   1   0 ]         [ 1/v   b/v   b^2/v ]         [ 0  a^3 -a^3  b^3 -b^3  1 ]
//!       [ 0   a^2b -a^2  -b   1   0 ]         [ 1/v  -b/v   b^2/v ]
//!       [ 0     p    0   -s   0   1 ]         [  0     0      1   ]
//! ```
//!
//! The gradient of the weights is the same sum read the other way, F(3x3, 4x4):
//! dw = G^T (sum over tiles of (B^T x B) . (A dy A^T)) G.

use crate::gemm::NR;
use crate::simd::LANES;
use crate::{Mode, Simd};

/// Outputs of a tile in each dimension.
pub(crate) const TILE: usize = 4;
/// Products of a tile in each dimension.
pub(crate) const SIDE: usize = 6;
/// Products of a tile.
pub(crate) const POINTS: usize = SIDE * SIDE;
/// Channels that are transformed together: a cache line, and the columns of a register tile. Channels are
/// filled up with zeros to a multiple.
pub(crate) const GROUP: usize = NR;

/// A transformed tile of [`GROUP`] channels, point by point. One line of padding: tiles of 36 lines would share
/// few sets of the first-level cache.
pub(crate) type Spectrum = [[[f32; LANES]; 2]; POINTS + 1];
/// Elements of a [`Spectrum`].
pub(crate) const SPECTRUM: usize = (POINTS + 1) * GROUP;
/// A column of pixels after the vertical transform.
pub(crate) type Column = [[[f32; LANES]; 2]; SIDE];
/// Elements of a [`Column`].
pub(crate) const COLUMN: usize = SIDE * GROUP;

const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
const P: f32 = A2 * B2;
const S: f32 = A2 + B2;
const U: f32 = 2.0 * A2 * (A2 - B2);
const V: f32 = 2.0 * B2 * (B2 - A2);

/// k * x
#[inline(always)]
fn times<Z: Simd>(s: Z, k: f32, x: Z::V) -> Z::V {
    s.mul(s.splat(k), x)
}

/// k * x + y
#[inline(always)]
fn fma<Z: Simd>(s: Z, k: f32, x: Z::V, y: Z::V) -> Z::V {
    s.mul_add(s.splat(k), x, y)
}

/// A transform of one dimension from `N` pixels to six points.
pub(crate) trait Line<const N: usize> {
    /// The transform.
    fn line<S: Simd>(s: S, d: [S::V; N]) -> [S::V; SIDE];
}

/// B^T: of the input, whose tiles overlap by two pixels.
pub(crate) struct Input;

impl Line<SIDE> for Input {
    #[inline(always)]
    fn line<Z: Simd>(s: Z, d: [Z::V; SIDE]) -> [Z::V; SIDE] {
        let (even_a, odd_a) = (fma(s, -B2, d[2], d[4]), fma(s, -B2, d[1], d[3]));
        let (even_b, odd_b) = (fma(s, -A2, d[2], d[4]), fma(s, -A2, d[1], d[3]));
        [
            fma(s, P, d[0], fma(s, -S, d[2], d[4])),
            fma(s, A, odd_a, even_a),
            fma(s, -A, odd_a, even_a),
            fma(s, B, odd_b, even_b),
            fma(s, -B, odd_b, even_b),
            fma(s, P, d[1], fma(s, -S, d[3], d[5])),
        ]
    }
}

/// A: of the gradient of the output, whose tiles do not overlap.
pub(crate) struct Gradient;

impl Line<TILE> for Gradient {
    #[inline(always)]
    fn line<Z: Simd>(s: Z, d: [Z::V; TILE]) -> [Z::V; SIDE] {
        let (even_a, odd_a) = (fma(s, A2, d[2], d[0]), fma(s, A2, d[3], d[1]));
        let (even_b, odd_b) = (fma(s, B2, d[2], d[0]), fma(s, B2, d[3], d[1]));
        [
            d[0],
            fma(s, A, odd_a, even_a),
            fma(s, -A, odd_a, even_a),
            fma(s, B, odd_b, even_b),
            fma(s, -B, odd_b, even_b),
            d[3],
        ]
    }
}

/// A^T: from points to outputs.
#[inline(always)]
fn output_line<Z: Simd>(s: Z, m: [Z::V; SIDE]) -> [Z::V; TILE] {
    let (even_a, odd_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (even_b, odd_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(s.add(even_a, even_b), m[0]),
        fma(s, A, odd_a, times(s, B, odd_b)),
        fma(s, A2, even_a, times(s, B2, even_b)),
        fma(s, A * A2, odd_a, fma(s, B * B2, odd_b, m[5])),
    ]
}

/// G: of the weights.
#[inline(always)]
fn weight_line<Z: Simd>(s: Z, w: [Z::V; 3]) -> [Z::V; SIDE] {
    let (even_a, odd_a) = (times(s, 1.0 / U, fma(s, A2, w[2], w[0])), times(s, A / U, w[1]));
    let (even_b, odd_b) = (times(s, 1.0 / V, fma(s, B2, w[2], w[0])), times(s, B / V, w[1]));
    [
        times(s, 1.0 / P, w[0]),
        s.add(even_a, odd_a),
        s.sub(even_a, odd_a),
        s.add(even_b, odd_b),
        s.sub(even_b, odd_b),
        w[2],
    ]
}

/// G^T: from points to the gradient of the weights.
#[inline(always)]
fn sum_line<Z: Simd>(s: Z, m: [Z::V; SIDE]) -> [Z::V; 3] {
    let (even_a, odd_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (even_b, odd_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        fma(s, 1.0 / U, even_a, fma(s, 1.0 / V, even_b, times(s, 1.0 / P, m[0]))),
        fma(s, A / U, odd_a, times(s, B / V, odd_b)),
        fma(s, A2 / U, even_a, fma(s, B2 / V, even_b, m[5])),
    ]
}

/// Geometry of an image: rows, columns and channels.
#[derive(Clone, Copy)]
pub(crate) struct Map {
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
}

impl Map {
    /// Tiles in a row of tiles.
    #[inline(always)]
    pub(crate) fn tiles(&self) -> usize {
        self.w.div_ceil(TILE)
    }

    /// Groups of channels.
    #[inline(always)]
    pub(crate) fn groups(&self) -> usize {
        self.c.div_ceil(GROUP)
    }
}

/// Transforms row `row` of the tiles of an image to `out`, `[tiles, groups]`. `zero` stands for a row of pixels
/// outside the map; `strip` has room for the columns of a row of tiles.
///
/// First all columns of pixels vertically, 16 channels at a time, then each tile horizontally: what two tiles
/// share is computed once (20 instead of 24 lines a tile).
#[inline(always)]
pub(crate) fn analyse<Z: Simd, L: Line<N>, const N: usize>(
    s: Z,
    map: Map,
    row: usize,
    x: &[f32],
    zero: &[f32],
    strip: &mut [Column],
    out: &mut [Spectrum],
) {
    let groups = map.groups();
    let strip = &mut strip[..map.tiles() * TILE + N - TILE];
    for g in 0..groups {
        columns::<Z, L, N>(s, map, row, g * GROUP, x, zero, strip);
        for (t, out) in out.chunks_exact_mut(groups).take(map.tiles()).enumerate() {
            let columns = strip[t * TILE..].first_chunk::<N>().expect("columns of a tile");
            let out = &mut out[g];
            for half in 0..2 {
                for i in 0..SIDE {
                    let mut d = [s.zero(); N];
                    for j in 0..N {
                        d[j] = s.load(&columns[j][i][half]);
                    }
                    let v = L::line(s, d);
                    for j in 0..SIDE {
                        s.store(v[j], &mut out[i * SIDE + j][half]);
                    }
                }
            }
        }
    }
}

/// The vertical half of [`analyse`] for the channels from `first`.
#[inline(always)]
fn columns<Z: Simd, L: Line<N>, const N: usize>(
    s: Z,
    map: Map,
    row: usize,
    first: usize,
    x: &[f32],
    zero: &[f32],
    strip: &mut [Column],
) {
    let Map { h, w, c } = map;
    // A tile of six begins a pixel above and left of its outputs.
    let before = (N - TILE) / 2;
    let width = GROUP.min(c - first);
    // The same length for all rows: one bounds check a column is left.
    let len = (w - 1) * c + width;
    let mut rows = [&zero[..len]; N];
    for i in 0..N {
        let r = row * TILE + i;
        if (before..h + before).contains(&r) {
            rows[i] = &x[(r - before) * w * c + first..][..len];
        }
    }
    let (left, inside) = strip.split_at_mut(before);
    let (inside, right) = inside.split_at_mut(w);
    left.iter_mut().chain(right).for_each(|column| *column = [[[0.0; LANES]; 2]; SIDE]);
    if width == GROUP {
        for (p, column) in inside.iter_mut().enumerate() {
            for half in 0..2 {
                let mut d = [s.zero(); N];
                for i in 0..N {
                    d[i] = s.load(rows[i][p * c..p * c + GROUP][half * LANES..].first_chunk().expect("half"));
                }
                let v = L::line(s, d);
                for i in 0..SIDE {
                    s.store(v[i], &mut column[i][half]);
                }
            }
        }
    } else {
        for (p, column) in inside.iter_mut().enumerate() {
            for half in 0..2 {
                let lanes = (half * LANES).min(width)..((half + 1) * LANES).min(width);
                let mut d = [s.zero(); N];
                for i in 0..N {
                    d[i] = s.load_tail(&rows[i][p * c..][lanes.clone()]);
                }
                let v = L::line(s, d);
                for i in 0..SIDE {
                    s.store(v[i], &mut column[i][half]);
                }
            }
        }
    }
}

/// Transforms `products`, `[tiles, groups]` of row `row` of the tiles, back to the pixels of the map: `y` holds
/// whole rows of pixels, from this row of tiles on.
#[inline(always)]
pub(crate) fn synthesise<Z: Simd>(
    s: Z,
    map: Map,
    row: usize,
    products: &[Spectrum],
    y: &mut [f32],
    mode: Mode,
) {
    let Map { h, w, c } = map;
    let groups = map.groups();
    let rows = TILE.min(h - row * TILE);
    for (t, products) in products.chunks_exact(groups).take(map.tiles()).enumerate() {
        let columns = TILE.min(w - t * TILE);
        for block in 0..c.div_ceil(LANES) {
            let (m, half) = (&products[block / 2], block % 2);
            let channel = block * LANES;
            let width = LANES.min(c - channel);
            let mut lines = [[s.zero(); SIDE]; TILE];
            for j in 0..SIDE {
                let mut d = [s.zero(); SIDE];
                for i in 0..SIDE {
                    d[i] = s.load(&m[i * SIDE + j][half]);
                }
                let v = output_line(s, d);
                for i in 0..TILE {
                    lines[i][j] = v[i];
                }
            }
            for i in 0..TILE {
                let v = output_line(s, lines[i]);
                if i < rows {
                    let y = &mut y[(i * w + t * TILE) * c + channel..];
                    for j in 0..TILE {
                        if j < columns {
                            put(s, v[j], &mut y[j * c..][..width], mode);
                        }
                    }
                }
            }
        }
    }
}

/// Writes or adds a vector, or the start of one.
#[inline(always)]
fn put<Z: Simd>(s: Z, v: Z::V, y: &mut [f32], mode: Mode) {
    if let Some(y) = y.first_chunk_mut() {
        let v = if mode == Mode::Add { s.add(s.load(y), v) } else { v };
        s.store(v, y);
    } else {
        let v = if mode == Mode::Add { s.add(s.load_tail(y), v) } else { v };
        s.store_tail(v, y);
    }
}

/// G w G^T of eight columns: nine taps in, 36 points out.
#[inline(always)]
pub(crate) fn weights<Z: Simd>(s: Z, taps: [Z::V; 9]) -> [[Z::V; SIDE]; SIDE] {
    let mut lines = [[s.zero(); 3]; SIDE];
    for j in 0..3 {
        let v = weight_line(s, [taps[j], taps[3 + j], taps[6 + j]]);
        for i in 0..SIDE {
            lines[i][j] = v[i];
        }
    }
    let mut points = [[s.zero(); SIDE]; SIDE];
    for i in 0..SIDE {
        points[i] = weight_line(s, lines[i]);
    }
    points
}

/// G^T m G of eight columns: 36 points in, nine taps out.
#[inline(always)]
pub(crate) fn taps<Z: Simd>(s: Z, points: [[Z::V; SIDE]; SIDE]) -> [[Z::V; 3]; 3] {
    let mut lines = [[s.zero(); SIDE]; 3];
    for j in 0..SIDE {
        let mut d = [s.zero(); SIDE];
        for i in 0..SIDE {
            d[i] = points[i][j];
        }
        let v = sum_line(s, d);
        for i in 0..3 {
            lines[i][j] = v[i];
        }
    }
    let mut taps = [[s.zero(); 3]; 3];
    for i in 0..3 {
        taps[i] = sum_line(s, lines[i]);
    }
    taps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    const S: Portable = Portable;

    /// The columns of a transform: what it makes of unit vectors, in f64.
    fn matrix<const N: usize, const M: usize>(
        line: impl Fn([<Portable as Simd>::V; N]) -> [<Portable as Simd>::V; M],
    ) -> [[f64; N]; M] {
        let mut m = [[0.0; N]; M];
        for j in 0..N {
            let mut unit = [S.zero(); N];
            unit[j] = S.splat(1.0);
            let column = line(unit);
            for i in 0..M {
                m[i][j] = S.to_array(column[i])[0].into();
            }
        }
        m
    }

    fn b() -> [[f64; SIDE]; SIDE] {
        matrix(|d| Input::line(S, d))
    }
    fn g() -> [[f64; 3]; SIDE] {
        matrix(|w| weight_line(S, w))
    }
    fn a() -> [[f64; SIDE]; TILE] {
        matrix(|m| output_line(S, m))
    }

    /// y_i = sum over k of d_(i + k) w_k for unit vectors d and w, in f64 from the f32 matrices: the rest is the
    /// rounding of G's constants.
    #[test]
    fn one_dimension_is_a_correlation() {
        let (b, g, a) = (b(), g(), a());
        for (j, k) in (0..SIDE).flat_map(|j| (0..3).map(move |k| (j, k))) {
            for i in 0..TILE {
                let y: f64 = (0..SIDE).map(|f| a[i][f] * g[f][k] * b[f][j]).sum();
                let want = if i + k == j { 1.0 } else { 0.0 };
                assert!((y - want).abs() < 1e-6, "output {i}, input {j}, tap {k}: {y}");
            }
        }
    }

    /// The transforms of the backward pass are those of the forward pass, transposed.
    #[test]
    fn backward_transforms_are_transposed() {
        let (g, a) = (g(), a());
        let (at, gt) = (matrix(|d| Gradient::line(S, d)), matrix(|m| sum_line(S, m)));
        for f in 0..SIDE {
            for i in 0..TILE {
                assert_eq!(a[i][f], at[f][i]);
            }
            for k in 0..3 {
                assert!((g[f][k] - gt[k][f]).abs() <= 1e-7 * g[f][k].abs());
            }
        }
    }

    /// The constants of the registry's error bound.
    #[test]
    fn amplification() {
        let (b, g, a) = (b(), g(), a());
        let sum = |x: &[f64]| x.iter().map(|x| x.abs()).sum::<f64>();
        let largest = |sums: Vec<f64>| sums.into_iter().fold(0.0, f64::max);
        let output = |i: usize| (0..SIDE).map(|f| a[i][f].abs() * sum(&g[f]) * sum(&b[f])).sum::<f64>();
        let tap = |k: usize| {
            let a = |f: usize| (0..TILE).map(|i| a[i][f].abs()).sum::<f64>();
            (0..SIDE).map(|f| g[f][k].abs() * a(f) * sum(&b[f])).sum::<f64>()
        };
        let (output, weights) =
            (largest((0..TILE).map(output).collect()), largest((0..3).map(tap).collect()));
        assert!((23.6..23.75).contains(&output), "{output}");
        assert!((28.2..28.4).contains(&weights), "{weights}");
    }
}
