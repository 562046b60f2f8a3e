//! From a photo to the 48 x 48 grey faces that the network knows: finding faces, and cutting them out as the training
//! set does.
//!
//! ```no_run
//! use moue::faces::Finder;
//! use moue::{Classifier, Isa, datasets::decode::read_grey};
//! use std::path::Path;
//!
//! let photo = read_grey(Path::new("party.jpg"))?;
//! let mut classifier = Classifier::load(Path::new("runs/fer/best.safetensors"), Isa::fastest())?;
//! for cut in Finder::default().faces(&photo) {
//!     println!("{:?}: {:?}", cut.place, classifier.probabilities(&[&*cut.face])?);
//! }
//! # Ok::<(), moue::Error>(())
//! ```

mod detect;
mod finder;
mod framing;
mod track;

pub use detect::{Detector, Found};
pub use finder::{CUTTER, Cut, Finder, Mode};
pub use framing::{Framing, resample};
pub use track::Tracker;

/// A square in an image, in its pixels; it may reach over the edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Square {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Side.
    pub side: f32,
}

impl Square {
    /// The largest square around the centre of an image.
    pub fn centre_of(width: u32, height: u32) -> Self {
        let side = width.min(height);
        Self { x: ((width - side) / 2) as f32, y: ((height - side) / 2) as f32, side: side as f32 }
    }

    /// The square seen from `(x, y)`, everything `scale` times as large.
    pub(crate) fn mapped(self, x: f32, y: f32, scale: f32) -> Self {
        Self { x: (self.x - x) * scale, y: (self.y - y) * scale, side: self.side * scale }
    }

    /// Whether the centre lies in an image.
    pub(crate) fn centre_is_within(&self, width: u32, height: u32) -> bool {
        let inside = |start: f32, size: u32| (0.0..size as f32).contains(&(start + self.side / 2.0));
        inside(self.x, width) && inside(self.y, height)
    }

    /// Area of the intersection over that of the union.
    pub fn overlap(&self, other: &Self) -> f32 {
        let length =
            |a: f32, a_side: f32, b: f32, b_side: f32| ((a + a_side).min(b + b_side) - a.max(b)).max(0.0);
        let common =
            length(self.x, self.side, other.x, other.side) * length(self.y, self.side, other.y, other.side);
        let union = self.side * self.side + other.side * other.side - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// The part inside an image: x, y, width, height in whole pixels, at least one.
    pub fn within(&self, width: u32, height: u32) -> [u32; 4] {
        let span = |start: f32, size: u32| {
            let from = (start.round().max(0.0) as u32).min(size - 1);
            let to = ((start + self.side).round().max(0.0) as u32).clamp(from + 1, size);
            (from, to - from)
        };
        let ((x, w), (y, h)) = (span(self.x, width), span(self.y, height));
        [x, y, w, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_by_hand() {
        let a = Square { x: 0.0, y: 0.0, side: 2.0 };
        assert_eq!(a.overlap(&a), 1.0);
        assert_eq!(a.overlap(&Square { x: 1.0, y: 0.0, side: 2.0 }), 2.0 / 6.0);
        assert_eq!(a.overlap(&Square { x: 2.0, y: 0.0, side: 2.0 }), 0.0);
        assert_eq!(Square { side: 0.0, ..a }.overlap(&Square { side: 0.0, ..a }), 0.0);
    }

    #[test]
    fn boxes_stay_in_the_image() {
        let within = |x, y, side| Square { x, y, side }.within(100, 50);
        assert_eq!(within(10.4, 20.6, 20.0), [10, 21, 20, 20]);
        assert_eq!(within(-5.0, 40.0, 20.0), [0, 40, 15, 10]);
        assert_eq!(within(150.0, -50.0, 20.0), [99, 0, 1, 1]);
        assert_eq!(Square::centre_of(100, 50).within(100, 50), [25, 0, 50, 50]);
    }
}
