//! The FER2013 CSV files of Kaggle: `fer2013.csv` and `icml_face_data.csv`.
//!
//! One row per face: the class code `emotion` (0 to 6), 2304 grey values separated by blanks in
//! `pixels`, and `Usage` (`Training`, `PublicTest` or `PrivateTest`). The columns come in either order
//! and, in `icml_face_data.csv`, with a blank before their names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, StringRecord, Trim};

use crate::classes;
use crate::dataset::Split;
use crate::faces::{Face, Faces, PIXELS};
use crate::{Error, Result};

/// Most bytes of a row; one with three digits a pixel has 9,232. A quote without its end would make the
/// rest of the file one field.
const MAX_ROW: u64 = 1 << 20;

/// Positions of the columns in a row.
struct Columns {
    emotion: usize,
    pixels: usize,
    usage: usize,
}

/// Reads a CSV into its splits, in the order of [`Split::ALL`].
pub(crate) fn read(path: &Path) -> Result<[Option<Faces>; 3]> {
    parse(path, File::open(path).map_err(|source| Error::io(path, source))?)
}

/// Reads a CSV that came from `path`.
pub(crate) fn parse(path: &Path, text: impl Read) -> Result<[Option<Faces>; 3]> {
    let text = Rows { text, left: MAX_ROW };
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text);
    let columns = columns(path, reader.headers().map_err(|error| csv_error(path, error))?)?;

    let mut splits: [Option<Faces>; 3] = [None, None, None];
    let mut record = ByteRecord::new();
    let mut index = 0_u32;
    while reader.read_byte_record(&mut record).map_err(|error| csv_error(path, error))? {
        reader.get_mut().left = MAX_ROW;
        let row = u64::from(index) + 2;
        let (face, label, split) = parse_row(&record, &columns).map_err(|problem| Error::Row {
            path: path.to_path_buf(),
            row,
            problem,
        })?;
        splits[split as usize].get_or_insert_default().push(&face, label, index, format!("row {row}"));
        index = index.saturating_add(1);
    }
    if index == 0 {
        let expected = "expected rows with emotion, pixels and Usage below the header, found none".to_owned();
        return Err(Error::Empty { path: path.to_path_buf(), expected });
    }
    Ok(splits)
}

fn csv_error(path: &Path, error: csv::Error) -> Error {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => Error::io(path, source),
        // With flexible rows of bytes only a header that is not UTF-8 remains.
        _ => Error::Row { path: path.to_path_buf(), row: 1, problem: "expected UTF-8 text".to_owned() },
    }
}

fn columns(path: &Path, header: &StringRecord) -> Result<Columns> {
    if header.iter().all(str::is_empty) {
        let expected =
            "expected a CSV with the columns emotion, pixels and Usage, found no header".to_owned();
        return Err(Error::Empty { path: path.to_path_buf(), expected });
    }
    let find = |wanted: &str| {
        header.iter().position(|name| name.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            // A file without a header has pixels here: show only the start of what was found.
            let names: Vec<String> =
                header.iter().take(8).map(|name| name.chars().take(24).collect()).collect();
            Error::Columns { path: path.to_path_buf(), found: names.join(", ") }
        })
    };
    Ok(Columns { emotion: find("emotion")?, pixels: find("pixels")?, usage: find("usage")? })
}

/// Text that ends in an error if a row has more than [`MAX_ROW`] bytes (and the reader's buffer).
struct Rows<R> {
    text: R,
    /// What may still be read before the row must be over.
    left: u64,
}

impl<R: Read> Read for Rows<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(format!("expected rows of at most {} KiB", MAX_ROW >> 10)));
        }
        let read = self.text.by_ref().take(self.left).read(to)?;
        self.left -= read as u64;
        Ok(read)
    }
}

fn parse_row(record: &ByteRecord, columns: &Columns) -> Result<(Face, u8, Split), String> {
    let field = |name: &str, column: usize| {
        record.get(column).ok_or_else(|| format!("{name}: the row has only {} columns", record.len()))
    };
    let emotion = field("emotion", columns.emotion)?;
    let label = match emotion {
        [digit @ b'0'..=b'9'] if usize::from(digit - b'0') < classes::FER2013.len() => digit - b'0',
        _ => return Err(format!("emotion: expected a code from 0 to 6, found `{}`", shown(emotion))),
    };
    let usage = field("Usage", columns.usage)?;
    let split = match usage {
        b"Training" => Split::Train,
        b"PublicTest" => Split::Validation,
        b"PrivateTest" => Split::Test,
        _ => {
            return Err(format!(
                "Usage: expected Training, PublicTest or PrivateTest, found `{}`",
                shown(usage)
            ));
        }
    };
    Ok((parse_pixels(field("pixels", columns.pixels)?)?, label, split))
}

fn parse_pixels(field: &[u8]) -> Result<Face, String> {
    let mut face = [0; PIXELS];
    let mut count = 0;
    for value in field.split(|byte| byte.is_ascii_whitespace()).filter(|value| !value.is_empty()) {
        let pixel = parse_pixel(value)
            .ok_or_else(|| format!("pixels: value {} is `{}`, expected 0 to 255", count + 1, shown(value)))?;
        if let Some(slot) = face.get_mut(count) {
            *slot = pixel;
        }
        count += 1;
    }
    if count != PIXELS {
        return Err(format!("pixels: expected {PIXELS} values, found {count}"));
    }
    Ok(face)
}

/// A number of one to three digits up to 255.
fn parse_pixel(value: &[u8]) -> Option<u8> {
    if value.is_empty() || value.len() > 3 {
        return None;
    }
    let number = value.iter().try_fold(0_u16, |number, byte| match byte {
        b'0'..=b'9' => Some(number * 10 + u16::from(byte - b'0')),
        _ => None,
    })?;
    u8::try_from(number).ok()
}

/// The start of a field, for messages.
fn shown(field: &[u8]) -> String {
    String::from_utf8_lossy(&field[..field.len().min(24)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(value: u8) -> String {
        vec![value.to_string(); PIXELS].join(" ")
    }

    fn read_text(text: &str) -> Result<[Option<Faces>; 3]> {
        parse(Path::new("fer2013.csv"), text.as_bytes())
    }

    #[test]
    fn both_headers_and_the_three_usages() {
        let (a, b, c) = (pixels(0), pixels(255), pixels(7));
        let fer = format!("emotion,pixels,Usage\n3,{a},Training\r\n0,{b},PublicTest\n6,{c},PrivateTest\n");
        let icml =
            format!("emotion, Usage, pixels\n3, Training,{a}\n0, PublicTest, {b}\n6, PrivateTest, {c}\n");
        let splits = read_text(&fer).unwrap();
        assert_eq!(splits, read_text(&icml).unwrap());
        let [Some(train), Some(validation), Some(test)] = splits else { panic!("three splits") };
        assert_eq!((train.labels, train.numbers), (vec![3], vec![0]));
        assert_eq!((validation.labels.as_slice(), validation.face(0)), (&[0][..], &[255; PIXELS][..]));
        assert_eq!((test.numbers, test.names), (vec![2], vec!["row 4".to_owned()]));
        let bom = format!("\u{feff}{fer}");
        assert!(read_text(&bom).is_ok());
    }

    #[test]
    fn wrong_columns_are_listed() {
        let error = read_text("label, pixels,Usage\n").unwrap_err().to_string();
        assert!(error.contains("fer2013.csv") && error.contains("found [label, pixels, Usage]"), "{error}");
        let error = read_text(&format!("0,{},Training\n", pixels(1))).unwrap_err().to_string();
        assert!(error.len() < 300 && error.contains("found [0, 1 1 1"), "{error}");
    }

    #[test]
    fn bad_rows_are_named() {
        let good = pixels(1);
        for (row, wanted) in [
            (format!("7,{good},Training"), "emotion: expected a code from 0 to 6, found `7`"),
            (format!(",{good},Training"), "emotion"),
            (format!("1,{good},Trainin"), "Usage: expected Training, PublicTest or PrivateTest"),
            (format!("1,{good}"), "Usage: the row has only 2 columns"),
            (format!("1,{good} 1,Training"), "pixels: expected 2304 values, found 2305"),
            ("1,1 2 3,Training".to_owned(), "pixels: expected 2304 values, found 3"),
            (format!("1,1 256 {good},Training"), "pixels: value 2 is `256`, expected 0 to 255"),
            (format!("1,-1 {good},Training"), "pixels: value 1 is `-1`"),
            (format!("1,1.5 {good},Training"), "pixels: value 1 is `1.5`"),
            ("1,,Training".to_owned(), "found 0"),
        ] {
            let text = format!("emotion,pixels,Usage\n2,{good},Training\n{row}\n");
            let error = read_text(&text).unwrap_err().to_string();
            assert!(error.contains("row 3 (the header is row 1)") && error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn empty_files_and_other_bytes() {
        for text in ["", "\n\n", "emotion,pixels,Usage\n"] {
            let error = read_text(text).unwrap_err();
            assert!(matches!(error, Error::Empty { .. }), "{text:?}: {error}");
        }
        let bytes = [0xff, 0xfe, 0x00, 0x2c];
        assert!(matches!(parse(Path::new("x.csv"), &bytes[..]), Err(Error::Row { .. })));
    }

    #[test]
    fn fields_cannot_break_the_line_of_a_message() {
        for text in [
            "\"a\nb\",\"c\rd\"\n".to_owned(),
            format!("emotion,pixels,Usage\n\"1\n2\u{2028}\",{},Training\n", pixels(1)),
            format!("emotion,pixels,Usage\n1,{},\"Tr\naining\u{1b}[31m\"\n", pixels(1)),
            "emotion,pixels,Usage\n1,\"1 \u{7}\",Training\n".to_owned(),
        ] {
            let error = read_text(&text).unwrap_err().to_string();
            assert!(!error.contains(|c: char| c.is_control() || c == '\u{2028}'), "{error:?}");
        }
    }

    /// Neither a row nor a header may be as long as the file.
    #[test]
    fn fields_without_an_end_are_refused_early() {
        let error = parse(Path::new("x.csv"), io::repeat(b'1')).unwrap_err().to_string();
        assert!(error.contains("x.csv") && error.contains("rows of at most 1024 KiB"), "{error}");
        let start = format!("emotion,pixels,Usage\n1,{},Training\n1,\"", pixels(1));
        let endless = start.as_bytes().chain(io::repeat(b'1'));
        let error = parse(Path::new("x.csv"), endless).unwrap_err().to_string();
        assert!(error.contains("rows of at most 1024 KiB"), "{error}");
        let rows = format!("1,{},Training\n", pixels(255)).repeat(300);
        assert!(rows.len() as u64 > 2 * MAX_ROW);
        let [Some(train), ..] = read_text(&format!("emotion,pixels,Usage\n{rows}")).unwrap() else {
            panic!("a training split")
        };
        assert_eq!(train.len(), 300);
    }
}
