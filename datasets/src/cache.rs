//! Packed copies of decoded data sets.
//!
//! Decoding 32,000 small JPEG files takes seconds, reading one file of 75 MB a fraction of one. The
//! packed file is little-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 8 | magic `MOUEFACE` |
//! | 4 | version of the format and of the decoding |
//! | 8 | fingerprint of the source |
//! | 8, 4 | length and CRC-32 of the table |
//! | 8, 4 | length and CRC-32 of the pixels |
//! | ... | table: name, classes, labels and so on of three splits, skipped files |
//! | ... | pixels of the three splits, read straight to where they stay |
//!
//! A file that is stale, truncated or damaged in any way counts as absent: no length in it is
//! believed before it is compared with the bytes that are there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use byteorder::{ByteOrder, LittleEndian, ReadBytesExt, WriteBytesExt};
use rayon::prelude::*;

use crate::dataset::{CacheStatus, Dataset, Skipped, name_of};
use crate::faces::{Faces, PIXELS};
use crate::listing::{Listing, MAX_CLASSES};
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"MOUEFACE";
/// To be raised with every change of the layout or of how images become faces.
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 2 * (8 + 4);

/// The packed copy of one source.
pub(crate) struct Cache {
    path: PathBuf,
    fingerprint: u64,
}

impl Cache {
    /// The place for the data set at `source` within `folder`; nothing is touched yet.
    pub(crate) fn new(folder: &Path, source: &Path, fingerprint: u64) -> Self {
        let absolute = source.canonicalize().unwrap_or_else(|_| source.to_path_buf());
        let mut hash = Fnv::new();
        hash.write(absolute.as_os_str().as_encoded_bytes());
        let file = format!("{}-{:016x}.faces", name_of(source), hash.0);
        Self { path: folder.join(file), fingerprint }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The data set, if the copy is there, whole and up to date.
    pub(crate) fn load(&self) -> Option<Dataset> {
        let mut file = File::open(&self.path).ok()?;
        let length = file.metadata().ok()?.len();
        let dataset = read(&mut file, length, self.fingerprint)?;
        Some(Dataset { cache: CacheStatus::Hit(self.path.clone()), ..dataset })
    }

    /// Writes the copy; readers see either the old or the new file, never a part.
    pub(crate) fn store(&self, dataset: &Dataset) -> io::Result<()> {
        let mut table = Vec::new();
        pack(&mut table, dataset)?;
        let mut crc = crc32fast::Hasher::new();
        let mut length = 0;
        for faces in all_splits(dataset).into_iter().flatten() {
            crc.update(&faces.pixels);
            length += faces.pixels.len() as u64;
        }

        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let pixels = Part { length, crc: crc.finalize() };
        file.write_all(&header(self.fingerprint, &table, &pixels)?)?;
        file.write_all(&table)?;
        for faces in all_splits(dataset).into_iter().flatten() {
            file.write_all(&faces.pixels)?;
        }
        file.persist(&self.path)?;
        Ok(())
    }
}

struct Header {
    table: Part,
    pixels: Part,
}

struct Part {
    length: u64,
    crc: u32,
}

/// The bytes in front of a table and its pixels.
fn header(fingerprint: u64, table: &[u8], pixels: &Part) -> io::Result<Vec<u8>> {
    let mut header = MAGIC.to_vec();
    header.write_u32::<LittleEndian>(VERSION)?;
    header.write_u64::<LittleEndian>(fingerprint)?;
    header.write_u64::<LittleEndian>(table.len() as u64)?;
    header.write_u32::<LittleEndian>(crc32fast::hash(table))?;
    header.write_u64::<LittleEndian>(pixels.length)?;
    header.write_u32::<LittleEndian>(pixels.crc)?;
    Ok(header)
}

/// What a header tells, if it is for the source of this fingerprint.
fn check_header(header: &[u8; HEADER], fingerprint: u64) -> Option<Header> {
    let mut header = header.strip_prefix(MAGIC)?;
    let version = header.read_u32::<LittleEndian>().ok()?;
    if (version, header.read_u64::<LittleEndian>().ok()?) != (VERSION, fingerprint) {
        return None;
    }
    let mut part = || {
        let length = header.read_u64::<LittleEndian>().ok()?;
        Some(Part { length, crc: header.read_u32::<LittleEndian>().ok()? })
    };
    Some(Header { table: part()?, pixels: part()? })
}

/// The data set in a file of `length` bytes, if it is whole and of the source of this fingerprint.
pub(crate) fn read(file: &mut impl Read, length: u64, fingerprint: u64) -> Option<Dataset> {
    let mut header = [0; HEADER];
    file.read_exact(&mut header).ok()?;
    let header = check_header(&header, fingerprint)?;
    let promised = header.table.length.checked_add(header.pixels.length)?.checked_add(HEADER as u64)?;
    if promised != length {
        return None;
    }
    let table = read_exactly(file, header.table.length)?;
    if crc32fast::hash(&table) != header.table.crc {
        return None;
    }
    let mut dataset = unpack(&table).ok()?;
    let mut crc = crc32fast::Hasher::new();
    let mut left = header.pixels.length;
    let classes = dataset.classes.len();
    if classes > MAX_CLASSES {
        return None;
    }
    for faces in dataset.splits_mut() {
        let needed = (faces.len() as u64).checked_mul(PIXELS as u64)?;
        left = left.checked_sub(needed)?;
        faces.pixels = read_exactly(file, needed)?;
        crc.update(&faces.pixels);
        faces.check(classes).ok()?;
    }
    (left == 0 && crc.finalize() == header.pixels.crc).then_some(dataset)
}

/// A file of `table` and as many black pixels as `faces` faces have, with checksums that are right: what
/// fuzzing needs to come behind them.
pub(crate) fn sealed(table: &[u8], faces: usize, fingerprint: u64) -> io::Result<Vec<u8>> {
    let pixels = vec![0; faces * PIXELS];
    let part = Part { length: pixels.len() as u64, crc: crc32fast::hash(&pixels) };
    Ok([header(fingerprint, table, &part)?.as_slice(), table, &pixels].concat())
}

/// Reads `length` bytes, which have been checked against the size of the file.
fn read_exactly(file: &mut impl Read, length: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).ok()?).ok()?;
    file.take(length).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}

fn all_splits(dataset: &Dataset) -> [Option<&Faces>; 3] {
    [Some(&dataset.train), dataset.validation.as_ref(), dataset.test.as_ref()]
}

pub(crate) fn pack(out: &mut Vec<u8>, dataset: &Dataset) -> io::Result<()> {
    pack_text(out, &dataset.name)?;
    pack_length(out, dataset.classes.len())?;
    dataset.classes.iter().try_for_each(|class| pack_text(out, class))?;
    for faces in all_splits(dataset) {
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
    Ok(())
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
    if !rest.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Dataset { skipped, ..Dataset::new(name, classes, splits) })
}

fn unpack_faces(rest: &mut &[u8]) -> io::Result<Faces> {
    let n = rest.read_u32::<LittleEndian>()? as usize;
    let labels = take(rest, Some(n))?.to_vec();
    let numbers = unpack_words(rest, n)?;
    let subjects = if rest.read_u8()? != 0 { Some(unpack_words(rest, n)?) } else { None };
    // One name at a time: `n` has been seen to fit by now, as there were as many labels.
    let names = (0..n).map(|_| unpack_text(rest)).collect::<io::Result<_>>()?;
    Ok(Faces { pixels: Vec::new(), labels, numbers, subjects, names })
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

/// A fingerprint of one file by its size and time of modification.
pub(crate) fn fingerprint_of_file(path: &Path) -> Result<u64> {
    let mut hash = Fnv::new();
    hash.write(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.stamp(stamp(path)?);
    Ok(hash.0)
}

/// A fingerprint of all files of a listing: names, labels, sizes and times of modification.
pub(crate) fn fingerprint_of_listing(listing: &Listing) -> Result<u64> {
    let mut hash = Fnv::new();
    for class in &listing.classes {
        hash.write(class.as_bytes());
    }
    for split in &listing.splits {
        let items = split.as_deref().unwrap_or_default();
        hash.write(&[u8::from(split.is_some())]);
        let stamps: Vec<Result<(u64, u128)>> = items.par_iter().map(|item| stamp(&item.path)).collect();
        for (item, stamp) in items.iter().zip(stamps) {
            hash.write(item.name.as_bytes());
            hash.write(&[item.label]);
            hash.stamp(stamp?);
        }
    }
    Ok(hash.0)
}

/// Size and time of modification in nanoseconds (0 where the file system has none). A dangling link
/// counts as an empty file here: whether it can be read is found out when it is decoded.
fn stamp(path: &Path) -> Result<(u64, u128)> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        metadata => metadata.map_err(|source| Error::io(path, source))?,
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((metadata.len(), modified.map_or(0, |since| since.as_nanos())))
}

/// FNV-1a with 64 bits; each write is closed by its length so that neighbours do not run together.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for &byte in bytes.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn stamp(&mut self, (size, modified): (u64, u128)) {
        self.write(&size.to_le_bytes());
        self.write(&modified.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Dataset {
        let mut train = Faces::default();
        train.push(&[1; PIXELS], 0, 7, "a/1.png".to_owned());
        train.push(&[2; PIXELS], 1, 8, "b/\u{e9}.png".to_owned());
        train.subjects = Some(vec![4, 5]);
        let mut test = Faces::default();
        test.push(&[3; PIXELS], 1, u32::MAX, String::new());
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let mut dataset = Dataset::new("sample".to_owned(), classes, [Some(train), None, Some(test)]);
        dataset.skipped.push(Skipped { path: "c.png".into(), reason: "broken".to_owned() });
        dataset
    }

    /// A cache in `folder` with the sample in it.
    fn stored(folder: &Path) -> Cache {
        let cache = Cache::new(&folder.join("new"), Path::new("/somewhere/faces"), 42);
        assert_eq!(cache.load(), None);
        cache.store(&sample()).unwrap();
        cache
    }

    #[test]
    fn what_is_stored_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let cache = stored(folder.path());
        let loaded = cache.load().unwrap();
        assert_eq!(loaded.cache, CacheStatus::Hit(cache.path().to_path_buf()));
        assert_eq!(Dataset { cache: CacheStatus::Unused, ..loaded }, sample());
        let other = Cache { fingerprint: 43, path: cache.path.clone() };
        assert_eq!(other.load(), None, "stale");
        let left: Vec<_> = fs::read_dir(cache.path().parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left");
    }

    #[test]
    fn truncated_and_lengthened_files_count_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let cache = stored(folder.path());
        let mut bytes = fs::read(cache.path()).unwrap();
        let file = File::options().write(true).open(cache.path()).unwrap();
        for length in (0..bytes.len()).rev() {
            file.set_len(length as u64).unwrap();
            assert_eq!(cache.load(), None, "{length} of {} bytes", bytes.len());
        }
        bytes.push(0);
        fs::write(cache.path(), &bytes).unwrap();
        assert_eq!(cache.load(), None);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = stored(folder.path());
        let bytes = fs::read(cache.path()).unwrap();
        // All of the header and table, and some of the pixels.
        let pixels = bytes.len() - 3 * PIXELS;
        for at in (0..pixels).chain((pixels..bytes.len()).step_by(97)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            fs::write(cache.path(), &damaged).unwrap();
            assert_eq!(cache.load(), None, "byte {at}");
        }
    }

    /// With right checksums: a count of 2^32 - 1 labels, classes, names or skipped files; lengths that overflow; more
    /// classes than a label can tell apart.
    #[test]
    fn counts_that_overflow_are_refused() {
        let load = |bytes: &[u8]| read(&mut &bytes[..], bytes.len() as u64, 42);
        let mut table = Vec::new();
        pack(&mut table, &sample()).unwrap();
        assert_eq!(
            load(&sealed(&table, 3, 42).unwrap()).map(|dataset| dataset.classes),
            Some(sample().classes)
        );
        for at in 0..table.len() - 3 {
            let mut lying = table.clone();
            lying[at..at + 4].fill(0xff);
            let _ = load(&sealed(&lying, 3, 42).unwrap());
        }
        let mut huge = sealed(&table, 3, 42).unwrap();
        for (at, length) in [(20, u64::MAX), (20, u64::MAX - 31), (32, u64::MAX), (32, 1 << 63)] {
            let old = huge.clone();
            LittleEndian::write_u64(&mut huge[at..], length);
            assert_eq!(load(&huge), None);
            huge = old;
        }
        let classes = (0..=MAX_CLASSES).map(|i| i.to_string()).collect();
        let mut table = Vec::new();
        pack(&mut table, &Dataset::new(String::new(), classes, [None, None, None])).unwrap();
        assert_eq!(load(&sealed(&table, 0, 42).unwrap()), None);
    }

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

    #[test]
    fn neighbouring_fields_do_not_run_together() {
        let hash = |parts: &[&str]| {
            let mut hash = Fnv::new();
            parts.iter().for_each(|part| hash.write(part.as_bytes()));
            hash.0
        };
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a", ""]), hash(&["", "a"]));
    }
}
