//! Heat maps over a face.

use super::draw::{LETTER, write};
use super::recognise::Face;
use crate::error::Result;
use crate::explain::{self, Explainer, HeatMap};
use crate::weights::Weights;
use image::imageops::{self, FilterType};
use image::{GrayImage, Rgb, RgbImage};
use moue_datasets::SIDE;
use moue_datasets::message::excerpt;
use moue_kernels::Isa;

/// How many times as large a face is explained.
const ENLARGED: u32 = 5;

/// Most of a heat map's colour in the place of the face's grey.
const OPACITY: f32 = 0.65;

/// Draws what spoke for an answer.
pub(in crate::cli) struct Explained {
    explainer: Explainer,
    layer: String,
}

impl Explained {
    /// Explains by the maps of `layer`, or of the default one.
    ///
    /// # Errors
    /// A layer that the model does not have, or no memory.
    pub(in crate::cli) fn new(weights: &Weights, layer: Option<&str>, isa: Isa) -> Result<Self> {
        let layer = layer.map_or_else(|| explain::default_layer(weights), str::to_owned);
        Ok(Self { explainer: Explainer::new(weights, &layer, isa)?, layer })
    }

    /// The face as the network sees it, and its maps over it, side by side.
    pub(super) fn picture(&mut self, face: &Face) -> RgbImage {
        let explanation = self.explainer.explain(&face.cut.face, Some(face.class));
        let mut panels = vec![(caption(face), None)];
        if let Some(attention) = explanation.attention {
            panels.push(("spatial attention".to_owned(), Some(attention)));
        }
        panels.push((format!("Grad-CAM {}", excerpt(&self.layer)), Some(explanation.grad_cam)));

        let side = ENLARGED * SIDE as u32;
        let (gap, line) = (8, 2 * LETTER);
        let width = panels.len() as u32 * (side + gap) + gap;
        let mut picture = RgbImage::from_pixel(width, side + gap + line, Rgb([255; 3]));
        let grey =
            GrayImage::from_raw(SIDE as u32, SIDE as u32, face.cut.face.to_vec()).expect("a face's pixels");
        let grey = imageops::resize(&grey, side, side, FilterType::Triangle);
        for (i, (text, map)) in panels.into_iter().enumerate() {
            let left = i64::from(gap + i as u32 * (side + gap));
            let text: String = text.chars().take((side / LETTER) as usize).collect();
            write(&mut picture, (left, 4), 1, &text, Rgb([0; 3]));
            imageops::replace(&mut picture, &overlaid(&grey, map), left, i64::from(line));
        }
        picture
    }
}

/// A map over a face: from transparent where it is smallest over red to yellow where it is largest.
fn overlaid(grey: &GrayImage, map: Option<HeatMap>) -> RgbImage {
    let heat = map.map(|map| map.stretched().resized(grey.width() as usize));
    RgbImage::from_fn(grey.width(), grey.height(), |x, y| {
        let value = f32::from(grey.get_pixel(x, y).0[0]);
        let heat = heat.as_ref().map_or(0.0, |heat| heat.values[y as usize * heat.side + x as usize]);
        let colour = [255.0, 255.0 * (2.0 * heat - 1.0).max(0.0), 0.0];
        Rgb(colour.map(|c| (value + OPACITY * heat * (c - value)).round() as u8))
    })
}

/// Label and probability.
pub(super) fn caption(face: &Face) -> String {
    let (_, p) = face.probabilities.0[face.class];
    format!("{} {:.0} %", excerpt(&face.label), 100.0 * p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_transparent_where_there_is_none() {
        let grey = GrayImage::from_pixel(4, 4, image::Luma([100]));
        let map = HeatMap { side: 2, values: vec![1.0, 1.0, 3.0, 2.0] };
        let picture = overlaid(&grey, Some(map));
        assert_eq!(picture.get_pixel(0, 0).0, [100; 3]);
        let [r, g, b] = picture.get_pixel(0, 3).0;
        assert!(r > 190 && g > 190 && b < 40, "{r} {g} {b}");
        assert!(overlaid(&grey, None).pixels().all(|pixel| pixel.0 == [100; 3]));
    }
}
