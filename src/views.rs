//! Several views of a face, whose answers are averaged.

use moue_datasets::{Affine, SIDE};

/// Test-time augmentation: which views of a face are classified. The answer is the mean of their probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Views {
    /// The face as it is.
    #[default]
    One,
    /// The face and its mirror image.
    Flip,
    /// Four corners and the centre, each 44 x 44 pixels enlarged to the whole, and their mirror images (Krizhevsky et
    /// al. 2012, section 4.1): ten times the work.
    TenCrop,
}

/// Side of the ten crops: as FER2013's strongest single networks take them.
const CROP: usize = 44;

impl Views {
    /// The map of each view.
    pub(crate) fn maps(self) -> Vec<Affine> {
        let whole = |flip| Affine::new(0.0, 1.0, 0.0, (0.0, 0.0), flip);
        match self {
            Self::One => vec![whole(false)],
            Self::Flip => vec![whole(false), whole(true)],
            Self::TenCrop => {
                let zoom = SIDE as f32 / CROP as f32;
                // A corner's centre lies this far from the face's, in pixels of the enlarged face.
                let off = (SIDE - CROP) as f32 / 2.0 * zoom;
                let places = [(0.0, 0.0), (off, off), (-off, off), (off, -off), (-off, -off)];
                let crop = |place| [false, true].map(|flip| Affine::new(0.0, zoom, 0.0, place, flip));
                places.into_iter().flat_map(crop).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moue_datasets::PIXELS;

    /// The views of a face whose grey values tell the column, as rows; with `turned` those of one whose grey values tell
    /// the row, as columns.
    fn views(views: Views, turned: bool) -> Vec<[f32; PIXELS]> {
        let at = |i: usize| if turned { i % SIDE * SIDE + i / SIDE } else { i };
        let face: [u8; PIXELS] = std::array::from_fn(|i| (4 * (at(i) % SIDE)) as u8);
        let view = |map: Affine| {
            let mut out = [f32::NAN; PIXELS];
            map.sample(&face, 0.25, 1.0, &mut out);
            std::array::from_fn(|i| out[at(i)])
        };
        views.maps().into_iter().map(view).collect()
    }

    #[test]
    fn a_face_and_its_mirror_image() {
        let columns: [f32; SIDE] = std::array::from_fn(|x| x as f32 + 1.0);
        assert_eq!(views(Views::One, false)[0][..SIDE], columns);
        let both = views(Views::Flip, false);
        assert_eq!(both[0][..SIDE], columns);
        assert!(both[1][..SIDE].iter().rev().eq(&columns));
    }

    /// The outermost pixels of a crop of 44 columns show the input half a zoomed pixel inside its edges.
    #[test]
    fn ten_crops_show_corners_and_centre() {
        let inset = 0.5 - 0.5 * CROP as f32 / SIDE as f32;
        let starts = [[2.0, 0.0, 4.0, 0.0, 4.0], [2.0, 0.0, 0.0, 4.0, 4.0]];
        for (turned, starts) in [false, true].into_iter().zip(starts) {
            for (pair, start) in views(Views::TenCrop, turned).chunks(2).zip(starts) {
                // The last places touch the face's edge, where the nearest pixel fills.
                let (left, right) = ((start - inset).max(0.0), (start + 43.0 + inset).min(47.0));
                let close = |got: f32, want: f32| (got - 1.0 - want).abs() < 1e-2;
                assert!(
                    close(pair[0][0], left) && close(pair[0][SIDE - 1], right),
                    "{start}: {}",
                    pair[0][0]
                );
                // A mirror image is cropped at the same place, and not turned upside down.
                let (left, right) = if turned { (left, right) } else { (47.0 - left, 47.0 - right) };
                assert!(close(pair[1][0], left) && close(pair[1][SIDE - 1], right), "{start}");
            }
        }
    }
}
