//! Anti-aliased drawing on a 48 x 48 grid.

use crate::faces::{Face, PIXELS, SIDE};

/// A point in pixels; pixel centres are at whole coordinates.
pub(crate) type Point = [f32; 2];

/// A grey picture with values from 0 (black) to 1 (white), row by row.
pub(crate) struct Canvas {
    pub(crate) pixels: [f32; PIXELS],
}

impl Canvas {
    pub(crate) fn new() -> Self {
        Self { pixels: [0.0; PIXELS] }
    }

    /// Replaces each pixel by `shade(x, y)`.
    pub(crate) fn paint(&mut self, shade: impl Fn(f32, f32) -> f32) {
        for (i, pixel) in self.pixels.iter_mut().enumerate() {
            *pixel = shade((i % SIDE) as f32, (i / SIDE) as f32);
        }
    }

    /// Fills a closed polygon, edges softened over one pixel.
    pub(crate) fn fill(&mut self, polygon: &[Point], tone: f32, opacity: f32) {
        let edges = || polygon.iter().zip(polygon.iter().cycle().skip(1));
        self.blend(polygon, 1.0, tone, opacity, |p| {
            let (mut nearest, mut inside) = (f32::MAX, false);
            for (&a, &b) in edges() {
                nearest = nearest.min(squared_distance(p, a, b).0);
                // Even-odd rule: count the edges crossed on the way to the right.
                if (a[1] > p[1]) != (b[1] > p[1]) {
                    let x = a[0] + (p[1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]);
                    inside ^= p[0] < x;
                }
            }
            let distance = nearest.sqrt();
            0.5 + if inside { distance } else { -distance }
        });
    }

    /// Draws a polyline whose half width goes from `widths.0` at its start to `widths.1` at its end.
    pub(crate) fn stroke(&mut self, line: &[Point], widths: (f32, f32), tone: f32, opacity: f32) {
        let pieces = line.len().saturating_sub(1).max(1) as f32;
        self.blend(line, widths.0.max(widths.1) + 1.0, tone, opacity, |p| {
            let mut coverage = 0.0_f32;
            for (i, pair) in line.windows(2).enumerate() {
                let (squared, along) = squared_distance(p, pair[0], pair[1]);
                let half = widths.0 + (widths.1 - widths.0) * (i as f32 + along) / pieces;
                // A line thinner than a pixel is fainter, not wider.
                let thin = (2.0 * half).min(1.0);
                coverage = coverage.max((half.max(0.5) + 0.5 - squared.sqrt()).min(1.0) * thin);
            }
            coverage
        });
    }

    /// Lays a soft round shadow or light: full `opacity` at the centre, none at `radius`.
    pub(crate) fn glow(&mut self, centre: Point, radius: f32, tone: f32, opacity: f32) {
        self.blend(&[centre], radius, tone, opacity, |p| {
            let squared = ((p[0] - centre[0]).powi(2) + (p[1] - centre[1]).powi(2)) / (radius * radius);
            (1.0 - squared).max(0.0).powi(2)
        });
    }

    /// Moves the pixels around `points` (up to `margin` off) towards `tone` by `opacity` and the
    /// coverage, which is clamped to 0 to 1.
    fn blend(
        &mut self,
        points: &[Point],
        margin: f32,
        tone: f32,
        opacity: f32,
        coverage: impl Fn(Point) -> f32,
    ) {
        let range = |axis: usize| {
            let low = points.iter().map(|p| p[axis]).fold(f32::MAX, f32::min) - margin;
            let high = points.iter().map(|p| p[axis]).fold(f32::MIN, f32::max) + margin;
            // Saturating casts: what is off the canvas gives an empty range.
            low.floor().max(0.0) as usize..(high.ceil() + 1.0).clamp(0.0, SIDE as f32) as usize
        };
        let columns = range(0);
        for y in range(1) {
            for x in columns.clone() {
                let covered = coverage([x as f32, y as f32]).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[y * SIDE + x];
                *pixel += (tone - *pixel) * opacity * covered;
            }
        }
    }

    /// Mixes each pixel with its 3 x 3 binomial mean; `strength` 1 is the mean alone.
    pub(crate) fn blur(&mut self, strength: f32) {
        let mut line = [0.0; SIDE];
        let last = SIDE - 1;
        for (step, stride) in [(1, SIDE), (SIDE, 1)] {
            for start in (0..SIDE).map(|i| i * stride) {
                let at = |i: usize| start + i * step;
                for (i, mean) in line.iter_mut().enumerate() {
                    let [before, here, after] =
                        [i.saturating_sub(1), i, (i + 1).min(last)].map(|i| self.pixels[at(i)]);
                    *mean = here + strength * (0.25 * (before + after) - 0.5 * here);
                }
                (0..SIDE).for_each(|i| self.pixels[at(i)] = line[i]);
            }
        }
    }

    /// The picture in 8 bits.
    pub(crate) fn to_face(&self) -> Face {
        self.pixels.map(|pixel| (pixel.clamp(0.0, 1.0) * 255.0).round() as u8)
    }
}

/// Squared distance of `p` from the piece `a` to `b`, and how far along it (0 to 1) the nearest point is.
fn squared_distance(p: Point, a: Point, b: Point) -> (f32, f32) {
    let (px, py) = (p[0] - a[0], p[1] - a[1]);
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let along = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
    let (ex, ey) = (px - along * dx, py - along * dy);
    (ex * ex + ey * ey, along)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(canvas: &Canvas) -> f32 {
        canvas.pixels.iter().sum()
    }

    #[test]
    fn a_filled_polygon_covers_its_area() {
        let mut canvas = Canvas::new();
        canvas.fill(&[[10.25, 10.5], [30.25, 10.5], [30.25, 20.5], [10.25, 20.5]], 1.0, 1.0);
        assert!((sum(&canvas) - 200.0).abs() < 2.0, "{}", sum(&canvas));
        assert_eq!(canvas.pixels[15 * SIDE + 20], 1.0);
        // A quarter of column 10 is outside.
        assert!((canvas.pixels[15 * SIDE + 10] - 0.25).abs() < 1e-5);
    }

    #[test]
    fn a_stroke_covers_its_width() {
        for half in [0.2_f32, 1.0, 2.0] {
            let mut canvas = Canvas::new();
            canvas.stroke(&[[-10.0, 20.3], [60.0, 20.3]], (half, half), 1.0, 1.0);
            let column: f32 = (0..SIDE).map(|y| canvas.pixels[y * SIDE + 24]).sum();
            assert!((column - 2.0 * half).abs() < 0.05, "{half}: {column}");
        }
    }

    #[test]
    fn shapes_off_the_canvas_draw_nothing() {
        let mut canvas = Canvas::new();
        canvas.fill(&[[100.0, 100.0], [120.0, 100.0], [110.0, 120.0]], 1.0, 1.0);
        canvas.stroke(&[[-50.0, -20.0], [-40.0, -20.0]], (1.0, 1.0), 1.0, 1.0);
        canvas.glow([-90.0, 20.0], 5.0, 1.0, 1.0);
        canvas.fill(&[], 1.0, 1.0);
        assert_eq!(sum(&canvas), 0.0);
    }

    #[test]
    fn blur_keeps_the_sum_and_lowers_the_peak() {
        let mut canvas = Canvas::new();
        canvas.pixels[20 * SIDE + 20] = 1.0;
        canvas.blur(1.0);
        assert!((sum(&canvas) - 1.0).abs() < 1e-6);
        assert_eq!(canvas.pixels[20 * SIDE + 20], 0.25);
        assert_eq!(canvas.pixels[21 * SIDE + 21], 0.0625);
    }
}
