//! Sheets of many faces in one picture.

use image::{GrayImage, Luma};

use crate::faces::{Faces, PIXELS, SIDE};
use crate::{Augment, Error, Result, Rng};

/// Pixels between faces, before scaling.
const GAP: usize = 2;
/// Grey of the gaps.
const PAPER: u8 = 255;
/// The longest side of a sheet in pixels.
const MAX_SIDE: usize = 1 << 15;

/// Lays faces (2304 grey values each) out in rows of `columns`, each pixel enlarged to `scale` x
/// `scale`.
///
/// # Errors
/// [`Error::Invalid`] without faces, columns or scale, for a face of another size, and for a sheet of
/// more than 32,768 pixels in width or height.
pub fn contact_sheet(faces: &[&[u8]], columns: usize, scale: usize) -> Result<GrayImage> {
    if faces.is_empty() {
        return Err(Error::invalid("faces", "at least one face", 0));
    }
    if columns == 0 || scale == 0 {
        return Err(Error::invalid(
            "sheet",
            "at least 1 column and scale 1",
            format!("{columns} and {scale}"),
        ));
    }
    if let Some(face) = faces.iter().find(|face| face.len() != PIXELS) {
        return Err(Error::invalid("face", format!("{PIXELS} pixels"), face.len()));
    }
    let columns = columns.min(faces.len());
    let side = |cells: usize| {
        let side = cells.checked_mul(SIDE + GAP)?.checked_add(GAP)?.checked_mul(scale)?;
        u32::try_from(side).ok().filter(|_| side <= MAX_SIDE)
    };
    let (Some(width), Some(height)) = (side(columns), side(faces.len().div_ceil(columns))) else {
        let got = format!("{} faces in {columns} columns at scale {scale}", faces.len());
        return Err(Error::invalid("sheet", format!("at most {MAX_SIDE} pixels a side"), got));
    };
    Ok(GrayImage::from_fn(width, height, |x, y| {
        let cell = |at: u32| {
            let at = at as usize / scale;
            (at / (SIDE + GAP), (at % (SIDE + GAP)).checked_sub(GAP))
        };
        let ((column, x), (row, y)) = (cell(x), cell(y));
        let pixel = match (x, y, faces.get(row * columns + column)) {
            (Some(x), Some(y), Some(face)) if column < columns => face[y * SIDE + x],
            _ => PAPER,
        };
        Luma([pixel])
    }))
}

/// A sheet with one row per class that has faces: its first face as it is and `draws` random
/// versions of it.
///
/// # Errors
/// As [`contact_sheet`], and [`Error::Invalid`] for augmentation ranges out of their domain.
pub fn augmentation_sheet(
    faces: &Faces,
    augment: &Augment,
    draws: usize,
    seed: u64,
    scale: usize,
) -> Result<GrayImage> {
    augment.check()?;
    let labels = 0..=faces.labels.iter().copied().max().unwrap_or_default();
    let firsts = labels.filter_map(|label| faces.labels.iter().position(|&l| l == label));
    let mut cells: Vec<Vec<u8>> = Vec::new();
    let mut drawn = vec![0.0; PIXELS];
    for first in firsts {
        let face = faces.face(first);
        cells.push(face.to_vec());
        for draw in 0..draws {
            augment.apply(&mut Rng::stream(&[seed, draw as u64, first as u64]), face, &mut drawn)?;
            cells.push(drawn.iter().map(|pixel| pixel.round() as u8).collect());
        }
    }
    let cells: Vec<&[u8]> = cells.iter().map(Vec::as_slice).collect();
    contact_sheet(&cells, draws + 1, scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_stand_in_rows_between_gaps() {
        let faces: Vec<[u8; PIXELS]> = (0..3).map(|i| [i * 10; PIXELS]).collect();
        let faces: Vec<&[u8]> = faces.iter().map(<[u8; PIXELS]>::as_slice).collect();
        let sheet = contact_sheet(&faces, 2, 3).unwrap();
        assert_eq!(sheet.dimensions(), (306, 306));
        let at = |x: u32, y: u32| sheet.get_pixel(3 * x + 1, 3 * y + 1).0[0];
        assert_eq!([at(0, 0), at(2, 2), at(49, 49), at(50, 2), at(52, 2)], [255, 0, 0, 255, 10]);
        assert_eq!([at(2, 52), at(52, 52), at(101, 101)], [20, 255, 255]);
    }

    #[test]
    fn augmentation_rows_start_with_the_original() {
        let faces = crate::synthetic::faces(0, crate::Split::Train, 1).unwrap();
        let sheet = augmentation_sheet(&faces, &Augment::none(), 2, 0, 1).unwrap();
        assert_eq!(sheet.dimensions(), (152, 352));
        let cell = |column: u32, row: u32| sheet.get_pixel(2 + 50 * column + 20, 2 + 50 * row + 20).0[0];
        for row in 0..7 {
            let pixel = faces.face(row as usize)[20 * SIDE + 20];
            assert_eq!([cell(0, row), cell(1, row), cell(2, row)], [pixel; 3]);
        }
    }

    #[test]
    fn impossible_sheets_are_refused() {
        let face = [0; PIXELS];
        assert!(contact_sheet(&[], 1, 1).is_err());
        assert!(contact_sheet(&[&face], 0, 1).is_err());
        assert!(contact_sheet(&[&face], 1, usize::MAX).is_err());
        assert!(contact_sheet(&[&face[1..]], 1, 1).is_err());
        assert!(augmentation_sheet(&Faces::default(), &Augment::paper(), 3, 0, 1).is_err());
    }
}
