//! Packed copies of decoded data sets.
//!
//! Decoding 32,000 small JPEG files takes seconds; a packed file is mapped into memory, and its pixels are read where
//! they are looked at. It is little-endian:
//!
//! | bytes | content |
//! | --- | --- |
//! | 8 | magic `MOUEFACE` |
//! | 4 | version of the format and of the decoding |
//! | 8 | fingerprint of the source |
//! | 8, 4 | length and CRC-32 of the table |
//! | 8, 4 | length and CRC-32 of the summaries |
//! | 8 | length of the pixels |
//! | ... | table: name, classes, labels and so on of three splits, skipped files, pictures without a face |
//! | ... | for every 512 faces of a split: CRC-32 of their pixels, sum, sum of squares (4, 8, 8) |
//! | ... | pixels of the three splits |
//!
//! A file that is stale, truncated or damaged in any way counts as absent: no length in it is
//! believed before it is compared with the bytes that are there.

mod fingerprint;
mod table;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use byteorder::{LittleEndian, ReadBytesExt, WriteBytesExt};
use bytes::Bytes;
use memmap2::Mmap;
use rayon::prelude::*;

use crate::dataset::{CacheStatus, Dataset};
use crate::faces::PIXELS;
use crate::listing::MAX_CLASSES;
use crate::open::name_of;
use crate::pixels::{BLOCK, Pixels, Summary};
use fingerprint::Fnv;
pub(crate) use fingerprint::{of_file, of_listing};
pub(crate) use table::{pack, unpack};

const MAGIC: &[u8; 8] = b"MOUEFACE";
/// To be raised with every change of the layout or of how images become faces.
const VERSION: u32 = 3;
const HEADER: usize = 8 + 4 + 8 + 2 * (8 + 4) + 8;
/// Bytes of a summary.
const SUMMARY: usize = 4 + 8 + 8;

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

    /// The data set, if the copy is there, up to date and whole.
    pub(crate) fn load(&self) -> Option<Dataset> {
        let dataset = open(map(&self.path)?, self.fingerprint)?;
        Some(Dataset { cache: CacheStatus::Hit(self.path.clone()), ..dataset })
    }

    /// Writes the copy; readers see either the old or the new file, never a part.
    pub(crate) fn store(&self, dataset: &Dataset) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        write(&mut file, dataset, self.fingerprint)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

/// The file's content, paged in where it is looked at.
#[allow(unsafe_code, reason = "the one mapping of a file")]
fn map(path: &Path) -> Option<Bytes> {
    let file = File::open(path).ok()?;
    // SAFETY: the bytes must not change while they are mapped. Nobody writes to a packed file: `Cache::store` puts
    // a new one in its place, and a local file system keeps the old one as long as it is mapped. Where something
    // else truncates it, or NFS drops it, the next look ends this process with SIGBUS. Bytes that change for all
    // that are grey values, any of which is valid, or are being parsed by code that copies before it checks.
    let map = unsafe { Mmap::map(&file) }.ok()?;
    Some(Bytes::from_owner(map))
}

/// Writes a packed copy of `dataset`.
pub(crate) fn write(out: &mut impl Write, dataset: &Dataset, fingerprint: u64) -> io::Result<()> {
    let mut table = Vec::new();
    pack(&mut table, dataset)?;
    let splits = || dataset.splits().into_iter().flatten();
    let blocks: Vec<Summary> = splits().flat_map(|faces| faces.pixels.blocks()).collect();
    let pixels = splits().map(|faces| faces.pixels.len() as u64).sum();
    let summaries = pack_summaries(&blocks)?;
    out.write_all(&header(fingerprint, [&table, &summaries], pixels)?)?;
    out.write_all(&table)?;
    out.write_all(&summaries)?;
    splits().try_for_each(|faces| out.write_all(&faces.pixels))
}

struct Part {
    length: u64,
    crc: u32,
}

/// The bytes in front of the table, the summaries and so many pixels.
fn header(fingerprint: u64, parts: [&[u8]; 2], pixels: u64) -> io::Result<Vec<u8>> {
    let mut header = MAGIC.to_vec();
    header.write_u32::<LittleEndian>(VERSION)?;
    header.write_u64::<LittleEndian>(fingerprint)?;
    for part in parts {
        header.write_u64::<LittleEndian>(part.len() as u64)?;
        header.write_u32::<LittleEndian>(crc32fast::hash(part))?;
    }
    header.write_u64::<LittleEndian>(pixels)?;
    Ok(header)
}

/// What a header tells of table and summaries, and the length of the pixels, if it is for the source of this
/// fingerprint.
fn check_header(header: &[u8], fingerprint: u64) -> Option<([Part; 2], u64)> {
    let mut header = header.strip_prefix(MAGIC)?;
    let version = header.read_u32::<LittleEndian>().ok()?;
    if (version, header.read_u64::<LittleEndian>().ok()?) != (VERSION, fingerprint) {
        return None;
    }
    let mut part = || {
        let length = header.read_u64::<LittleEndian>().ok()?;
        Some(Part { length, crc: header.read_u32::<LittleEndian>().ok()? })
    };
    let parts = [part()?, part()?];
    Some((parts, header.read_u64::<LittleEndian>().ok()?))
}

/// The data set in a packed file, if it is whole and of the source of this fingerprint.
pub(crate) fn open(mut file: Bytes, fingerprint: u64) -> Option<Dataset> {
    if file.len() < HEADER {
        return None;
    }
    let ([table, summaries], pixels) = check_header(&file.split_to(HEADER), fingerprint)?;
    let promised = table.length.checked_add(summaries.length)?.checked_add(pixels)?;
    if promised != file.len() as u64 {
        return None;
    }
    let mut part = |part: Part| {
        let bytes = file.split_to(usize::try_from(part.length).ok()?);
        (crc32fast::hash(&bytes) == part.crc).then_some(bytes)
    };
    let (table, summaries) = (part(table)?, part(summaries)?);
    let mut dataset = unpack(&table).ok()?;
    let mut summaries = unpack_summaries(&summaries)?.into_iter();
    let classes = dataset.classes.len();
    if classes > MAX_CLASSES {
        return None;
    }
    for faces in dataset.splits_mut() {
        let length = faces.len().checked_mul(PIXELS).filter(|length| *length <= file.len())?;
        let blocks: Vec<Summary> = summaries.by_ref().take(length.div_ceil(BLOCK)).collect();
        let values = file.split_to(length);
        let found: Vec<Summary> = values.par_chunks(BLOCK).map(Summary::of).collect();
        if found != blocks {
            return None;
        }
        faces.pixels = Pixels::packed(values, blocks);
        faces.check(classes).ok()?;
    }
    (file.is_empty() && summaries.next().is_none()).then_some(dataset)
}

/// A file of `table`, with as many black pixels as it wants if these are few, and checksums that are right: what fuzzing
/// needs to come behind them.
pub(crate) fn sealed(table: &[u8], fingerprint: u64) -> io::Result<Vec<u8>> {
    let wanted = unpack(table).ok().map(|dataset| dataset.splits().map(|faces| faces.map_or(0, |f| f.len())));
    let splits = wanted.filter(|lengths| lengths.iter().sum::<usize>() < 1000).unwrap_or_default();
    let splits = splits.map(|faces| vec![0; faces * PIXELS]);
    let blocks: Vec<Summary> = splits.iter().flat_map(|s| s.chunks(BLOCK)).map(Summary::of).collect();
    let (pixels, summaries) = (splits.concat(), pack_summaries(&blocks)?);
    let header = header(fingerprint, [table, &summaries], pixels.len() as u64)?;
    Ok([&header, table, &summaries, &pixels].concat())
}

fn pack_summaries(blocks: &[Summary]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(blocks.len() * SUMMARY);
    for block in blocks {
        out.write_u32::<LittleEndian>(block.crc)?;
        out.write_u64::<LittleEndian>(block.sum)?;
        out.write_u64::<LittleEndian>(block.squares)?;
    }
    Ok(out)
}

fn unpack_summaries(bytes: &[u8]) -> Option<Vec<Summary>> {
    let (summaries, rest) = bytes.as_chunks::<SUMMARY>();
    let read = |summary: &[u8; SUMMARY]| {
        let mut summary = &summary[..];
        let crc = summary.read_u32::<LittleEndian>().ok()?;
        let mut sum = || summary.read_u64::<LittleEndian>().ok();
        Some(Summary { crc, sum: sum()?, squares: sum()? })
    };
    summaries.iter().map(read).collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::dataset::Skipped;
    use crate::faces::Faces;
    use byteorder::ByteOrder;

    pub(crate) fn sample() -> Dataset {
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
        let load = |bytes: &[u8]| open(Bytes::copy_from_slice(bytes), 42);
        let mut table = Vec::new();
        pack(&mut table, &sample()).unwrap();
        assert_eq!(load(&sealed(&table, 42).unwrap()).map(|dataset| dataset.classes), Some(sample().classes));
        for at in 0..table.len() - 3 {
            let mut lying = table.clone();
            lying[at..at + 4].fill(0xff);
            let _ = load(&sealed(&lying, 42).unwrap());
        }
        let mut huge = sealed(&table, 42).unwrap();
        for (at, length) in [
            (20, u64::MAX),
            (20, u64::MAX - 31),
            (32, u64::MAX),
            (32, 1 << 63),
            (44, u64::MAX),
            (44, 1 << 63),
        ] {
            let old = huge.clone();
            LittleEndian::write_u64(&mut huge[at..], length);
            assert_eq!(load(&huge), None);
            huge = old;
        }
        let classes = (0..=MAX_CLASSES).map(|i| i.to_string()).collect();
        let mut table = Vec::new();
        pack(&mut table, &Dataset::new(String::new(), classes, [None, None, None])).unwrap();
        assert_eq!(load(&sealed(&table, 42).unwrap()), None);
    }
}
