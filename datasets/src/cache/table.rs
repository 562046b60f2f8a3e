//! What is known about the faces of a packed copy, but for their pixels.

use std::io::{self, Write};

use byteorder::{ByteOrder, LittleEndian, ReadBytesExt, WriteBytesExt};

use crate::dataset::{Dataset, Skipped};
use crate::faces::Faces;
use crate::pixels::Pixels;

pub(crate) fn pack(out: &mut Vec<u8>, dataset: &Dataset) -> io::Result<()> {
    pack_text(out, &dataset.name)?;
    pack_length(out, dataset.classes.len())?;
    dataset.classes.iter().try_for_each(|class| pack_text(out, class))?;
    for faces in dataset.splits() {
        out.write_u8(u8::from(faces.is_some()))?;
        if let Some(faces) = faces {
            pack_faces(out, faces)?;
        }
    }
    pack_length(out, dataset.skipped.len())?;
    for skipped in &dataset.skipped {
        pack_text(out, &skipped.path.to_string_lossy())?;
        pack_text(out, &skipped.reason)?;
    }
    pack_length(out, dataset.uncut)
}

fn pack_faces(out: &mut Vec<u8>, faces: &Faces) -> io::Result<()> {
    pack_length(out, faces.len())?;
    out.write_all(&faces.labels)?;
    faces.numbers.iter().try_for_each(|&number| out.write_u32::<LittleEndian>(number))?;
    out.write_u8(u8::from(faces.subjects.is_some()))?;
    faces.subjects.iter().flatten().try_for_each(|&subject| out.write_u32::<LittleEndian>(subject))?;
    faces.names.iter().try_for_each(|name| pack_text(out, name))
}

fn pack_text(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    pack_length(out, text.len())?;
    out.write_all(text.as_bytes())
}

fn pack_length(out: &mut Vec<u8>, length: usize) -> io::Result<()> {
    out.write_u32::<LittleEndian>(u32::try_from(length).map_err(io::Error::other)?)
}

/// The data set that a table describes, still without pixels.
pub(crate) fn unpack(table: &[u8]) -> io::Result<Dataset> {
    let mut rest = table;
    let name = unpack_text(&mut rest)?;
    let classes = unpack_list(&mut rest, unpack_text)?;
    let mut splits = [None, None, None];
    for split in &mut splits {
        if rest.read_u8()? != 0 {
            *split = Some(unpack_faces(&mut rest)?);
        }
    }
    let skipped = unpack_list(&mut rest, |rest| {
        Ok(Skipped { path: unpack_text(rest)?.into(), reason: unpack_text(rest)? })
    })?;
    let uncut = rest.read_u32::<LittleEndian>()? as usize;
    if !rest.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Dataset { skipped, uncut, ..Dataset::new(name, classes, splits) })
}

fn unpack_faces(rest: &mut &[u8]) -> io::Result<Faces> {
    let n = rest.read_u32::<LittleEndian>()? as usize;
    let labels = take(rest, Some(n))?.to_vec();
    let numbers = unpack_words(rest, n)?;
    let subjects = if rest.read_u8()? != 0 { Some(unpack_words(rest, n)?) } else { None };
    // One name at a time: `n` has been seen to fit by now, as there were as many labels.
    let names = (0..n).map(|_| unpack_text(rest)).collect::<io::Result<_>>()?;
    Ok(Faces { pixels: Pixels::default(), labels, numbers, subjects, names })
}

fn unpack_words(rest: &mut &[u8], n: usize) -> io::Result<Vec<u32>> {
    let bytes = take(rest, n.checked_mul(4))?;
    Ok(bytes.chunks_exact(4).map(LittleEndian::read_u32).collect())
}

fn unpack_text(rest: &mut &[u8]) -> io::Result<String> {
    let length = rest.read_u32::<LittleEndian>()? as usize;
    String::from_utf8(take(rest, Some(length))?.to_vec()).map_err(io::Error::other)
}

fn unpack_list<T>(rest: &mut &[u8], item: impl Fn(&mut &[u8]) -> io::Result<T>) -> io::Result<Vec<T>> {
    // The count is not used to reserve memory: it may be a lie, and the items will run out.
    let count = rest.read_u32::<LittleEndian>()?;
    (0..count).map(|_| item(rest)).collect()
}

/// Cuts `length` bytes off the front; `None` is a length that does not fit a `usize`.
fn take<'a>(rest: &mut &'a [u8], length: Option<usize>) -> io::Result<&'a [u8]> {
    let (taken, left) =
        length.and_then(|length| rest.split_at_checked(length)).ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::sample;

    #[test]
    fn tables_that_lie_with_a_right_checksum_do_no_harm() {
        let mut table = Vec::new();
        pack(&mut table, &sample()).unwrap();
        for at in 0..table.len() {
            assert!(unpack(&table[..at]).is_err());
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = table.clone();
                damaged[at] = value;
                let _ = unpack(&damaged);
            }
        }
    }
}
