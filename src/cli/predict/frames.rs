//! Frames of a film on stdin, as `ffmpeg -f mjpeg -` and `ffmpeg -f rawvideo -pix_fmt gray -` write them.

use super::inputs::{Content, Item};
use image::{DynamicImage, GrayImage, RgbImage};
use moue_datasets::decode::MAX_DIMENSION;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::str::FromStr;

/// Largest JPEG frame in bytes.
const MAX_FRAME: usize = 64 << 20;

/// How the pixels of a frame come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pixels {
    /// One JPEG file after the other.
    Mjpeg,
    /// One byte (grey) or three (RGB) a pixel.
    Raw { width: u32, height: u32, channels: u8 },
}

impl FromStr for Pixels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "mjpeg" {
            return Ok(Self::Mjpeg);
        }
        let sized = || {
            let (kind, size) = text.split_once(':')?;
            let (width, height) = size.split_once('x')?;
            let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_DIMENSION).contains(side));
            let (width, height) = (side(width)?, side(height)?);
            let channels = match kind {
                "gray" | "grey" => 1,
                "rgb24" => 3,
                _ => return None,
            };
            Some(Self::Raw { width, height, channels })
        };
        sized().ok_or("expected mjpeg, gray:WIDTHxHEIGHT or rgb24:WIDTHxHEIGHT".to_owned())
    }
}

/// The frames, as they come; the last one may be broken.
pub(super) fn items(
    pixels: Pixels,
    reader: impl Read + Send + 'static,
) -> impl Iterator<Item = Item> + Send + 'static {
    let mut reader = BufReader::new(reader);
    let mut ended = false;
    let mut number = 0..;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let frame = match pixels {
            Pixels::Mjpeg => next_jpeg(&mut reader).map(|frame| frame.map(Content::Bytes)),
            Pixels::Raw { width, height, channels } => {
                let frame = next_raw(&mut reader, width, height, channels);
                frame.map(|frame| frame.map(Content::Picture))
            }
        };
        ended = frame.is_err();
        let content = frame.unwrap_or_else(|error| Some(Content::Nothing(error)))?;
        Some(Item::frame(number.next()?, content))
    })
}

/// The next frame; `None` at the end of the film.
fn next_raw(
    reader: &mut impl Read,
    width: u32,
    height: u32,
    channels: u8,
) -> Result<Option<DynamicImage>, String> {
    let length = u64::from(width) * u64::from(height) * u64::from(channels);
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    match bytes.len() as u64 {
        0 => return Ok(None),
        got if got < length => return Err(format!("the film ends within a frame: {got} of {length} bytes")),
        _ => {}
    }
    Ok(match channels {
        3 => RgbImage::from_raw(width, height, bytes).map(DynamicImage::from),
        _ => GrayImage::from_raw(width, height, bytes).map(DynamicImage::from),
    })
}

/// The next JPEG file from its start-of-image to its end-of-image marker; `None` at the end of the film. What stands
/// between two files is left out.
fn next_jpeg(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut last = 0;
    loop {
        match byte(reader)? {
            None => return Ok(None),
            Some(0xd8) if last == 0xff => break,
            Some(byte) => last = byte,
        }
    }
    let mut jpeg = Jpeg { reader, bytes: vec![0xff, 0xd8] };
    loop {
        // Between segments, or in the data of a scan, where 0xff stands for itself if 0 follows.
        if jpeg.take()? != 0xff {
            continue;
        }
        let mut marker = 0xff;
        while marker == 0xff {
            marker = jpeg.take()?;
        }
        match marker {
            0xd9 => return Ok(Some(jpeg.bytes)),
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            // A thumbnail in a segment has markers of its own.
            _ => {
                let length = u16::from_be_bytes([jpeg.take()?, jpeg.take()?]);
                for _ in 2..length {
                    jpeg.take()?;
                }
            }
        }
    }
}

/// A JPEG file that is being read.
struct Jpeg<'a, R> {
    reader: &'a mut R,
    bytes: Vec<u8>,
}

impl<R: BufRead> Jpeg<'_, R> {
    fn take(&mut self) -> Result<u8, String> {
        let byte = byte(self.reader)?.ok_or("the film ends within a frame")?;
        if self.bytes.len() == MAX_FRAME {
            return Err(format!("a frame of more than {} MiB", MAX_FRAME >> 20));
        }
        self.bytes.push(byte);
        Ok(byte)
    }
}

/// The next byte; `None` at the end.
fn byte(reader: &mut impl BufRead) -> Result<Option<u8>, String> {
    loop {
        match reader.fill_buf() {
            Ok(buffer) => {
                let byte = buffer.first().copied();
                reader.consume(usize::from(byte.is_some()));
                return Ok(byte);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Luma};
    use std::io::Cursor;

    fn jpeg(seed: u8) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let noise = GrayImage::from_fn(40, 30, |x, y| Luma([(x * x * 7 + y * 31) as u8 ^ seed]));
        DynamicImage::from(noise).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        bytes.into_inner()
    }

    fn frames(bytes: Vec<u8>) -> Vec<Result<Vec<u8>, String>> {
        let mut reader = Cursor::new(bytes);
        let mut frames = Vec::new();
        loop {
            match next_jpeg(&mut reader) {
                Ok(None) => return frames,
                Ok(Some(frame)) => frames.push(Ok(frame)),
                Err(error) => {
                    frames.push(Err(error));
                    return frames;
                }
            }
        }
    }

    #[test]
    fn jpegs_are_told_apart() {
        let [first, mut second] = [jpeg(1), jpeg(200)];
        // A segment with a thumbnail, as cameras write it: its end is not the file's.
        let thumbnail = jpeg(3);
        let length = (thumbnail.len() as u16 + 2).to_be_bytes();
        second.splice(2..2, [&[0xff, 0xe1][..], &length, &thumbnail].concat());
        let film = [&b"noise"[..], &first, b"\0\xff\0", &second, &first].concat();
        assert_eq!(frames(film.clone()), [Ok(first.clone()), Ok(second), Ok(first.clone())]);
        let cut = frames(film[..film.len() - 1].to_vec());
        assert!(cut.len() == 3 && cut[2].as_ref().unwrap_err().contains("within a frame"));
        assert_eq!(frames(Vec::new()), []);
    }

    #[test]
    fn raw_frames_have_their_size() {
        let film = (0..14).collect::<Vec<u8>>();
        let mut reader = Cursor::new(film);
        let mut next = |text: &str| match Pixels::from_str(text).unwrap() {
            Pixels::Raw { width, height, channels } => next_raw(&mut reader, width, height, channels),
            Pixels::Mjpeg => unreachable!(),
        };
        assert_eq!(next("gray:3x2").unwrap().unwrap().into_luma8().into_raw(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(next("rgb24:1x2").unwrap().unwrap().into_rgb8().into_raw(), [6, 7, 8, 9, 10, 11]);
        assert!(next("rgb24:1x2").unwrap_err().contains("2 of 6 bytes"));
        assert_eq!(next("rgb24:1x2"), Ok(None));
        for text in ["", "mjpg", "gray:0x1", "gray:1", "gray:99999x1", "yuv:1x1", "rgb24:1x-1"] {
            assert!(Pixels::from_str(text).is_err(), "{text}");
        }
    }
}
