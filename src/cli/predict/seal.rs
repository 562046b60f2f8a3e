//! A mark in the pictures that are written, by which they are known again: no other picture is ever replaced.

use image::ImageFormat;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A JPEG file's comment, which stands behind the two bytes that begin the file.
const COMMENT: &[u8] = b"\xff\xfe\0\x06moue";

/// Bytes of a PNG file in front of its second chunk: signature and IHDR.
const HEADER: usize = 8 + 25;

/// A PNG file's text chunk.
fn chunk() -> Vec<u8> {
    let body = b"tEXtSoftware\0moue";
    let length = (body.len() as u32 - 4).to_be_bytes();
    [&length[..], body, &crc32fast::hash(body).to_be_bytes()].concat()
}

/// Where the mark stands, and what it is.
fn place(format: ImageFormat) -> (usize, Vec<u8>) {
    if format == ImageFormat::Jpeg { (2, COMMENT.to_vec()) } else { (HEADER, chunk()) }
}

/// `picture`, an encoded JPEG or PNG file, with the mark.
pub(super) fn sealed(picture: &[u8], format: ImageFormat) -> Vec<u8> {
    let (at, mark) = place(format);
    [&picture[..at], &mark, &picture[at..]].concat()
}

/// Whether the file has the mark.
pub(super) fn is_sealed(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(file).and_then(|file| file.take(128).read_to_end(&mut start));
    read.is_ok()
        && [ImageFormat::Jpeg, ImageFormat::Png].into_iter().any(|format| {
            let (at, mark) = place(format);
            start.get(at..).is_some_and(|rest| rest.starts_with(&mark))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;
    use std::fs;
    use std::io::Cursor;

    #[test]
    fn marked_pictures_are_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let picture = GrayImage::from_fn(9, 7, |x, y| image::Luma([(20 * x + y) as u8]));
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let file = folder.path().join("picture");
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            let bytes = bytes.into_inner();
            fs::write(&file, &bytes).unwrap();
            assert!(!is_sealed(&file));
            let sealed = sealed(&bytes, format);
            fs::write(&file, &sealed).unwrap();
            assert!(is_sealed(&file));
            let read = |bytes: &[u8]| image::load_from_memory_with_format(bytes, format).unwrap();
            assert_eq!(read(&sealed), read(&bytes));
        }
        assert!(!is_sealed(&folder.path().join("missing")));
    }
}
