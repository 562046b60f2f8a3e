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

/// What is looked for, and how closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detector {
    /// The longer side of the copy that larger images are reduced to: faces smaller than 40 of its pixels are not
    /// found. Time grows with its square.
    pub longest: u32,
    /// The shorter side that smaller images are enlarged to: a face in them may have fewer than 40 pixels.
    pub shortest: u32,
    /// Width of the frame that is put around each copy, in parts of its shorter side, so that a face that fills the
    /// image is found.
    pub frame: f32,
    /// The smallest score that is believed.
    pub threshold: f64,
}

impl Default for Detector {
    fn default() -> Self {
        Self { longest: 1024, shortest: 160, frame: 0.25, threshold: 3.85 }
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
        let Some(copy) = Copy::of(image, self) else { return Vec::new() };
        let (width, height) = copy.image.dimensions();
        let mut found: Vec<Found> = CASCADE.with_borrow_mut(|cascade| {
            cascade.set_score_thresh(self.threshold.max(f64::MIN_POSITIVE));
            let faces = cascade.detect(&ImageData::new(copy.image.as_raw(), width, height));
            faces.iter().map(|face| copy.found(face)).collect()
        });
        // What lies in the frame is no face.
        let (width, height) = image.dimensions();
        found.retain(|found| found.place.centre_is_within(width, height));
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found
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
    /// `None` where no window fits, or where there is nothing to see.
    fn of(image: &GrayImage, detector: &Detector) -> Option<Self> {
        let (width, height) = image.dimensions();
        let (short, long) = (width.min(height), width.max(height));
        if short == 0 {
            return None;
        }
        let down = detector.longest as f32 / long as f32;
        let scale = (detector.shortest as f32 / short as f32).max(1.0).min(down);
        let resized = |x: u32| ((x as f32 * scale).round() as u32).max(1);
        let (w, h) = (resized(width), resized(height));
        let frame = (detector.frame * w.min(h) as f32).round() as u32;
        if w.min(h) + 2 * frame < WINDOW {
            return None;
        }
        let inner = match (w, h) {
            same if same == (width, height) => None,
            // Averages over areas: two thirds of the triangle filter's work is left out where many pixels become one.
            (w, h) if scale < 0.5 => Some(imageops::thumbnail(image, w, h)),
            (w, h) => Some(imageops::resize(image, w, h, FilterType::Triangle)),
        };
        let image = framed(inner.as_ref().unwrap_or(image), frame);
        Some(Self { image, frame, scale })
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
