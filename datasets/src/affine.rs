//! An affine map of a face, sampled bilinearly.

use crate::faces::{PIXELS, SIDE};

/// Fractional bits of the fixed-point coordinates: 2^-16 pixel steps drift by less than 0.001 pixel
/// over a row, and integer coordinates give the same bits on every machine.
const FRACTION: u32 = 16;
const ONE: i32 = 1 << FRACTION;
/// The last pixel's coordinate.
const EDGE: i32 = (SIDE as i32 - 1) << FRACTION;
/// Two rows and two columns cover the neighbours of a sample: its upper left one and 49 pixels on.
const WINDOW: usize = SIDE + 2;

/// An affine map from output to input pixel coordinates.
///
/// Pixel centres are at whole coordinates, x to the right, y down; rotation, zoom, shear and
/// mirroring are about the face's centre (23.5, 23.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// `[[x per x, x per y, x at 0], [y per x, y per y, y at 0]]`.
    rows: [[f64; 3]; 2],
}

impl Affine {
    /// The map that shows the face mirrored (if `flip`), sheared, enlarged by `zoom`, turned
    /// clockwise by `angle` degrees and finally moved by `shift` pixels (right, down).
    pub fn new(angle: f32, zoom: f32, shear: f32, shift: (f32, f32), flip: bool) -> Self {
        let (sin, cos) = f64::from(angle).to_radians().sin_cos();
        let shrink = 1.0 / f64::from(zoom);
        let mirror = if flip { -1.0 } else { 1.0 };
        let shear = f64::from(shear);
        // Inverse steps in reverse order: unshift, unrotate, unzoom, unshear, mirror.
        let a = mirror * shrink * (cos + shear * sin);
        let b = mirror * shrink * (sin - shear * cos);
        let c = -sin * shrink;
        let d = cos * shrink;
        let centre = (SIDE as f64 - 1.0) / 2.0;
        let (x, y) = (centre + f64::from(shift.0), centre + f64::from(shift.1));
        Self { rows: [[a, b, centre - a * x - b * y], [c, d, centre - c * x - d * y]] }
    }

    /// The input point that the output point (x, y) shows.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [u, v] = self.rows.map(|[per_x, per_y, origin]| per_x * x + per_y * y + origin);
        (u, v)
    }

    /// Samples `face` at every output pixel and writes `value * factor + addend`.
    pub fn sample(&self, face: &[u8; PIXELS], factor: f32, addend: f32, out: &mut [f32; PIXELS]) {
        let [du, dv] = self.rows.map(|row| fixed(row[0], 256.0));
        for (y, line) in out.chunks_exact_mut(SIDE).enumerate() {
            let (u, v) = self.at(0.0, y as f64);
            let (u, v) = (fixed(u, 8192.0), fixed(v, 8192.0));
            let inside = interior(u, du).intersect(interior(v, dv));
            let mut clamped = |range: std::ops::Range<usize>| {
                for x in range {
                    let (u, v) = (u + x as i32 * du, v + x as i32 * dv);
                    line[x] = nearest(face, u, v) * factor + addend;
                }
            };
            clamped(0..inside.start);
            clamped(inside.end..SIDE);
            let (mut u, mut v) = (u + inside.start as i32 * du, v + inside.start as i32 * dv);
            for out in &mut line[inside.start..inside.end] {
                *out = bilinear(face, u >> FRACTION, v >> FRACTION, u & (ONE - 1), v & (ONE - 1)) * factor
                    + addend;
                u += du;
                v += dv;
            }
        }
    }
}

/// Fixed-point form of a coordinate or slope, kept within `limit`.
///
/// An origin within 8192 and 48 steps within 256 pixels add up to less than the 32768 that fit. Maps
/// in the ranges of [`Augment::check`] stay far below either limit.
fn fixed(value: f64, limit: f64) -> i32 {
    (value.clamp(-limit, limit) * f64::from(ONE)).round() as i32
}

/// The output columns `start..end` of one row.
#[derive(Clone, Copy)]
struct Columns {
    start: usize,
    end: usize,
}

impl Columns {
    fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }
}

/// The columns x of a row with `0 <= origin + x * step < EDGE`: there a sample has all four
/// neighbours and needs no clamping.
fn interior(origin: i32, step: i32) -> Columns {
    let (origin, step) = (i64::from(origin), i64::from(step));
    let (low, high) = (0 - origin, i64::from(EDGE) - 1 - origin);
    let (first, last) = match step {
        0 if low <= 0 && 0 <= high => (0, SIDE as i64 - 1),
        0 => (0, -1),
        1.. => (-(-low).div_euclid(step), high.div_euclid(step)),
        // A negative step turns the bounds round: -high <= x * -step <= -low.
        _ => (-high.div_euclid(-step), (-low).div_euclid(-step)),
    };
    let column = |x: i64| x.clamp(0, SIDE as i64) as usize;
    let start = column(first);
    Columns { start, end: column(last.saturating_add(1)).max(start) }
}

/// Bilinear sample with coordinates outside the face moved to its edge.
fn nearest(face: &[u8; PIXELS], u: i32, v: i32) -> f32 {
    let (u, v) = (u.clamp(0, EDGE), v.clamp(0, EDGE));
    // The last row and column are reached from the one before with a full fraction.
    let (x, y) = ((u >> FRACTION).min(SIDE as i32 - 2), (v >> FRACTION).min(SIDE as i32 - 2));
    bilinear(face, x, y, u - (x << FRACTION), v - (y << FRACTION))
}

/// The value at (x + u / ONE, y + v / ONE) for `0 <= x, y <= 46` and `0 <= u, v <= ONE`.
#[inline(always)]
fn bilinear(face: &[u8; PIXELS], x: i32, y: i32, u: i32, v: i32) -> f32 {
    let start = (y * SIDE as i32 + x) as usize;
    // One bounds check for the four pixels.
    let Some(window) = face.get(start..).and_then(|rest| rest.first_chunk::<WINDOW>()) else {
        debug_assert!(false, "sample outside the face");
        return 0.0;
    };
    let [a, b, c, d] = [window[0], window[1], window[SIDE], window[SIDE + 1]].map(f32::from);
    let (u, v) = (u as f32 * (1.0 / ONE as f32), v as f32 * (1.0 / ONE as f32));
    let top = a + (b - a) * u;
    let bottom = c + (d - c) * u;
    top + (bottom - top) * v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Augment, Rng};

    fn textured() -> [u8; PIXELS] {
        let mut rng = Rng::new(1);
        std::array::from_fn(|_| rng.below(256) as u8)
    }

    fn sample(map: Affine, face: &[u8; PIXELS]) -> [f32; PIXELS] {
        let mut out = [f32::NAN; PIXELS];
        map.sample(face, 1.0, 0.0, &mut out);
        out
    }

    #[test]
    fn whole_shifts_move_pixels_and_fill_with_the_nearest() {
        let face = textured();
        let out = sample(Affine::new(0.0, 1.0, 0.0, (3.0, -2.0), false), &face);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (from_x, from_y) = (x.saturating_sub(3), (y + 2).min(SIDE - 1));
                assert_eq!(out[y * SIDE + x], f32::from(face[from_y * SIDE + from_x]), "({x}, {y})");
            }
        }
    }

    #[test]
    fn a_quarter_turn_is_a_permutation_of_pixels() {
        let face = textured();
        let out = sample(Affine::new(90.0, 1.0, 0.0, (0.0, 0.0), false), &face);
        for y in 0..SIDE {
            for x in 0..SIDE {
                // Clockwise: what was at the left is at the top.
                assert_eq!(out[y * SIDE + x], f32::from(face[(SIDE - 1 - x) * SIDE + y]));
            }
        }
    }

    #[test]
    fn known_points() {
        let near = |(x, y): (f64, f64), (u, v): (f64, f64)| (x - u).abs() < 1e-5 && (y - v).abs() < 1e-5;
        let (half, root) = (23.5, 0.75_f64.sqrt());
        // A point 10 right of the centre, turned 30 degrees clockwise, is right and below.
        let turned = Affine::new(30.0, 1.0, 0.0, (0.0, 0.0), false);
        assert!(near(turned.at(half + 10.0 * root, half + 5.0), (half + 10.0, half)));
        let zoomed = Affine::new(0.0, 2.0, 0.0, (0.0, 0.0), false);
        assert!(near(zoomed.at(half + 10.0, half - 4.0), (half + 5.0, half - 2.0)));
        let sheared = Affine::new(0.0, 1.0, 0.5, (0.0, 0.0), false);
        assert!(near(sheared.at(half + 5.0, half + 10.0), (half, half + 10.0)));
        let all = Affine::new(30.0, 2.0, 0.5, (4.0, 1.0), true);
        // Forwards by hand: mirror, shear, zoom, turn, shift.
        let (x, y) = (-3.0 + 0.5 * 2.0, 2.0);
        let (x, y) = (2.0 * x, 2.0 * y);
        let (x, y) = (root * x - 0.5 * y, 0.5 * x + root * y);
        assert!(near(all.at(half + x + 4.0, half + y + 1.0), (half + 3.0, half + 2.0)));
    }

    #[test]
    fn fast_and_clamped_samples_agree_with_a_plain_evaluation() {
        let face = textured();
        let mut rng = Rng::new(9);
        let wild = Augment {
            rotation_degrees: 180.0,
            zoom: 0.9,
            shear: 2.0,
            shift: 1.0,
            flip: 0.5,
            ..Augment::none()
        };
        for ranges in [Augment::paper(), wild] {
            for _ in 0..200 {
                let map = ranges.draw(&mut rng);
                let out = sample(map, &face);
                for (i, &got) in out.iter().enumerate() {
                    let (u, v) = map.at((i % SIDE) as f64, (i / SIDE) as f64);
                    let (u, v) = (u.clamp(0.0, 47.0), v.clamp(0.0, 47.0));
                    let (x, y) = (u.floor().min(46.0), v.floor().min(46.0));
                    let at =
                        |dx: usize, dy: usize| f64::from(face[(y as usize + dy) * SIDE + x as usize + dx]);
                    let (u, v) = (u - x, v - y);
                    let expected = at(0, 0) * (1.0 - u) * (1.0 - v)
                        + at(1, 0) * u * (1.0 - v)
                        + at(0, 1) * (1.0 - u) * v
                        + at(1, 1) * u * v;
                    assert!((f64::from(got) - expected).abs() < 0.6, "{map:?} at {i}: {got} {expected}");
                }
            }
        }
    }
}
