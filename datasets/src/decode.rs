//! Image files to 48 x 48 grey faces.

use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, Luma, Rgb, RgbImage};

use crate::faces::{Face, PIXELS, SIDE};
use crate::files::{Disk, Files};
use crate::{Error, Result};

/// Largest width and height that are decoded.
pub const MAX_DIMENSION: u32 = 16_384;

/// Most bytes that decoding one image may allocate, and the largest file that is read.
pub const MAX_BYTES: u64 = 256 << 20;

const EXTENSIONS: [&str; 15] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "gif", "tif", "tiff", "webp", "pbm", "pgm", "ppm", "pam",
    "pnm",
];

/// The extensions, for messages.
pub(crate) fn extensions() -> String {
    EXTENSIONS.join(", ")
}

/// Whether the file's extension is one of an image format that is read (JPEG, PNG, BMP, GIF, TIFF,
/// WebP, PNM), without regard to case.
pub fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// Decodes an image file of any supported format to a face; see [`fit_face`] for the resizing.
///
/// # Errors
/// [`Error::Image`] with the reason, for anything that is not a complete image within
/// [`MAX_DIMENSION`] and [`MAX_BYTES`].
pub fn decode_face(bytes: &[u8]) -> Result<Face> {
    decode_grey(bytes).map(|grey| fit_face(&grey))
}

/// Reads and decodes the image at `path` to a face.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Io`] if the file cannot be read, [`Error::Image`] as for
/// [`decode_face`].
pub fn read_face(path: &Path) -> Result<Face> {
    read_grey(path).map(|grey| fit_face(&grey))
}

/// Reads and decodes the image at `path` to 8-bit grey in its own size.
///
/// # Errors
/// As [`read_face`].
pub fn read_grey(path: &Path) -> Result<GrayImage> {
    grey_in(&Disk, path)
}

/// [`read_grey`] in any tree of files.
pub(crate) fn grey_in(files: &impl Files, path: &Path) -> Result<GrayImage> {
    decode_grey(&bytes_in(files, path)?)
}

/// Reads and decodes the image at `path`, colours and all; see [`decode_image`].
///
/// # Errors
/// As [`read_face`].
pub fn read_image(path: &Path) -> Result<DynamicImage> {
    decode_image(&bytes_in(&Disk, path)?)
}

/// A file's bytes, up to [`MAX_BYTES`].
fn bytes_in(files: &impl Files, path: &Path) -> Result<Vec<u8>> {
    let bytes = files.read(path, MAX_BYTES + 1)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::Image(format!("the file is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// Decodes an image to 8-bit grey in its own size.
///
/// Colours become luma with the weights of Rec. 709 (0.2126, 0.7152, 0.0722) and 16-bit samples are
/// scaled; all else is as [`decode_image`] has it.
///
/// # Errors
/// [`Error::Image`] as for [`decode_face`].
pub fn decode_grey(bytes: &[u8]) -> Result<GrayImage> {
    grey_within(bytes, MAX_DIMENSION, MAX_BYTES)
}

/// [`decode_grey`] with other limits.
pub(crate) fn grey_within(bytes: &[u8], max_dimension: u32, max_bytes: u64) -> Result<GrayImage> {
    image_within(bytes, max_dimension, max_bytes).map(DynamicImage::into_luma8)
}

/// Decodes an image as it is seen: the Exif orientation is applied, the first frame of an animation is
/// taken, and what is transparent shows white.
///
/// # Errors
/// [`Error::Image`] as for [`decode_face`].
pub fn decode_image(bytes: &[u8]) -> Result<DynamicImage> {
    image_within(bytes, MAX_DIMENSION, MAX_BYTES)
}

fn image_within(bytes: &[u8], max_dimension: u32, max_bytes: u64) -> Result<DynamicImage> {
    if bytes.is_empty() {
        return Err(Error::Image("the file is empty".to_owned()));
    }
    let image = decode(bytes, max_dimension, max_bytes).map_err(|error| Error::Image(error.to_string()))?;
    if image.width() == 0 || image.height() == 0 {
        return Err(Error::Image("the image has no pixels".to_owned()));
    }
    // The JPEG decoder fills up with grey what a truncated file lacks: half a face would be trained on.
    if bytes.starts_with(&[0xff, 0xd8]) && !jpeg_is_complete(bytes) {
        return Err(Error::Image("truncated JPEG: the end-of-image marker is missing".to_owned()));
    }
    Ok(if image.color().has_alpha() { on_white(image) } else { image })
}

/// What is seen of an image with an alpha channel on white paper.
fn on_white(image: DynamicImage) -> DynamicImage {
    let over = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    if image.color().has_color() {
        let image = image.into_rgba8();
        let seen = |x, y| {
            let [r, g, b, alpha] = image.get_pixel(x, y).0;
            Rgb([r, g, b].map(|value| over(value, alpha)))
        };
        RgbImage::from_fn(image.width(), image.height(), seen).into()
    } else {
        let image = image.into_luma_alpha8();
        let seen = |x, y| {
            let [value, alpha] = image.get_pixel(x, y).0;
            Luma([over(value, alpha)])
        };
        GrayImage::from_fn(image.width(), image.height(), seen).into()
    }
}

fn decode(bytes: &[u8], max_dimension: u32, max_bytes: u64) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(max_dimension);
    limits.max_image_height = Some(max_dimension);
    limits.max_alloc = Some(max_bytes);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    // Unreadable metadata does not make the pixels unreadable.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// The largest centred square of `grey`, resized to 48 x 48 with a triangle filter whose support
/// grows with the reduction (no aliasing). An image of 48 x 48 is returned as it is.
pub fn fit_face(grey: &GrayImage) -> Face {
    let (width, height) = grey.dimensions();
    let side = width.min(height);
    let square = imageops::crop_imm(grey, (width - side) / 2, (height - side) / 2, side, side).to_image();
    let fitted = if side as usize == SIDE {
        square
    } else {
        imageops::resize(&square, SIDE as u32, SIDE as u32, FilterType::Triangle)
    };
    let mut face = [0; PIXELS];
    face.iter_mut().zip(fitted.as_raw()).for_each(|(to, from)| *to = *from);
    face
}

/// How a face is found in a picture that may show more than the face.
#[derive(Debug, Clone, Copy)]
pub struct Cutter {
    /// Tells packed copies apart: another way to cut needs another name.
    pub name: &'static str,
    /// The face, cut out; `None` where none is found, and [`fit_face`] is to do.
    pub cut: fn(&GrayImage) -> Option<Face>,
}

/// Follows the markers of a JPEG file to its end-of-image marker.
///
/// Searching for the two bytes would not do: an embedded thumbnail has that marker, too.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&byte) = bytes.get(at) {
        let Some(&marker) = bytes.get(at + 1) else { return false };
        match (byte, marker) {
            (0xff, 0xd9) => return true,
            // Fill byte before a marker.
            (0xff, 0xff) => at += 1,
            // Stuffed zero within a scan, restart and other markers without a segment.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..).and_then(|rest| rest.first_chunk()) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                in_scan = marker == START_OF_SCAN;
            }
            _ if in_scan => at += 1,
            // Not a marker where one is due; the decoder got along with it, so let it pass.
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use image::{ImageFormat, LumaA, Rgba, RgbaImage};

    pub(crate) fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient(width: u32, height: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| Luma([(x * 3 + y * 2) as u8]))
    }

    #[test]
    fn lossless_formats_of_the_right_size_come_through_untouched() {
        let grey = gradient(48, 48);
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Pnm] {
            let face = decode_face(&encode(grey.clone(), format)).unwrap();
            assert_eq!(face.as_slice(), grey.as_raw().as_slice(), "{format:?}");
        }
        let face = decode_face(&encode(grey.clone(), ImageFormat::Jpeg)).unwrap();
        assert!(face.iter().zip(grey.as_raw()).all(|(a, b)| a.abs_diff(*b) < 12));
    }

    #[test]
    fn colour_becomes_luma() {
        let image = RgbImage::from_pixel(48, 48, Rgb([100, 200, 50]));
        let face = decode_face(&encode(image, ImageFormat::Png)).unwrap();
        let luma = 0.2126 * 100.0 + 0.7152 * 200.0 + 0.0722 * 50.0;
        assert!((f32::from(face[0]) - luma).abs() <= 1.0);
        let deep = image::ImageBuffer::<Luma<u16>, _>::from_pixel(48, 48, Luma([0x8080]));
        assert_eq!(decode_face(&encode(deep, ImageFormat::Png)).unwrap(), [0x80; PIXELS]);
    }

    #[test]
    fn transparent_pixels_show_white() {
        let image = RgbaImage::from_fn(48, 48, |x, _| Rgba([100, 100, 100, if x < 24 { 0 } else { 51 }]));
        let face = decode_face(&encode(image, ImageFormat::Png)).unwrap();
        // 100 / 5 + 255 * 4 / 5
        assert_eq!((face[0], face[47]), (255, 224));
        let grey = image::GrayAlphaImage::from_pixel(48, 48, LumaA([9, 255]));
        assert_eq!(decode_face(&encode(grey, ImageFormat::Png)).unwrap(), [9; PIXELS]);
    }

    #[test]
    fn larger_images_are_cropped_to_the_centre_and_reduced() {
        let mut image = GrayImage::from_pixel(192, 96, Luma([250]));
        for y in 0..96 {
            for x in 48..144 {
                image.put_pixel(x, y, Luma([if x < 96 { 40 } else { 90 }]));
            }
        }
        let face = fit_face(&image);
        assert!((0..SIDE).all(|y| face[y * SIDE] == 40 && face[y * SIDE + 47] == 90));
        assert_eq!(fit_face(&GrayImage::from_pixel(1, 3, Luma([7]))), [7; PIXELS]);
    }

    #[test]
    fn every_truncation_of_a_jpeg_is_refused() {
        let bytes = encode(gradient(48, 48), ImageFormat::Jpeg);
        for length in 0..bytes.len() {
            assert!(decode_face(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
        // Trailing bytes, as phones append them, do no harm.
        let mut longer = bytes.clone();
        longer.extend([0xff, 0xda, 1, 2]);
        assert_eq!(decode_face(&longer).unwrap(), decode_face(&bytes).unwrap());
    }

    #[test]
    fn decompression_bombs_and_other_bytes_are_refused() {
        let wide = encode(GrayImage::new(MAX_DIMENSION + 1, 1), ImageFormat::Png);
        assert!(matches!(decode_face(&wide), Err(Error::Image(_))));
        let large = encode(RgbImage::new(10_000, 10_000), ImageFormat::Png);
        assert!(large.len() < 4 << 20 && matches!(decode_face(&large), Err(Error::Image(_))));
        for bytes in [&b""[..], b"not an image", b"\x89PNG\r\n\x1a\n"] {
            assert!(matches!(decode_face(bytes), Err(Error::Image(_))));
        }
    }

    #[test]
    fn extensions() {
        assert!(is_image(Path::new("a/b.JPG")) && is_image(Path::new("c.tiff")));
        for other in ["Thumbs.db", ".DS_Store", "labels.txt", "jpg"] {
            assert!(!is_image(Path::new(other)));
        }
    }
}
