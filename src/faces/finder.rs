//! From a picture to the faces that are classified.

use super::{Detector, Found, Framing, Square};
use image::GrayImage;
use moue_datasets::decode::{Cutter, fit_face};
use moue_datasets::{Face, SIDE};

/// The largest square picture that is taken for one face where the detector finds none: of data sets that are cut to
/// the face, RAF-DB has 100 pixels a side. Larger ones show enough for the detector.
const LARGEST_FACE: u32 = 128;

/// What a picture is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Squares of up to 48 pixels are faces; in others faces are searched, and squares of up to 128 pixels in which
    /// none is found are faces, too.
    #[default]
    Auto,
    /// Faces are searched in it.
    Detect,
    /// The largest square around its centre is a face.
    Whole,
}

/// A face, ready to be classified.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// Where it is: the detector's square, or all that was taken for a face.
    pub place: Square,
    /// What was cut out of the picture, in its pixels.
    pub around: Square,
    /// How sure the detector is; `None` if all was taken for a face.
    pub score: Option<f32>,
    /// That, as the network wants it.
    pub face: Box<Face>,
}

/// Finds and cuts out faces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Finder {
    /// What pictures are taken for.
    pub mode: Mode,
    /// How faces are found.
    pub detector: Detector,
    /// How they are cut out.
    pub framing: Framing,
}

impl Finder {
    /// The faces of a picture, the surest first; none if it shows none.
    pub fn faces(&self, picture: &GrayImage) -> Vec<Cut> {
        let (width, height) = picture.dimensions();
        if width.min(height) == 0 {
            return Vec::new();
        }
        let square_of = |largest: u32| width == height && width <= largest;
        let auto = self.mode == Mode::Auto;
        if self.mode == Mode::Whole || (auto && square_of(SIDE as u32)) {
            return vec![whole(picture)];
        }
        let found = self.detector.find(picture);
        if found.is_empty() && auto && square_of(LARGEST_FACE) {
            return vec![whole(picture)];
        }
        let cut = |Found { place, score }| {
            let (around, face) = (self.framing.around(place), Box::new(self.framing.cut(picture, place)));
            Cut { place, around, score: Some(score), face }
        };
        found.into_iter().map(cut).collect()
    }
}

/// Cuts the pictures of a data set as photos are cut: the face of which the detector is surest.
pub const CUTTER: Cutter = Cutter {
    name: "seetaface, 1.10",
    cut: |picture| Finder::default().faces(picture).into_iter().next().map(|cut| *cut.face),
};

/// All of the picture as one face.
fn whole(picture: &GrayImage) -> Cut {
    let place = Square::centre_of(picture.width(), picture.height());
    Cut { place, around: place, score: None, face: Box::new(fit_face(picture)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    fn finder(mode: Mode) -> Finder {
        Finder { mode, ..Finder::default() }
    }

    /// Noise has no face.
    fn noise(width: u32, height: u32) -> GrayImage {
        let mut rng = moue_datasets::Rng::new(1);
        GrayImage::from_fn(width, height, |_, _| Luma([rng.range(0.0, 255.0) as u8]))
    }

    #[test]
    fn what_is_cut_already_is_taken_as_it_is() {
        let face = noise(48, 48);
        for mode in [Mode::Auto, Mode::Whole] {
            let cuts = finder(mode).faces(&face);
            assert_eq!(cuts.len(), 1);
            assert_eq!(cuts[0].face.as_slice(), face.as_raw().as_slice());
            assert_eq!(cuts[0].place, Square { x: 0.0, y: 0.0, side: 48.0 });
        }
        assert_eq!(finder(Mode::Detect).faces(&face), []);
    }

    #[test]
    fn pictures_without_a_face_have_none() {
        for ((width, height), faces) in [((100, 100), 1), ((300, 300), 0), ((100, 90), 0), ((20, 21), 0)] {
            let picture = noise(width, height);
            assert_eq!(finder(Mode::Auto).faces(&picture).len(), faces, "{width}x{height}");
            assert_eq!(finder(Mode::Whole).faces(&picture).len(), 1);
            assert_eq!(finder(Mode::Detect).faces(&picture).len(), 0);
        }
    }

    /// No size makes the cascade stumble.
    #[test]
    fn every_size_is_searched() {
        let sizes = [1, 2, 3, 19, 20, 39, 40, 41, 79, 200, 1025];
        for (width, height) in sizes.iter().flat_map(|&w| sizes.map(|h| (w, h))) {
            let flat = GrayImage::from_pixel(width, height, Luma([width as u8]));
            assert_eq!(finder(Mode::Detect).faces(&flat), [], "{width}x{height}");
        }
        assert_eq!(finder(Mode::Detect).faces(&GrayImage::new(16_000, 3)), []);
    }
}
