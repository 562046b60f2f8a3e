//! How a face is cut out: as the faces of the training set are.

use super::Square;
use image::GrayImage;
use moue_datasets::{Face, SIDE};

/// Where the detector's square lies in the image of a face.
///
/// A network that learned from one framing is lost with another, so photos are cut such that the detector's square
/// gets the place that it has in FER2013's images. `examples/framing.rs` measures it; docs/predict.md has the figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Framing {
    /// Side of the image, in sides of the detector's square.
    pub side: f32,
    /// The image's centre right of the square's, in sides of the square.
    pub right: f32,
    /// The image's centre below the square's, in sides of the square.
    pub down: f32,
}

impl Default for Framing {
    /// The medians of FER2013's training images.
    fn default() -> Self {
        Self { side: 1.10, right: 0.0, down: 0.0 }
    }
}

impl Framing {
    /// What becomes the image of the face that the detector found at `place`.
    pub fn around(&self, place: Square) -> Square {
        let side = self.side * place.side;
        let start = |at: f32, off: f32| at + (0.5 + off) * place.side - side / 2.0;
        Square { x: start(place.x, self.right), y: start(place.y, self.down), side }
    }

    /// The face at `place`; what lies outside the image shows the nearest pixel.
    pub fn cut(&self, image: &GrayImage, place: Square) -> Face {
        resample(image, self.around(place))
    }
}

/// A square of an image as a face of 48 x 48 pixels: a triangle filter whose support grows with the reduction (no
/// aliasing), bilinear where the square is enlarged. What lies outside the image shows the nearest pixel.
pub fn resample(image: &GrayImage, square: Square) -> Face {
    let (width, height) = image.dimensions();
    let columns = taps(square.x, square.side, width);
    let rows = taps(square.y, square.side, height);
    let pixels = image.as_raw();
    let mut face = [0; SIDE * SIDE];
    // The columns of each row that is needed, once.
    let first = rows.iter().map(|taps| taps.first).min().unwrap_or(0);
    let last = rows.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
    let narrow: Vec<[f32; SIDE]> = (first..last)
        .map(|y| {
            let row = &pixels[y * width as usize..(y + 1) * width as usize];
            std::array::from_fn(|x| columns[x].apply(|at| f32::from(row[at])))
        })
        .collect();
    for (row, taps) in face.chunks_exact_mut(SIDE).zip(&rows) {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = taps.apply(|y| narrow[y - first][x]).round().clamp(0.0, 255.0) as u8;
        }
    }
    face
}

/// The pixels that one pixel of the face is the weighted mean of.
struct Taps {
    first: usize,
    /// Their sum is 1.
    weights: Vec<f32>,
}

impl Taps {
    fn apply(&self, value: impl Fn(usize) -> f32) -> f32 {
        self.weights.iter().enumerate().map(|(i, weight)| weight * value(self.first + i)).sum()
    }
}

/// The taps of each of 48 pixels that `side` pixels from `start` on become; taps outside `0..size` count for the
/// outermost pixel.
fn taps(start: f32, side: f32, size: u32) -> Vec<Taps> {
    let scale = side / SIDE as f32;
    // Half the filter's width.
    let reach = scale.max(1.0);
    let outermost = size as i64 - 1;
    let pixel = |i: usize| {
        let centre = start + (i as f32 + 0.5) * scale - 0.5;
        let (from, to) = ((centre - reach).ceil() as i64, (centre + reach).floor() as i64);
        let (first, last) = (from.clamp(0, outermost), to.clamp(0, outermost));
        let mut weights = vec![0.0; (last - first) as usize + 1];
        for at in from..=to {
            weights[(at.clamp(first, last) - first) as usize] += 1.0 - (at as f32 - centre).abs() / reach;
        }
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Taps { first: first as usize, weights }
    };
    (0..SIDE).map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;
    use moue_datasets::decode::fit_face;

    fn picture(width: u32, height: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| Luma([((x * 7) ^ (y * 5)) as u8]))
    }

    /// Whole images come out as the data sets' reader has them, whatever the scale; only at the edges that reader knows
    /// no nearest pixel.
    #[test]
    fn squares_are_resampled_as_data_sets_are() {
        for side in [20, 48, 97, 480] {
            let image = picture(side, side);
            let (ours, theirs) = (resample(&image, Square::centre_of(side, side)), fit_face(&image));
            let inside = (1..SIDE - 1).flat_map(|y| (1..SIDE - 1).map(move |x| y * SIDE + x));
            let worst = inside.map(|i| ours[i].abs_diff(theirs[i])).max().unwrap();
            assert!(worst <= 1, "{side}: {worst}");
        }
    }

    #[test]
    fn outside_the_image_the_nearest_pixel_is_seen() {
        let mut image = GrayImage::from_pixel(96, 96, Luma([200]));
        (0..96).for_each(|y| image.put_pixel(0, y, Luma([50])));
        let face = resample(&image, Square { x: -96.0, y: -1000.0, side: 96.0 });
        assert_eq!(face, [50; SIDE * SIDE]);
        // A huge square costs no memory for what is outside.
        let face = resample(&image, Square { x: -1e6, y: -1e6, side: 2e6 });
        assert!(face[0] == 50 && face[SIDE * SIDE - 1] == 200);
    }

    #[test]
    fn the_square_gets_its_place() {
        let framing = Framing { side: 2.0, right: 0.1, down: -0.2 };
        let around = framing.around(Square { x: 100.0, y: 50.0, side: 40.0 });
        assert_eq!(around, Square { x: 100.0 + 20.0 + 4.0 - 40.0, y: 50.0 + 20.0 - 8.0 - 40.0, side: 80.0 });
    }
}
