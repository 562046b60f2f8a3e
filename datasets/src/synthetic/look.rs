//! Identity, pose and lighting of a face, and how its features are drawn.

use super::canvas::{Canvas, Point};
use super::expression::Expression;
use crate::Rng;
use crate::faces::SIDE;

/// Everything about a face but its expression: who it is, how it is turned and lit.
pub(super) struct Look {
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
    pub(super) fn draw(rng: &mut Rng) -> Self {
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
    pub(super) fn head(&self, canvas: &mut Canvas) {
        canvas.paint(|px, py| {
            let (dx, dy) = ((px - self.centre[0]) / self.scale, (py - self.centre[1]) / self.scale);
            let (x, y) = (self.cos * dx + self.sin * dy, self.cos * dy - self.sin * dx);
            // Radial coordinates, 1 on the outline; their excess in pixels is close to the distance.
            let width = self.head_width * (1.0 - self.jaw * y.max(0.0).powi(2));
            let radius = ((x / width).powi(2) + (y / self.head_height).powi(2)).sqrt();
            let cover = |excess: f32| (0.5 - excess * self.scale).clamp(0.0, 1.0);
            let hair_radius = ((x / (self.head_width * self.hair_width)).powi(2)
                + ((y + 0.08) / (1.1 * self.head_height)).powi(2))
            .sqrt();
            let light = 1.0 + self.light[0] * x + self.light[1] * y;
            let mut tone = self.background * (1.0 - 0.15 * y);
            tone += (self.hair * light - tone) * cover(hair_radius - 1.0);
            let brow_line = self.hairline + self.fringe * x * x;
            let skin = self.skin * light * (1.02 - 0.22 * radius.powi(4));
            tone + (skin - tone) * cover(radius - 1.0) * cover(brow_line - y)
        });
    }

    pub(super) fn eyes(&self, canvas: &mut Canvas, e: &Expression) {
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
            let bottom: [Point; 9] =
                self.curve(|s| [x(-s), cy + lower * (1.0 - s * s) + e.lid_droop * (0.25 - 0.25 * s)]);
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

    pub(super) fn brows(&self, canvas: &mut Canvas, e: &Expression) {
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

    pub(super) fn nose(&self, canvas: &mut Canvas, e: &Expression) {
        let raised = 0.05 * e.nose_wrinkle;
        let tip = self.eye_y + self.nose_length - raised;
        canvas.glow(self.at(0.0, tip - 0.05), 0.2 * self.scale, self.tone(0.0, tip, 1.15), 0.4);
        let shaded = if self.light[0] > 0.0 { -1.0 } else { 1.0 };
        let bridge = [self.at(0.07 * shaded, self.eye_y + 0.03), self.at(0.1 * shaded, tip - 0.06)];
        canvas.stroke(&bridge, (0.4, 0.6), self.tone(0.0, 0.0, 0.7), 0.5);
        for side in [-1.0, 1.0] {
            let wing: [Point; 4] =
                self.curve(|s| [side * (0.10 - 0.05 * s), tip + 0.04 - 0.03 * s * s - 0.3 * raised]);
            canvas.stroke(&wing, (0.5, 0.4), self.tone(0.0, tip, 0.4), 0.8);
            if e.nose_wrinkle > 0.1 {
                for (k, y) in [0.03, 0.11, 0.19].into_iter().enumerate() {
                    let x = side * (0.04 + 0.01 * k as f32);
                    let crease =
                        [self.at(x, self.eye_y + y), self.at(x + side * 0.11, self.eye_y + y + 0.05)];
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
                canvas.glow(
                    self.at(cheek, tip - 0.08),
                    0.24 * self.scale,
                    self.tone(cheek, 0.1, 1.2),
                    0.45 * e.fold.min(1.0),
                );
            }
        }
    }

    pub(super) fn mouth(&self, canvas: &mut Canvas, e: &Expression) {
        let half = (self.mouth_width + e.mouth_width).max(0.12);
        let open = e.mouth_open.max(0.0);
        let lips = self.lips * (1.0 - 0.75 * e.pressed);
        // A jaw that drops takes the mouth's centre with it.
        let y = self.mouth_y + 0.25 * open - 0.3 * e.corners;
        let height = |s: f32, middle: f32| {
            let end = s.abs().powf(2.0 + e.square);
            let swell = (1.0 - end).max(0.0).powf(1.0 - e.round);
            y + e.corners * end + middle * swell - e.lip_skew * 0.5 * s * end
        };
        // The raised upper lip is highest beside the middle, on the skewed side.
        let raise =
            |s: f32| (e.lip_raise + e.lip_skew.abs() * 0.5 * (1.0 + s * e.lip_skew.signum())) * (1.0 - s * s);
        let top = |s: f32| height(s, -0.45 * open) - 0.6 * raise(s);
        let bottom = |s: f32| height(s, 0.55 * open);
        let ring = |above: &dyn Fn(f32) -> f32, below: &dyn Fn(f32) -> f32, width: f32| {
            // Steps that shrink towards the corners follow the round ones.
            let ease = |s: f32| (s * std::f32::consts::FRAC_PI_2).sin();
            let upper: [Point; 9] = self.curve(|s| [ease(s) * width, above(ease(s))]);
            let lower: [Point; 9] = self.curve(|s| [-ease(s) * width, below(-ease(s))]);
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
            let weight = 0.033 * self.scale;
            canvas.stroke(&line, (weight, weight), self.tone(0.0, y, 0.25), 0.9);
        }
        for corner in [line[0], line[8]] {
            canvas.glow(corner, 0.08 * self.scale, self.tone(0.0, y, 0.3), 0.6);
        }
    }

    pub(super) fn glasses(&self, canvas: &mut Canvas) {
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
