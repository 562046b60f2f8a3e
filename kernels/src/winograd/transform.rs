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

use crate::Simd;
use crate::epilogue::Epilogue;
use crate::gemm::NR;
use crate::simd::LANES;

/// Outputs of a tile in each dimension.
pub(crate) const TILE: usize = 4;
/// Products of a tile in each dimension.
pub(crate) const SIDE: usize = 6;
/// Products of a tile.
pub(crate) const POINTS: usize = SIDE * SIDE;
/// Channels that are transformed together: a cache line, and the columns of a register tile. Channels are
/// filled up with zeros to a multiple.
pub(crate) const GROUP: usize = NR;

/// [`GROUP`] channels of a line of six: of a column of pixels after the vertical transform, or of the products of
/// a tile at six points.
pub(crate) type Six = [[[f32; LANES]; 2]; SIDE];
/// Elements of a [`Six`].
pub(crate) const SIX: usize = SIDE * GROUP;

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
pub(crate) fn output_line<Z: Simd>(s: Z, m: [Z::V; SIDE]) -> [Z::V; TILE] {
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
pub(crate) fn weight_line<Z: Simd>(s: Z, w: [Z::V; 3]) -> [Z::V; SIDE] {
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
pub(crate) fn sum_line<Z: Simd>(s: Z, m: [Z::V; SIDE]) -> [Z::V; 3] {
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

/// Reads element `i` of half a group.
#[inline(always)]
fn load_half<Z: Simd>(s: Z, six: &Six, i: usize, half: usize) -> Z::V {
    s.load(&six[i][half])
}

/// Writes half a group.
#[inline(always)]
fn store_half<Z: Simd>(s: Z, v: [Z::V; SIDE], to: &mut Six, half: usize) {
    for i in 0..SIDE {
        s.store(v[i], &mut to[i][half]);
    }
}

/// Transforms the pixels under row `row` of the tiles vertically: `strip`, `[groups, columns]`, gets the six points
/// of every column, those left and right of the map included. `zero` stands for a row of pixels outside the map.
#[inline(always)]
pub(crate) fn columns<Z: Simd, L: Line<N>, const N: usize>(
    s: Z,
    map: Map,
    row: usize,
    x: &[f32],
    zero: &[f32],
    strip: &mut [Six],
) {
    let Map { h, w, c } = map;
    // A tile of six begins a pixel above and left of its outputs.
    let before = (N - TILE) / 2;
    let len = w * c;
    let mut rows = [&zero[..len]; N];
    for (i, source) in rows.iter_mut().enumerate() {
        let r = row * TILE + i;
        if (before..h + before).contains(&r) {
            *source = &x[(r - before) * len..][..len];
        }
    }
    let width = map.tiles() * TILE + N - TILE;
    for strip in strip.chunks_exact_mut(width).take(map.groups()) {
        let (left, inside) = strip.split_at_mut(before);
        left.iter_mut().chain(&mut inside[w..]).for_each(|column| *column = [[[0.0; LANES]; 2]; SIDE]);
    }
    for p in 0..w {
        for g in 0..map.groups() {
            let column = &mut strip[g * width + before + p];
            let (at, end) = (p * c + g * GROUP, p * c + c.min((g + 1) * GROUP));
            if end - at == GROUP {
                for half in 0..2 {
                    let mut d = [s.zero(); N];
                    for i in 0..N {
                        let pixel = rows[i][at..at + GROUP].as_chunks::<LANES>().0;
                        d[i] = s.load(&pixel[half]);
                    }
                    store_half(s, L::line(s, d), column, half);
                }
            } else {
                for half in 0..2 {
                    let lanes = end.min(at + half * LANES)..end.min(at + (half + 1) * LANES);
                    let mut d = [s.zero(); N];
                    for i in 0..N {
                        d[i] = s.load_tail(&rows[i][lanes.clone()]);
                    }
                    store_half(s, L::line(s, d), column, half);
                }
            }
        }
    }
}

/// The horizontal half: from row `i` of the points of a strip to the six points of each tile, `[tiles, groups]`.
#[inline(always)]
pub(crate) fn lines<Z: Simd, L: Line<N>, const N: usize>(
    s: Z,
    map: Map,
    i: usize,
    strip: &[Six],
    tiles: &mut [Six],
) {
    let width = map.tiles() * TILE + N - TILE;
    for (t, tile) in tiles.chunks_exact_mut(map.groups()).take(map.tiles()).enumerate() {
        for (tile, strip) in tile.iter_mut().zip(strip.chunks_exact(width)) {
            let columns = strip[t * TILE..].first_chunk::<N>().expect("columns of a tile");
            for half in 0..2 {
                let mut d = [s.zero(); N];
                for j in 0..N {
                    d[j] = load_half(s, &columns[j], i, half);
                }
                store_half(s, L::line(s, d), tile, half);
            }
        }
    }
}

/// The way back: from the products of row `i` of the points, `[tiles, groups]`, to that row of a strip.
#[inline(always)]
pub(crate) fn lines_back<Z: Simd>(s: Z, map: Map, i: usize, tiles: &[Six], strip: &mut [Six]) {
    let width = map.tiles() * TILE;
    for (t, tile) in tiles.chunks_exact(map.groups()).take(map.tiles()).enumerate() {
        for (tile, strip) in tile.iter().zip(strip.chunks_exact_mut(width)) {
            let columns = strip[t * TILE..].first_chunk_mut::<TILE>().expect("columns of a tile");
            for half in 0..2 {
                let mut d = [s.zero(); SIDE];
                for j in 0..SIDE {
                    d[j] = s.load(&tile[j][half]);
                }
                let v = output_line(s, d);
                for j in 0..TILE {
                    s.store(v[j], &mut columns[j][i][half]);
                }
            }
        }
    }
}

/// From a strip to the pixels under row `row` of the tiles: `y` holds whole rows of pixels, from there on.
#[inline(always)]
pub(crate) fn columns_back<Z: Simd, E: Epilogue>(
    s: Z,
    map: Map,
    row: usize,
    strip: &[Six],
    y: &mut [f32],
    e: E,
) {
    let Map { h, w, c } = map;
    let rows = TILE.min(h - row * TILE);
    let y = &mut y[..rows * w * c];
    let width = map.tiles() * TILE;
    for p in 0..w {
        for block in 0..c.div_ceil(LANES) {
            let column = &strip[block / 2 * width + p];
            let mut d = [s.zero(); SIDE];
            for i in 0..SIDE {
                d[i] = s.load(&column[i][block % 2]);
            }
            let v = output_line(s, d);
            let lanes = p * c + block * LANES..p * c + c.min((block + 1) * LANES);
            for (v, y) in v.into_iter().zip(y.chunks_exact_mut(w * c)) {
                put(s, v, &mut y[lanes.clone()], block * LANES, e);
            }
        }
    }
}

/// Stores a vector of columns from `column` on, or the start of one.
#[inline(always)]
fn put<Z: Simd, E: Epilogue>(s: Z, v: Z::V, y: &mut [f32], column: usize, e: E) {
    let v = e.shift(s, column, v);
    if let Some(y) = y.first_chunk_mut() {
        let v = e.finish(s, v, || s.load(y));
        s.store(v, y);
    } else {
        let v = e.finish(s, v, || s.load_tail(y));
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
