//! Boxes and text on pictures.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use image::{Rgb, RgbImage};

/// Side of a letter in dots.
pub(super) const LETTER: u32 = 8;

/// Black or white, whichever is read better on `paper` (luma of Rec. 601).
pub(super) fn ink_on(Rgb([r, g, b]): Rgb<u8>) -> Rgb<u8> {
    let luma = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    if luma > 128_000 { Rgb([0; 3]) } else { Rgb([255; 3]) }
}

/// Fills the part of a box that lies in the picture.
pub(super) fn fill(picture: &mut RgbImage, [x, y, w, h]: [i64; 4], colour: Rgb<u8>) {
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    for y in y.max(0)..(y + h).min(height) {
        for x in x.max(0)..(x + w).min(width) {
            picture.put_pixel(x as u32, y as u32, colour);
        }
    }
}

/// Draws the outline of a box, `thick` pixels to the inside.
pub(super) fn outline(picture: &mut RgbImage, [x, y, w, h]: [i64; 4], thick: u32, colour: Rgb<u8>) {
    let thick = i64::from(thick);
    for side in
        [[x, y, w, thick], [x, y + h - thick, w, thick], [x, y, thick, h], [x + w - thick, y, thick, h]]
    {
        fill(picture, side, colour);
    }
}

/// Width of a text in pixels, with dots of `scale` pixels.
pub(super) fn width_of(text: &str, scale: u32) -> u32 {
    text.chars().count() as u32 * LETTER * scale
}

/// Writes a text whose upper left corner is `(x, y)`; letters that the font lacks become question marks.
pub(super) fn write(picture: &mut RgbImage, (x, y): (i64, i64), scale: u32, text: &str, colour: Rgb<u8>) {
    let dot = i64::from(scale);
    for (i, letter) in text.chars().enumerate() {
        for (row, bits) in glyph(letter).into_iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                let x = x + (i as i64 * i64::from(LETTER) + column) * dot;
                fill(picture, [x, y + row as i64 * dot, dot, dot], colour);
            }
        }
    }
}

/// Rows of a letter from the top; the lowest bit is on the left.
fn glyph(letter: char) -> [u8; 8] {
    let known = |letter| {
        let basic = BASIC_FONTS.get(letter);
        basic.or_else(|| LATIN_FONTS.get(letter)).or_else(|| GREEK_FONTS.get(letter))
    };
    known(letter).or_else(|| known('?')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Rgb<u8> = Rgb([255, 0, 0]);

    fn red(picture: &RgbImage) -> usize {
        picture.pixels().filter(|pixel| **pixel == RED).count()
    }

    #[test]
    fn boxes_are_cut_off_at_the_edges() {
        let mut picture = RgbImage::new(20, 10);
        outline(&mut picture, [2, 1, 6, 5], 1, RED);
        assert_eq!(red(&picture), 2 * 6 + 2 * 3);
        fill(&mut picture, [-5, -5, 6, 100], RED);
        assert_eq!(red(&picture), 18 + 10);
        outline(&mut picture, [-50, -50, 10, 10], 3, RED);
        fill(&mut picture, [19, 9, i64::from(u32::MAX), 5], RED);
        assert_eq!(red(&picture), 18 + 10 + 1);
    }

    #[test]
    fn text_is_seen_at_its_place() {
        let mut picture = RgbImage::new(40, 20);
        write(&mut picture, (8, 4), 1, "I", RED);
        let inside = picture.enumerate_pixels().filter(|(.., p)| **p == RED);
        assert!(inside.clone().count() > 8);
        assert!(inside.clone().all(|(x, y, _)| (8..16).contains(&x) && (4..12).contains(&y)));
        // Of twice the size, and off the picture.
        let small = red(&picture);
        let mut picture = RgbImage::new(40, 20);
        write(&mut picture, (8, 4), 2, "I", RED);
        assert_eq!(red(&picture), 4 * small);
        write(&mut picture, (-100, 1000), 3, "nowhere", RED);
        assert_eq!((glyph('\u{4e2d}'), width_of("ab", 3)), (glyph('?'), 48));
        assert_eq!(red(&picture), 4 * small);
    }

    #[test]
    fn ink_is_read_on_its_paper() {
        assert_eq!(ink_on(Rgb([255, 255, 0])), Rgb([0; 3]));
        assert_eq!(ink_on(Rgb([0, 0, 255])), Rgb([255; 3]));
    }
}
