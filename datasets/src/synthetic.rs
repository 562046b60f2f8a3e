//! Procedurally drawn faces of the seven expressions.
//!
//! They need no download, so that training, tests and demonstrations run anywhere. Each face is a
//! few parametric curves (brows, eyes with lids, nose, mouth, folds) whose geometry follows the
//! facial actions of its expression, drawn for a random identity, pose, lighting and camera:
//!
//! | class | what the face does |
//! | --- | --- |
//! | angry | brows down and together with a furrow, narrowed eyes, pressed lips |
//! | disgust | wrinkled nose, upper lip raised on one side, narrowed eyes, brows lowered |
//! | fear | brows raised and drawn together, wide eyes, mouth stretched sideways |
//! | happy | mouth corners up, often with teeth, raised cheeks and lower lids |
//! | sad | inner brows up, drooping lids, mouth corners down |
//! | surprise | brows high and arched, round eyes, round open mouth |
//! | neutral | none of that |
//!
//! Expressions vary in strength and every parameter is jittered, so that single pixels tell little;
//! a convolutional network separates the classes almost entirely.

use rayon::prelude::*;

use crate::canvas::{Canvas, Point};
use crate::faces::{Face, Faces, SIDE};
use crate::{Dataset, Error, Result, Rng, Split, classes};

/// Keeps these streams apart from those of other uses of the same seed.
const STREAM: u64 = 0x66_6163_65;

const CLASSES: usize = classes::FER2013.len();

/// The most faces per class that [`faces`] draws.
pub const MAX_PER_CLASS: usize = 100_000;

/// The data set `synthetic`: `per_class` training faces of each class, and a fifth of that (at least
/// one) each for validation and test.
///
/// # Errors
/// [`Error::Invalid`] for 0 or more than [`MAX_PER_CLASS`] faces per class.
pub fn dataset(seed: u64, per_class: usize) -> Result<Dataset> {
    let held_out = (per_class / 5).max(1);
    let [train, validation, test] = [(Split::Train, per_class), (Split::Validation, held_out), (Split::Test, held_out)]
        .map(|(split, per_class)| faces(seed, split, per_class));
    let names = classes::FER2013.map(str::to_owned).to_vec();
    Ok(Dataset::new("synthetic".to_owned(), names, [Some(train?), Some(validation?), Some(test?)]))
}

/// `per_class` faces of each class of [`classes::FER2013`], classes taking turns.
///
/// Face `i` depends on `seed`, `split` and `i` alone: asking for more faces keeps the first ones.
///
/// # Errors
/// [`Error::Invalid`] for 0 or more than [`MAX_PER_CLASS`] faces per class.
pub fn faces(seed: u64, split: Split, per_class: usize) -> Result<Faces> {
    if !(1..=MAX_PER_CLASS).contains(&per_class) {
        return Err(Error::invalid("synthetic faces per class", format!("1 to {MAX_PER_CLASS}"), per_class));
    }
    let mut faces = Faces::default();
    let drawn: Vec<Face> = (0..per_class * CLASSES)
        .into_par_iter()
        .map(|i| face(&mut Rng::stream(&[STREAM, seed, split as u64, i as u64]), i % CLASSES))
        .collect();
    for (i, face) in drawn.iter().enumerate() {
        faces.push(face, (i % CLASSES) as u8, i as u32, format!("synthetic {split} {i}"));
    }
    Ok(faces)
}

/// One face of class `label` (an index into [`classes::FER2013`]; beyond it, neutral).
pub fn face(rng: &mut Rng, label: usize) -> Face {
    let expression = Expression::draw(rng, label);
    let look = Look::draw(rng);
    let mut canvas = Canvas::new();
    look.head(&mut canvas);
    look.eyes(&mut canvas, &expression);
    look.brows(&mut canvas, &expression);
    look.nose(&mut canvas, &expression);
    look.mouth(&mut canvas, &expression);
    look.glasses(&mut canvas);
    occlude(&mut canvas, rng);
    photograph(&mut canvas, rng);
    canvas.to_face()
}

/// Displacements of the features from a neutral face, in face units (half a head's width is about
/// 0.8); y points down.
#[derive(Debug, Clone, Copy, Default)]
struct Expression {
    brow_inner: f32,
    brow_outer: f32,
    brow_arch: f32,
    /// Inner ends drawn together.
    brow_together: f32,
    furrow: f32,
    /// Change of the upper and lower lid's distance from the eye's centre.
    upper_lid: f32,
    lower_lid: f32,
    /// Outer corner of the upper lid lowered.
    lid_droop: f32,
    nose_wrinkle: f32,
    /// Fold from the nose to the mouth, and cheeks.
    fold: f32,
    mouth_width: f32,
    mouth_open: f32,
    /// Corners lowered.
    corners: f32,
    /// Upper lip raised, on one side more.
    lip_raise: f32,
    lip_skew: f32,
    /// 0 full lips to 1 pressed ones.
    pressed: f32,
    teeth: f32,
    /// Exponent of the lips' curves: 2 round, more is squarer.
    square: f32,
}

impl Expression {
    #[rustfmt::skip]
    fn draw(rng: &mut Rng, label: usize) -> Self {
        let open_smile = rng.uniform();
        let gape = rng.range(0.6, 1.1);
        let side = if rng.uniform() < 0.5 { 1.0 } else { -1.0 };
        let peak = match classes::FER2013.get(label).copied().unwrap_or_default() {
            "angry" => Self {
                brow_inner: 0.15, brow_outer: -0.05, brow_arch: -0.03, brow_together: 0.09, furrow: 1.0,
                upper_lid: -0.045, lower_lid: -0.02, mouth_width: -0.04, corners: 0.05, pressed: 1.0,
                ..Self::default()
            },
            "disgust" => Self {
                brow_inner: 0.09, brow_outer: 0.03, brow_together: 0.03, furrow: 0.3, upper_lid: -0.06,
                lower_lid: -0.035, nose_wrinkle: 1.0, fold: 0.8, mouth_open: 0.07, corners: 0.07,
                lip_raise: 0.13, lip_skew: 0.10 * side, teeth: 0.6, ..Self::default()
            },
            "fear" => Self {
                brow_inner: -0.20, brow_outer: -0.07, brow_arch: -0.02, brow_together: 0.07, furrow: 0.3,
                upper_lid: 0.075, lower_lid: 0.02, mouth_width: 0.12, mouth_open: 0.15, corners: 0.07,
                teeth: 0.5, square: 2.0, ..Self::default()
            },
            "happy" => Self {
                upper_lid: -0.025, lower_lid: -0.04, fold: 1.0, mouth_width: 0.13,
                mouth_open: 0.16 * open_smile, corners: -0.19, teeth: 1.0, ..Self::default()
            },
            "sad" => Self {
                brow_inner: -0.15, brow_outer: 0.08, brow_together: 0.03, upper_lid: -0.035, lid_droop: 0.07,
                mouth_width: -0.05, corners: 0.15, ..Self::default()
            },
            "surprise" => Self {
                brow_inner: -0.20, brow_outer: -0.18, brow_arch: 0.07, upper_lid: 0.09, lower_lid: 0.06,
                mouth_width: -0.16, mouth_open: 0.42 * gape, ..Self::default()
            },
            _ => Self::default(),
        };
        let strength = rng.range(0.7, 1.1);
        let mut vary = |value: f32, spread: f32| value * strength * rng.range(0.85, 1.15) + spread * rng.normal();
        Self {
            brow_inner: vary(peak.brow_inner, 0.015),
            brow_outer: vary(peak.brow_outer, 0.015),
            brow_arch: vary(peak.brow_arch, 0.015),
            brow_together: vary(peak.brow_together, 0.012),
            furrow: vary(peak.furrow, 0.0),
            upper_lid: vary(peak.upper_lid, 0.01),
            lower_lid: vary(peak.lower_lid, 0.008),
            lid_droop: vary(peak.lid_droop, 0.01),
            nose_wrinkle: vary(peak.nose_wrinkle, 0.0),
            fold: vary(peak.fold, 0.08),
            mouth_width: vary(peak.mouth_width, 0.02),
            mouth_open: vary(peak.mouth_open, 0.006),
            corners: vary(peak.corners, 0.018),
            lip_raise: vary(peak.lip_raise, 0.006),
            lip_skew: vary(peak.lip_skew, 0.008),
            pressed: vary(peak.pressed, 0.06).clamp(-0.3, 1.0),
            teeth: peak.teeth,
            square: 2.0 + peak.square,
        }
    }
}

/// Everything about a face but its expression: who it is, how it is turned and lit.
struct Look {
    centre: Point,
    /// Pixels per face unit.
    scale: f32,
    sin: f32,
    cos: f32,
    /// Head turned to a side: features shift within the outline.
    yaw: f32,
    pitch: f32,
    head_width: f32,
    head_height: f32,
    jaw: f32,
    hairline: f32,
    fringe: f32,
    hair_width: f32,
    eye_distance: f32,
    eye_width: f32,
    eye_height: f32,
    eye_y: f32,
    brow_y: f32,
    brow_weight: f32,
    nose_length: f32,
    mouth_y: f32,
    mouth_width: f32,
    lips: f32,
    skin: f32,
    hair: f32,
    background: f32,
    /// Relative change of brightness per face unit to the right and down.
    light: Point,
    glasses: bool,
}

impl Look {
    fn draw(rng: &mut Rng) -> Self {
        let middle = (SIDE as f32 - 1.0) / 2.0;
        let (sin, cos) = (0.11 * rng.normal()).clamp(-0.3, 0.3).sin_cos();
        let skin = rng.range(0.4, 0.85);
        Self {
            centre: [middle + rng.range(-2.5, 2.5), middle + rng.range(-2.0, 3.0)],
            scale: rng.range(18.0, 22.5),
            sin,
            cos,
            yaw: rng.range(-0.16, 0.16),
            pitch: rng.range(-0.05, 0.05),
            head_width: rng.range(0.78, 0.94),
            head_height: rng.range(1.08, 1.25),
            jaw: rng.range(0.05, 0.3),
            hairline: rng.range(-0.88, -0.68),
            fringe: rng.range(-0.1, 0.5),
            hair_width: rng.range(0.98, 1.25),
            eye_distance: rng.range(0.33, 0.40),
            eye_width: rng.range(0.155, 0.20),
            eye_height: rng.range(0.095, 0.12),
            eye_y: rng.range(-0.24, -0.16),
            brow_y: rng.range(-0.25, -0.20),
            brow_weight: rng.range(0.025, 0.055),
            nose_length: rng.range(0.34, 0.44),
            mouth_y: rng.range(0.56, 0.64),
            mouth_width: rng.range(0.33, 0.41),
            lips: rng.range(0.035, 0.075),
            skin,
            hair: skin * rng.range(0.15, 0.75),
            background: rng.range(0.05, 0.95),
            light: [rng.range(-0.3, 0.3), rng.range(-0.15, 0.2)],
            glasses: rng.uniform() < 0.1,
        }
    }

    /// Pixel position of a point of the face.
    fn at(&self, x: f32, y: f32) -> Point {
        let x = x + self.yaw * (1.0 - x * x);
        let y = y + self.pitch;
        let (x, y) = (self.cos * x - self.sin * y, self.sin * x + self.cos * y);
        [self.centre[0] + self.scale * x, self.centre[1] + self.scale * y]
    }

    /// Skin lit at (x, y), lightened or darkened by `factor`.
    fn tone(&self, x: f32, y: f32, factor: f32) -> f32 {
        self.skin * factor * (1.0 + self.light[0] * x + self.light[1] * y)
    }

    /// Points of a curve given by its height over `s` from -1 to 1.
    fn curve<const N: usize>(&self, f: impl Fn(f32) -> Point) -> [Point; N] {
        std::array::from_fn(|i| {
            let [x, y] = f(2.0 * i as f32 / (N as f32 - 1.0) - 1.0);
            self.at(x, y)
        })
    }

    /// Background, hair and head.
    fn head(&self, canvas: &mut Canvas) {
        canvas.paint(|px, py| {
            let (dx, dy) = ((px - self.centre[0]) / self.scale, (py - self.centre[1]) / self.scale);
            let (x, y) = (self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx);
            // Radial coordinates, 1 on the outline; their excess in pixels is close to the distance.
            let width = self.head_width * (1.0 - self.jaw * y.max(0.0).powi(2));
            let radius = ((x / width).powi(2) + (y / self.head_height).powi(2)).sqrt();
            let cover = |excess: f32| (0.5 - excess * self.scale).clamp(0.0, 1.0);
            let hair_radius =
                ((x / (self.head_width * self.hair_width)).powi(2) + ((y + 0.08) / (1.1 * self.head_height)).powi(2)).sqrt();
            let light = 1.0 + self.light[0] * x + self.light[1] * y;
            let mut tone = self.background * (1.0 - 0.15 * y);
            tone += (self.hair * light - tone) * cover(hair_radius - 1.0);
            let brow_line = self.hairline + self.fringe * x * x;
            let skin = self.skin * light * (1.02 - 0.22 * radius.powi(4));
            tone + (skin - tone) * cover(radius - 1.0) * cover(brow_line - y)
        });
    }

    fn eyes(&self, canvas: &mut Canvas, e: &Expression) {
        let upper = (self.eye_height + e.upper_lid).max(0.025);
        let lower = (0.6 * self.eye_height + e.lower_lid).max(0.015);
        for side in [-1.0, 1.0] {
            let (cx, cy) = (side * self.eye_distance, self.eye_y);
            canvas.glow(self.at(cx, cy), 0.36 * self.scale, self.tone(cx, cy, 0.7), 0.4);
            // s runs from the inner to the outer corner.
            let x = |s: f32| cx + side * s * self.eye_width;
            let top: [Point; 9] = self.curve(|s| {
                let droop = e.lid_droop * (0.5 + 0.5 * s);
                [x(s), cy - (upper - 0.6 * droop) * (1.0 - s * s) + droop * 0.5]
            });
            let bottom: [Point; 9] = self.curve(|s| [x(-s), cy + lower * (1.0 - s * s) + e.lid_droop * (0.25 - 0.25 * s)]);
            let mut outline = [[0.0; 2]; 18];
            outline[..9].copy_from_slice(&top);
            outline[9..].copy_from_slice(&bottom);
            canvas.fill(&outline, self.tone(cx, cy, 1.0) * 0.4 + 0.52, 0.9);
            // The iris is as high as the opening allows, and stands free in a wide open eye.
            let radius = 0.085_f32;
            let (rise, fall) = (radius.min(upper), radius.min(lower));
            let iris: [Point; 12] = std::array::from_fn(|i| {
                let (sin, cos) = (i as f32 * std::f32::consts::TAU / 12.0).sin_cos();
                self.at(cx + radius * cos, cy + if sin < 0.0 { rise } else { fall } * sin)
            });
            canvas.fill(&iris, 0.12 * self.skin + 0.03, 0.9);
            let weight = 0.024 * self.scale;
            canvas.stroke(&top, (weight, weight), 0.2 * self.skin, 0.85);
            canvas.stroke(&bottom, (0.4 * weight, 0.4 * weight), self.tone(cx, cy, 0.45), 0.6);
        }
    }

    fn brows(&self, canvas: &mut Canvas, e: &Expression) {
        let tone = self.hair.min(0.6 * self.skin) * 0.8;
        let height = self.eye_y + self.brow_y;
        for side in [-1.0, 1.0] {
            let inner = self.eye_distance - 0.17 - e.brow_together;
            let outer = self.eye_distance + 0.24;
            let line: [Point; 7] = self.curve(|s| {
                let along = 0.5 + 0.5 * s;
                let bow = (0.03 + e.brow_arch) * (1.0 - s * s);
                let y = height + e.brow_inner * (1.0 - along) + e.brow_outer * along - bow;
                [side * (inner + (outer - inner) * along), y]
            });
            let weight = self.brow_weight * self.scale;
            canvas.stroke(&line, (1.2 * weight, 0.6 * weight), tone, 0.9);
            if e.furrow > 0.1 {
                let x = side * 0.055;
                let furrow = [self.at(x, height + 0.02), self.at(0.8 * x, height + 0.17)];
                canvas.stroke(&furrow, (0.35, 0.25), self.tone(x, height, 0.5), (0.8 * e.furrow).min(1.0));
            }
        }
    }

    fn nose(&self, canvas: &mut Canvas, e: &Expression) {
        let raised = 0.05 * e.nose_wrinkle;
        let tip = self.eye_y + self.nose_length - raised;
        canvas.glow(self.at(0.0, tip - 0.05), 0.2 * self.scale, self.tone(0.0, tip, 1.15), 0.4);
        let shaded = if self.light[0] > 0.0 { -1.0 } else { 1.0 };
        let bridge = [self.at(0.07 * shaded, self.eye_y + 0.03), self.at(0.1 * shaded, tip - 0.06)];
        canvas.stroke(&bridge, (0.4, 0.6), self.tone(0.0, 0.0, 0.7), 0.5);
        for side in [-1.0, 1.0] {
            let wing: [Point; 4] = self.curve(|s| [side * (0.10 - 0.05 * s), tip + 0.04 - 0.03 * s * s - 0.3 * raised]);
            canvas.stroke(&wing, (0.5, 0.4), self.tone(0.0, tip, 0.4), 0.8);
            if e.nose_wrinkle > 0.1 {
                for (k, y) in [0.03, 0.11, 0.19].into_iter().enumerate() {
                    let x = side * (0.04 + 0.01 * k as f32);
                    let crease = [self.at(x, self.eye_y + y), self.at(x + side * 0.11, self.eye_y + y + 0.05)];
                    canvas.stroke(&crease, (0.4, 0.3), self.tone(x, y, 0.5), (0.8 * e.nose_wrinkle).min(1.0));
                }
            }
            if e.fold > 0.1 {
                let reach = self.mouth_width + 0.5 * e.mouth_width + 0.1;
                let fold: [Point; 5] = self.curve(|s| {
                    let along = 0.5 + 0.5 * s;
                    let x = 0.17 + (reach - 0.17) * along + 0.04 * (1.0 - s * s);
                    [side * x, tip + 0.02 + (self.mouth_y + e.corners.min(0.0) - tip) * along]
                });
                canvas.stroke(&fold, (0.35, 0.3), self.tone(0.0, tip, 0.55), (0.7 * e.fold).min(1.0));
                let cheek = side * (self.eye_distance + 0.05);
                canvas.glow(self.at(cheek, tip - 0.08), 0.24 * self.scale, self.tone(cheek, 0.1, 1.2), 0.45 * e.fold.min(1.0));
            }
        }
    }

    fn mouth(&self, canvas: &mut Canvas, e: &Expression) {
        let half = (self.mouth_width + e.mouth_width).max(0.12);
        let open = e.mouth_open.max(0.0);
        let lips = self.lips * (1.0 - 0.75 * e.pressed);
        // A jaw that drops takes the mouth's centre with it.
        let y = self.mouth_y + 0.25 * open - 0.3 * e.corners;
        let height = |s: f32, middle: f32| {
            let end = s.abs().powf(e.square);
            y + e.corners * end + middle * (1.0 - end) - e.lip_skew * 0.5 * s * end
        };
        // The raised upper lip is highest beside the middle, on the skewed side.
        let raise = |s: f32| (e.lip_raise + e.lip_skew.abs() * 0.5 * (1.0 + s * e.lip_skew.signum())) * (1.0 - s * s);
        let top = |s: f32| height(s, -0.45 * open) - 0.6 * raise(s);
        let bottom = |s: f32| height(s, 0.55 * open);
        let ring = |above: &dyn Fn(f32) -> f32, below: &dyn Fn(f32) -> f32, width: f32| {
            let upper: [Point; 9] = self.curve(|s| [s * width, above(s)]);
            let lower: [Point; 9] = self.curve(|s| [-s * width, below(-s)]);
            let mut ring = [[0.0; 2]; 18];
            ring[..9].copy_from_slice(&upper);
            ring[9..].copy_from_slice(&lower);
            ring
        };
        let swell = |s: f32| 1.0 - s * s;
        let outer = ring(&|s| top(s) - 0.8 * lips * swell(s), &|s| bottom(s) + 1.2 * lips * swell(s), half);
        canvas.fill(&outer, self.tone(0.0, y, 0.68), 0.85);
        canvas.glow(self.at(0.0, bottom(0.0) + lips + 0.1), 0.2 * self.scale, self.tone(0.0, y, 0.75), 0.4);
        if open > 0.03 {
            let inner = ring(&top, &bottom, 0.94 * half);
            canvas.fill(&inner, 0.12 * self.skin, 0.95);
            if e.teeth > 0.0 {
                let edge = |s: f32| top(s) + (bottom(s) - top(s)) * 0.75 * e.teeth;
                canvas.fill(&ring(&top, &edge, 0.85 * half), 0.35 + 0.6 * self.skin, 0.85);
            }
        }
        let line: [Point; 9] = self.curve(|s| [s * half, 0.5 * (top(s) + bottom(s))]);
        if open <= 0.03 {
            let weight = 0.028 * self.scale;
            canvas.stroke(&line, (weight, weight), self.tone(0.0, y, 0.25), 0.9);
        }
        for corner in [line[0], line[8]] {
            canvas.glow(corner, 0.08 * self.scale, self.tone(0.0, y, 0.3), 0.6);
        }
    }

    fn glasses(&self, canvas: &mut Canvas) {
        if !self.glasses {
            return;
        }
        for side in [-1.0, 1.0] {
            let rim: [Point; 15] = self.curve(|s| {
                let (sin, cos) = (s * std::f32::consts::PI).sin_cos();
                [side * self.eye_distance + 0.27 * cos, self.eye_y + 0.03 + 0.22 * sin]
            });
            canvas.stroke(&rim, (0.45, 0.45), 0.08, 0.8);
        }
    }
}

/// Covers a small patch of every seventh face, as hands and hair do.
fn occlude(canvas: &mut Canvas, rng: &mut Rng) {
    let covered = rng.uniform() < 0.15;
    let side = SIDE as f32;
    let (x, y) = (rng.range(0.0, side), rng.range(0.0, side));
    let (width, height) = (rng.range(3.0, 8.0), rng.range(3.0, 8.0));
    let (sin, cos) = rng.range(0.0, std::f32::consts::PI).sin_cos();
    let tone = rng.range(0.05, 0.95);
    if covered {
        let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(u, v)| {
            let (u, v) = (0.5 * u * width, 0.5 * v * height);
            [x + cos * u - sin * v, y + sin * u + cos * v]
        });
        canvas.fill(&corners, tone, 1.0);
    }
}

/// Focus, exposure and sensor noise.
fn photograph(canvas: &mut Canvas, rng: &mut Rng) {
    canvas.blur(rng.range(0.0, 0.8));
    let (contrast, brightness) = (rng.range(0.6, 1.15), rng.range(-0.1, 0.1));
    let noise = rng.range(0.005, 0.05);
    for pixel in &mut canvas.pixels {
        // The sum of four uniforms is near enough to normal, and cheaper by far; 0.577 is its deviation.
        let bits = rng.next_u64();
        let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xffff).sum();
        let grain = (sum as f32 / 65_535.0 - 2.0) / 0.577;
        *pixel = 0.5 + (*pixel - 0.5) * contrast + brightness + noise * grain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_balanced_and_splits_differ() {
        let data = dataset(1, 10).unwrap();
        assert_eq!(data.classes, classes::FER2013);
        let (validation, test) = (data.validation.unwrap(), data.test.unwrap());
        for (faces, per_class) in [(&data.train, 10), (&validation, 2), (&test, 2)] {
            assert_eq!(faces.counts(CLASSES), [per_class; CLASSES]);
            faces.check(CLASSES).unwrap();
        }
        let n = test.pixels.len();
        assert_ne!(test.pixels, validation.pixels);
        assert_ne!(test.pixels, data.train.pixels[..n]);
    }

    #[test]
    fn faces_depend_on_seed_and_index_alone() {
        let few = faces(3, Split::Train, 2).unwrap();
        let more = faces(3, Split::Train, 4).unwrap();
        assert_eq!(few.pixels, more.pixels[..few.pixels.len()]);
        assert_ne!(few, faces(4, Split::Train, 2).unwrap());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| faces(3, Split::Train, 2)).unwrap(), few);
    }

    #[test]
    fn faces_use_the_range_of_grey() {
        let faces = faces(5, Split::Test, 30).unwrap();
        let (mean, std) = faces.statistics();
        assert!((0.3..0.6).contains(&mean) && (0.12..0.35).contains(&std), "{mean} {std}");
        for i in 0..faces.len() {
            let face = faces.face(i);
            let (low, high) = (face.iter().min().unwrap(), face.iter().max().unwrap());
            assert!(high - low > 60, "face {i} is nearly flat");
        }
    }

    #[test]
    fn expressions_move_the_mean_face_of_their_class() {
        // Class means over many identities differ where expressions act, far beyond the noise.
        let faces = faces(6, Split::Train, 150).unwrap();
        let mean = |label: usize| {
            let mut mean = vec![0.0_f32; crate::PIXELS];
            for i in (label..faces.len()).step_by(CLASSES) {
                mean.iter_mut().zip(faces.face(i)).for_each(|(m, &p)| *m += f32::from(p) / 150.0);
            }
            mean
        };
        let means: Vec<Vec<f32>> = (0..CLASSES).map(mean).collect();
        for a in 0..CLASSES {
            for b in 0..a {
                let most = means[a].iter().zip(&means[b]).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(most > 12.0, "{} and {}: {most}", classes::FER2013[a], classes::FER2013[b]);
            }
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert!(dataset(0, 0).is_err());
        assert!(faces(0, Split::Train, MAX_PER_CLASS + 1).is_err());
    }
}
