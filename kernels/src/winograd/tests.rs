//! The algorithm in one dimension, exact cases, and how large the rounding error is at the network's shape.

use super::transform::{Gradient, Input, Line, SIDE, TILE, output_line, sum_line, weight_line};
use super::winograd_pays;
use crate::simd::portable::Portable;
use crate::{Conv, Conv3x3Kernels, ConvBackward, Grad, Isa, Shape, Simd, WinogradKernels};

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
        for (i, a) in a.iter().enumerate() {
            let y: f64 = (0..SIDE).map(|f| a[f] * g[f][k] * b[f][j]).sum();
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
        for (i, a) in a.iter().enumerate() {
            assert_eq!(a[f], at[f][i]);
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
    let (output, weights) = (largest((0..TILE).map(output).collect()), largest((0..3).map(tap).collect()));
    assert!((23.6..23.75).contains(&output), "{output}");
    assert!((28.2..28.4).contains(&weights), "{weights}");
}

fn forward(isa: Isa, conv: &Conv, x: &[f32], w: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; conv.y().len()];
    let mut scratch = vec![f32::NAN; f32::winograd_forward_scratch(conv)];
    f32::winograd_forward(isa, conv, x, w, &mut y, &mut scratch);
    y
}

/// Uniform in -1..1.
fn draw(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The middle tap alone, from each channel to itself, gives the map back to a few roundings of 1.
#[test]
fn identity_gives_the_map_back() {
    for isa in Isa::available() {
        let conv = Conv { x: Shape::new(1, 9, 10, 3), cout: 3, stride: 1 };
        let x = draw(conv.x.len(), 1);
        let mut w = [0.0; 81];
        (0..3).for_each(|c| w[(4 * 3 + c) * 3 + c] = 1.0);
        for (x, y) in x.iter().zip(forward(isa, &conv, &x, &w)) {
            assert!((x - y).abs() <= 16.0 * f32::EPSILON, "{y} instead of {x} on {isa:?}");
        }
    }
}

/// All ones count the taps inside the map.
#[test]
fn constant_images_count_taps() {
    for isa in Isa::available() {
        let conv = Conv { x: Shape::new(2, 6, 5, 2), cout: 1, stride: 1 };
        let y = forward(isa, &conv, &[1.0; 120], &[1.0; 18]);
        for (p, y) in y.iter().enumerate() {
            let (h, w) = (p / 5 % 6, p % 5);
            let taps = |i: usize, n: usize| if i == 0 || i + 1 == n { 2.0 } else { 3.0 };
            let want = 2.0 * taps(h, 6) * taps(w, 5);
            assert!((y - want).abs() <= 256.0 * f32::EPSILON, "{y} instead of {want} at {h}, {w} on {isa:?}");
        }
    }
}

#[test]
fn pays_where_measured() {
    let conv = |map, cin, cout| Conv { x: Shape::new(32, map, map, cin), cout, stride: 1 };
    assert!(winograd_pays(&conv(48, 32, 32)));
    assert!(winograd_pays(&conv(12, 128, 128)));
    assert!(winograd_pays(&conv(12, 256, 256)));
    assert!(!winograd_pays(&conv(48, 1, 32)));
    assert!(!winograd_pays(&conv(6, 128, 256)));
    assert!(!winograd_pays(&conv(3, 256, 128)));
}

/// Largest and mean error over the largest value.
fn errors(got: &[f32], want: &[f64]) -> (f64, f64) {
    let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let errors: Vec<f64> = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs() / largest).collect();
    (errors.iter().fold(0.0, |m: f64, e| m.max(*e)), errors.iter().sum::<f64>() / errors.len() as f64)
}

type Results<T> = [Vec<T>; 3];

/// y, dx and dw.
fn all_passes<T: Copy + Default>(
    conv: &Conv,
    x: &[T],
    w: &[T],
    dy: &[T],
    scratch: usize,
    forward: impl Fn(&Conv, &[T], &[T], &mut [T], &mut [T]),
    backward: impl Fn(&Conv, ConvBackward<'_, T>),
) -> Results<T> {
    let zeros = |n| vec![T::default(); n];
    let (mut y, mut dx, mut dw, mut scratch) =
        (zeros(dy.len()), zeros(x.len()), zeros(w.len()), zeros(scratch));
    forward(conv, x, w, &mut y, &mut scratch);
    let (to_x, to_w) = (Some(Grad::set(&mut dx)), Grad::set(&mut dw));
    backward(conv, ConvBackward { x, w, dy, dx: to_x, dw: to_w, scratch: &mut scratch });
    [y, dx, dw]
}

/// Rounding at the input module's convolution, beside that of the direct kernels; `--nocapture` prints it.
#[test]
fn errors_stay_near_the_direct_ones() {
    let isa = Isa::fastest();
    let conv = Conv { x: Shape::new(4, 48, 48, 32), cout: 32, stride: 1 };
    let [x, w, dy] =
        [(conv.x.len(), 1), (9 * 32 * 32, 2), (conv.y().len(), 3)].map(|(n, seed)| draw(n, seed));
    let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let truth = all_passes::<f64>(
        &conv,
        &wide(&x),
        &wide(&w),
        &wide(&dy),
        0,
        |c, x, w, y, s| f64::winograd_forward(isa, c, x, w, y, s),
        |c, args| f64::winograd_backward(isa, c, args),
    );
    let scratch = f32::winograd_backward_scratch(&conv).max(f32::winograd_forward_scratch(&conv));
    let winograd = all_passes::<f32>(
        &conv,
        &x,
        &w,
        &dy,
        scratch,
        |c, x, w, y, s| f32::winograd_forward(isa, c, x, w, y, s),
        |c, args| f32::winograd_backward(isa, c, args),
    );
    let scratch = f32::conv3x3_backward_scratch(&conv).max(f32::conv3x3_forward_scratch(&conv));
    let direct = all_passes::<f32>(
        &conv,
        &x,
        &w,
        &dy,
        scratch,
        |c, x, w, y, s| f32::conv3x3_forward(isa, c, x, w, y, s),
        |c, args| f32::conv3x3_backward(isa, c, args),
    );
    for (i, name) in ["y", "dx", "dw"].into_iter().enumerate() {
        let ((most, mean), plain) = (errors(&winograd[i], &truth[i]), errors(&direct[i], &truth[i]));
        println!("{name}: Winograd {most:.1e} mean {mean:.1e}, direct {:.1e} mean {:.1e}", plain.0, plain.1);
        // With a = 1, b = 2 the mean would be twice, the largest three to five times as large.
        assert!(most < 3e-6 && mean < 4e-7, "{name}: {most:e}, mean {mean:e}");
    }
}
