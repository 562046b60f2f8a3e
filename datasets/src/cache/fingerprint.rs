//! Whether a source is still what was packed.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use crate::decode::Cutter;
use crate::listing::Listing;
use crate::{Error, Result};

/// A fingerprint of one file by its size and time of modification.
pub(crate) fn of_file(path: &Path) -> Result<u64> {
    let mut hash = Fnv::new();
    hash.write(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.stamp(stamp(path)?);
    Ok(hash.0)
}

/// A fingerprint of all files of a listing, names, labels, sizes and times of modification, and of how they are cut.
pub(crate) fn of_listing(listing: &Listing, cutter: Option<Cutter>) -> Result<u64> {
    let mut hash = Fnv::new();
    hash.write(cutter.map_or("", |cutter| cutter.name).as_bytes());
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
pub(super) struct Fnv(pub(super) u64);

impl Fnv {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
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
