//! Random rotation, zoom, shear, shift and mirroring of a face, random light, and random erasing.
//!
//! One draw is one affine map from the output grid back to the input face, sampled bilinearly. Where
//! the map leaves the face, the nearest edge pixel fills.

use crate::faces::{PIXELS, SIDE};
use crate::{Affine, Error, Normalisation, Result, Rng};

/// Ranges of random geometry and light, each draw uniform in its range, and probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Rotation by up to this many degrees either way.
    pub rotation_degrees: f32,
    /// Enlargement by a factor in `1 - zoom ..= 1 + zoom`.
    pub zoom: f32,
    /// Horizontal shear: x moves by up to this fraction of y, either way.
    pub shear: f32,
    /// Shift along each axis by up to this fraction of the side, either way.
    pub shift: f32,
    /// Probability of mirroring left and right.
    pub flip: f32,
    /// Contrast: distances from mid-grey are multiplied by `1 - contrast ..= 1 + contrast`.
    pub contrast: f32,
    /// Brightness: up to this fraction of white is added or taken away.
    pub brightness: f32,
    /// Probability of overwriting a random rectangle with noise.
    pub erase: f32,
}

impl Augment {
    /// The augmentation of the paper: 10 degrees, zoom, shear and shift of 0.1, half of the faces
    /// mirrored.
    pub const fn paper() -> Self {
        Self { rotation_degrees: 10.0, zoom: 0.1, shear: 0.1, shift: 0.1, flip: 0.5, ..Self::none() }
    }

    /// More of it, and of the light: 15 degrees, zoom of 0.2, contrast of 0.3, brightness of 0.2.
    pub const fn strong() -> Self {
        Self { rotation_degrees: 15.0, zoom: 0.2, contrast: 0.3, brightness: 0.2, ..Self::paper() }
    }

    /// The paper's kinds in wider ranges: 15 degrees, zoom and shear of 0.2, shift of 0.1.
    pub const fn wide() -> Self {
        Self { rotation_degrees: 15.0, zoom: 0.2, shear: 0.2, ..Self::paper() }
    }

    /// Faces as they are.
    pub const fn none() -> Self {
        Self {
            rotation_degrees: 0.0,
            zoom: 0.0,
            shear: 0.0,
            shift: 0.0,
            flip: 0.0,
            contrast: 0.0,
            brightness: 0.0,
            erase: 0.0,
        }
    }

    /// Whether every draw leaves the face as it is.
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }

    /// Verifies the ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field that is not a number or not in its domain.
    pub fn check(&self) -> Result<()> {
        for (name, value, max, expected) in [
            ("augment.rotation_degrees", self.rotation_degrees, 180.0, "0 to 180"),
            ("augment.zoom", self.zoom, 0.9, "0 to 0.9"),
            ("augment.shear", self.shear, 2.0, "0 to 2"),
            ("augment.shift", self.shift, 1.0, "0 to 1"),
            ("augment.flip", self.flip, 1.0, "0 to 1"),
            ("augment.contrast", self.contrast, 1.0, "0 to 1"),
            ("augment.brightness", self.brightness, 1.0, "0 to 1"),
            ("augment.erase", self.erase, 1.0, "0 to 1"),
        ] {
            if !(0.0..=max).contains(&value) {
                return Err(Error::invalid(name, expected, value));
            }
        }
        Ok(())
    }

    /// Draws one map.
    ///
    /// Always takes six numbers from `rng`, whatever the ranges, so that switching one kind of
    /// distortion off leaves the others as they were.
    pub fn draw(&self, rng: &mut Rng) -> Affine {
        let mut either_way = |limit: f32| rng.range(-limit, limit);
        let angle = either_way(self.rotation_degrees);
        let zoom = 1.0 + either_way(self.zoom);
        let shear = either_way(self.shear);
        let shift_x = either_way(self.shift) * SIDE as f32;
        let shift_y = either_way(self.shift) * SIDE as f32;
        let flip = rng.uniform() < self.flip;
        Affine::new(angle, zoom, shear, (shift_x, shift_y), flip)
    }

    /// Writes a random version of `face` (2304 grey values) to the first 2304 elements of `out`, as
    /// grey values from 0 to 255, and beyond with contrast or brightness.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `face` or `out` is shorter than a face.
    pub fn apply(&self, rng: &mut Rng, face: &[u8], out: &mut [f32]) -> Result<()> {
        self.apply_with(rng, face, 1.0, 0.0, out)
    }

    /// As [`apply`](Self::apply), with the result normalised for the network.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `face` or `out` is shorter than a face.
    pub fn apply_normalised(
        &self,
        rng: &mut Rng,
        face: &[u8],
        normalisation: &Normalisation,
        out: &mut [f32],
    ) -> Result<()> {
        let (factor, addend) = normalisation.affine();
        self.apply_with(rng, face, factor, addend, out)
    }

    /// Draws contrast and brightness; what then becomes of a grey value that was to become `grey * factor + addend`, as
    /// such a pair. Values beyond black and white are kept: a network's input has no such bounds.
    fn light(&self, rng: &mut Rng, factor: f32, addend: f32) -> (f32, f32) {
        let contrast = 1.0 + rng.range(-self.contrast, self.contrast);
        let brightness = rng.range(-self.brightness, self.brightness) * 255.0;
        (contrast * factor, (GREY * (1.0 - contrast) + brightness) * factor + addend)
    }

    fn apply_with(
        &self,
        rng: &mut Rng,
        face: &[u8],
        factor: f32,
        addend: f32,
        out: &mut [f32],
    ) -> Result<()> {
        let too_short = |name, got: usize| Error::invalid(name, format!("{PIXELS} pixels"), got);
        let face = face.first_chunk().ok_or_else(|| too_short("face", face.len()))?;
        let length = out.len();
        let out = out.first_chunk_mut().ok_or_else(|| too_short("out", length))?;
        let map = self.draw(rng);
        // No numbers are taken for what is off: the paper's augmentation is the same with and without light.
        let (factor, addend) = match self.contrast > 0.0 || self.brightness > 0.0 {
            true => self.light(rng, factor, addend),
            false => (factor, addend),
        };
        map.sample(face, factor, addend, out);
        if self.erase > 0.0 && rng.uniform() < self.erase {
            erase(rng, factor, addend, out);
        }
        Ok(())
    }
}

/// Mid-grey.
const GREY: f32 = 127.5;

/// Random erasing (Zhong et al. 2020, algorithm 1): a rectangle of 2 to 20 % of the face, its sides in a ratio of 0.3
/// to 1 / 0.3, is overwritten with noise, so that no single part of a face can be relied on.
fn erase(rng: &mut Rng, factor: f32, addend: f32, out: &mut [f32; PIXELS]) {
    let area = rng.range(0.02, 0.2) * PIXELS as f32;
    let ratio = rng.range(0.3f32.ln(), -0.3f32.ln()).exp();
    let side = |x: f32| (x.sqrt().round() as usize).clamp(1, SIDE);
    let (height, width) = (side(area * ratio), side(area / ratio));
    let top = rng.below(SIDE - height + 1);
    let left = rng.below(SIDE - width + 1);
    for row in out.chunks_exact_mut(SIDE).skip(top).take(height) {
        for pixel in &mut row[left..left + width] {
            *pixel = rng.below(256) as f32 * factor + addend;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn textured() -> [u8; PIXELS] {
        let mut rng = Rng::new(1);
        std::array::from_fn(|_| rng.below(256) as u8)
    }

    #[test]
    fn identity_is_exact() {
        let face = textured();
        let mut out = [f32::NAN; PIXELS];
        Augment::none().apply(&mut Rng::new(0), &face, &mut out).unwrap();
        assert_eq!(out, face.map(f32::from));
    }

    #[test]
    fn flip_is_the_exact_mirror() {
        let face = textured();
        let mut out = [f32::NAN; PIXELS];
        let flip = Augment { flip: 1.0, ..Augment::none() };
        flip.apply(&mut Rng::new(0), &face, &mut out).unwrap();
        for (row, line) in face.chunks(SIDE).zip(out.chunks(SIDE)) {
            assert!(row.iter().rev().zip(line).all(|(&a, &b)| f32::from(a) == b));
        }
    }

    #[test]
    fn draws_are_deterministic_and_stay_in_range() {
        let face = textured();
        let draw = |seed| {
            let mut out = [f32::NAN; PIXELS];
            Augment::paper().apply(&mut Rng::stream(&[seed, 3, 5]), &face, &mut out).unwrap();
            out
        };
        let first = draw(1);
        assert_eq!(first, draw(1));
        assert_ne!(first, draw(2));
        assert!(first.iter().all(|p| (0.0..=255.0).contains(p)));
    }

    /// Grey stays grey under contrast alone, and white is as far from it as before, times what was drawn.
    #[test]
    fn light_is_drawn_about_mid_grey() {
        let draw = |augment: Augment, seed, grey| {
            let mut out = [f32::NAN; PIXELS];
            augment.apply(&mut Rng::new(seed), &[grey; PIXELS], &mut out).unwrap();
            assert!(out.iter().all(|p| p == &out[0]));
            out[0]
        };
        let contrast = Augment { contrast: 0.3, ..Augment::none() };
        let brightness = Augment { brightness: 0.2, ..Augment::none() };
        let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
        for seed in 0..200 {
            let (black, white) = (draw(contrast, seed, 0), draw(contrast, seed, 255));
            assert!((black + white - 255.0).abs() < 1e-3, "{black} {white}");
            let added = draw(brightness, seed, 0);
            assert!((draw(brightness, seed, 255) - 255.0 - added).abs() < 1e-3);
            for (i, x) in [(white - black) / 255.0 - 1.0, added / 255.0].into_iter().enumerate() {
                (low[i], high[i]) = (low[i].min(x), high[i].max(x));
            }
        }
        assert!(low[0] > -0.3001 && low[0] < -0.28 && high[0] > 0.28 && high[0] < 0.3001, "{low:?} {high:?}");
        assert!(low[1] > -0.2001 && low[1] < -0.18 && high[1] > 0.18 && high[1] < 0.2001, "{low:?} {high:?}");
    }

    #[test]
    fn erasing_overwrites_one_rectangle() {
        let face = [100; PIXELS];
        let erase = Augment { erase: 1.0, ..Augment::none() };
        for seed in 0..50 {
            let mut out = [f32::NAN; PIXELS];
            erase.apply(&mut Rng::new(seed), &face, &mut out).unwrap();
            assert!(out.iter().all(|p| (0.0..=255.0).contains(p)));
            let changed: Vec<_> =
                (0..PIXELS).filter(|&i| out[i] != 100.0).map(|i| (i / SIDE, i % SIDE)).collect();
            let span = |of: fn(&(usize, usize)) -> usize| {
                let (low, high) =
                    (changed.iter().map(of).min().unwrap(), changed.iter().map(of).max().unwrap());
                high - low + 1
            };
            let area = span(|p| p.0) * span(|p| p.1);
            // Noise meets the old value in one pixel of 256.
            assert!(changed.len() <= area && 10 * changed.len() >= 9 * area, "{} of {area}", changed.len());
            assert!((40..=480).contains(&area), "{area}");
        }
    }

    #[test]
    fn normalised_output_is_the_affine_image_of_the_plain_one() {
        let face = textured();
        let normalisation = Normalisation { mean: 0.4, std: 0.2 };
        let (mut plain, mut normalised) = ([0.0; PIXELS], [0.0; PIXELS]);
        let augment = Augment::paper();
        augment.apply(&mut Rng::new(4), &face, &mut plain).unwrap();
        augment.apply_normalised(&mut Rng::new(4), &face, &normalisation, &mut normalised).unwrap();
        for (plain, normalised) in plain.iter().zip(normalised) {
            assert!(((plain / 255.0 - 0.4) / 0.2 - normalised).abs() < 1e-4);
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        let mut out = [0.0; PIXELS];
        let error = Augment::paper().apply(&mut Rng::new(0), &[0; 10], &mut out).unwrap_err();
        assert!(error.to_string().contains("face: expected 2304 pixels, got 10"), "{error}");
        let bad = Augment { zoom: f32::NAN, ..Augment::paper() };
        assert!(bad.check().unwrap_err().to_string().contains("augment.zoom"));
        Augment::paper().check().unwrap();
    }
}
