//! Finding faces: SeetaFace's funnel-structured cascade (Wu et al. 2017), in the crate `rustface`.

use super::Square;
use image::imageops::{self, FilterType};
use image::{GrayImage, Luma};
use rustface::{ImageData, Model};
use std::cell::RefCell;
use std::sync::OnceLock;

/// The cascade of frontal faces; see `NOTICE` for where it comes from.
const MODEL: &[u8] = include_bytes!("../../models/seetaface/seeta_fd_frontal_v1.0.bin");

/// Side of the cascade's window: the smallest face that it finds, in pixels of the copy that it looks at.
const WINDOW: u32 = 40;

/// A face that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// From the eyebrows to the chin, in pixels of the image.
    pub place: Square,
    /// How sure the cascade is: the sum of the scores of all windows that agree on the face.
    pub score: f32,
}

/// Largest side of a copy: sums over more white pixels would not fit the cascade's 32-bit integers.
const LARGEST: u32 = 2048;

/// Width of the frame around small copies, in parts of their shorter side.
const FRAME: f32 = 0.25;

/// What is looked for, and how closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detector {
    /// The longer side of the copy that larger images are reduced to, at most 2048: faces smaller than 40 of its pixels
    /// are not found. Time grows with its square.
    pub longest: u32,
    /// The shorter side of a second copy, in a frame of its edge pixels: an image of no more than this many pixels, and
    /// any in which nothing was found, may be filled by one face.
    pub shortest: u32,
    /// The smallest score that is believed.
    pub threshold: f64,
}

impl Default for Detector {
    fn default() -> Self {
        Self { longest: 1024, shortest: 160, threshold: 3.85 }
    }
}

thread_local! {
    /// A detector holds buffers, but may not move between threads: each thread has its own.
    static CASCADE: RefCell<Box<dyn rustface::Detector>> = RefCell::new(cascade());
}

fn cascade() -> Box<dyn rustface::Detector> {
    static SHARED: OnceLock<Model> = OnceLock::new();
    let model = SHARED.get_or_init(|| rustface::read_model(MODEL).expect("the model is part of the program"));
    let mut cascade = rustface::create_detector_with_model(model.clone());
    cascade.set_pyramid_scale_factor(0.8);
    cascade.set_slide_window_step(4, 4);
    cascade
}

impl Detector {
    /// Finds the faces of an image, the surest first. The same image gives the same faces.
    pub fn find(&self, image: &GrayImage) -> Vec<Found> {
        let (width, height) = image.dimensions();
        let (short, long) = (width.min(height), width.max(height));
        if short == 0 {
            return Vec::new();
        }
        let largest = self.longest.min(LARGEST) as f32 / long as f32;
        let mut found = Vec::new();
        if short > self.shortest {
            found = self.look(&Copy::new(image, largest.min(1.0), 0.0));
        }
        if found.is_empty() {
            let scale = self.shortest as f32 / short as f32;
            found = self.look(&Copy::new(image, scale.min(largest), FRAME));
        }
        // What lies in the frame is no face.
        found.retain(|found| found.place.centre_is_within(width, height));
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found
    }

    /// Runs the cascade.
    fn look(&self, copy: &Copy) -> Vec<Found> {
        let (width, height) = copy.image.dimensions();
        if width.min(height) < WINDOW {
            return Vec::new();
        }
        CASCADE.with_borrow_mut(|cascade| {
            cascade.set_score_thresh(self.threshold.max(f64::MIN_POSITIVE));
            let faces = cascade.detect(&ImageData::new(copy.image.as_raw(), width, height));
            faces.iter().map(|face| copy.found(face)).collect()
        })
    }
}

/// What the cascade looks at: the image in another size, with a frame.
struct Copy {
    image: GrayImage,
    /// Width of the frame.
    frame: u32,
    /// Pixels of the copy in place of one of the image.
    scale: f32,
}

impl Copy {
    fn new(image: &GrayImage, scale: f32, frame: f32) -> Self {
        let resized = |x: u32| ((x as f32 * scale).round() as u32).max(1);
        let (w, h) = (resized(image.width()), resized(image.height()));
        let inner = match (w, h) {
            same if same == image.dimensions() => None,
            // Means over areas do where many pixels become one.
            (w, h) if scale < 0.5 => Some(imageops::thumbnail(image, w, h)),
            (w, h) => Some(imageops::resize(image, w, h, FilterType::Triangle)),
        };
        let frame = (frame * w.min(h) as f32).round() as u32;
        Self { image: framed(inner.as_ref().unwrap_or(image), frame), frame, scale }
    }

    fn found(&self, face: &rustface::FaceInfo) -> Found {
        let place = face.bbox();
        let (x, y, side) = (place.x() as f32, place.y() as f32, place.width() as f32);
        let frame = self.frame as f32;
        let place = Square { x, y, side }.mapped(frame, frame, 1.0 / self.scale);
        Found { place, score: face.score() as f32 }
    }
}

/// The image with a frame of the nearest pixels.
fn framed(image: &GrayImage, frame: u32) -> GrayImage {
    let (width, height) = image.dimensions();
    GrayImage::from_fn(width + 2 * frame, height + 2 * frame, |x, y| {
        let inside = |at: u32, size: u32| at.saturating_sub(frame).min(size - 1);
        Luma(image.get_pixel(inside(x, width), inside(y, height)).0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn astronaut() -> GrayImage {
        let bytes = include_bytes!("../../tests/fixtures/astronaut.jpg");
        moue_datasets::decode::decode_grey(bytes).unwrap()
    }

    fn assert_near(found: &[Found], x: f32, y: f32, side: f32) {
        assert_eq!(found.len(), 1, "{found:?}");
        let overlap = found[0].place.overlap(&Square { x, y, side });
        assert!(overlap > 0.75, "{found:?}");
    }

    #[test]
    fn a_face_is_found_in_any_size_and_place() {
        let photo = astronaut();
        let (x, y, side) = (138.0, 53.0, 75.0);
        assert_near(&Detector::default().find(&photo), x, y, side);
        for size in [100, 250, 800, 1600] {
            let scale = size as f32 / 400.0;
            let resized = imageops::resize(&photo, size, size, FilterType::Triangle);
            // Enlarged to 160 pixels the face of the smallest has 30 of them.
            let found = Detector { shortest: 220, ..Detector::default() }.find(&resized);
            assert_near(&found, x * scale, y * scale, side * scale);
        }
        // Filling the picture, small and large.
        for size in [40, 600] {
            let tight = imageops::crop_imm(&photo, 138, 53, 75, 75).to_image();
            let tight = imageops::resize(&tight, size, size, FilterType::Triangle);
            assert_near(&Detector::default().find(&tight), 0.0, 0.0, size as f32);
        }
    }

    /// The answer is the same on every thread, and after other images.
    #[test]
    fn nothing_is_remembered() {
        let photo = astronaut();
        let first = Detector::default().find(&photo);
        let strict = Detector { threshold: 1e9, ..Detector::default() };
        assert!(strict.find(&photo).is_empty());
        let again = std::thread::spawn(move || Detector::default().find(&photo)).join().unwrap();
        assert_eq!(first, again);
    }
}
