//! The grey values of a set of faces: in memory, or in a packed file that is mapped into it.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use crc32fast::Hasher;
use rayon::prelude::*;

use crate::faces::PIXELS;

/// Grey values that are checked together: those of 512 faces, 1.2 MB.
pub(crate) const BLOCK: usize = 512 * PIXELS;

/// Checksum and exact sums of some grey values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// CRC-32.
    pub crc: u32,
    /// Sum of the values.
    pub sum: u64,
    /// Sum of their squares.
    pub squares: u64,
}

impl Summary {
    pub(crate) fn of(values: &[u8]) -> Self {
        let (mut sum, mut squares) = (0, 0);
        // A face at a time, so that the sums fit 32 bits and are vectorised.
        for chunk in values.chunks(PIXELS) {
            let (s, q) = chunk.iter().fold((0_u32, 0_u32), |(s, q), &value| {
                let value = u32::from(value);
                (s + value, q + value * value)
            });
            sum += u64::from(s);
            squares += u64::from(q);
        }
        Self { crc: crc32fast::hash(values), sum, squares }
    }

    /// Of all blocks together, of which all but the last have [`BLOCK`] values, and which have `len` in all.
    fn total(blocks: &[Self], len: usize) -> Self {
        let mut crc = Hasher::new();
        let (mut sum, mut squares, mut left) = (0_u64, 0_u64, len);
        for block in blocks {
            let here = left.min(BLOCK);
            left -= here;
            crc.combine(&Hasher::new_with_initial_len(block.crc, here as u64));
            sum += block.sum;
            squares += block.squares;
        }
        Self { crc: crc.finalize(), sum, squares }
    }
}

/// The grey values of a set of faces, one face after the other.
///
/// They are read like a slice. Those of a packed file are paged in where they are looked at, and shared by all processes
/// that look at them; [`to_mut`](Self::to_mut) makes a copy of them first.
#[derive(Clone)]
pub struct Pixels(Store);

#[derive(Clone)]
enum Store {
    Own(Vec<u8>),
    /// With the summary of every [`BLOCK`] of them.
    Packed {
        values: Bytes,
        blocks: Vec<Summary>,
    },
}

impl Pixels {
    /// Those of a packed file, whose blocks were found to have these summaries.
    pub(crate) fn packed(values: Bytes, blocks: Vec<Summary>) -> Self {
        debug_assert_eq!(blocks.len(), values.len().div_ceil(BLOCK));
        Self(Store::Packed { values, blocks })
    }

    /// The values in a vector of their own.
    pub fn to_mut(&mut self) -> &mut Vec<u8> {
        if let Store::Packed { values, .. } = &self.0 {
            self.0 = Store::Own(values.to_vec());
        }
        match &mut self.0 {
            Store::Own(values) => values,
            Store::Packed { .. } => unreachable!("copied above"),
        }
    }

    /// The summary of each [`BLOCK`]; nothing is read of what is packed.
    pub(crate) fn blocks(&self) -> Vec<Summary> {
        match &self.0 {
            Store::Own(values) => values.par_chunks(BLOCK).map(Summary::of).collect(),
            Store::Packed { blocks, .. } => blocks.clone(),
        }
    }

    /// The summary of all; nothing is read of what is packed.
    pub fn summary(&self) -> Summary {
        Summary::total(&self.blocks(), self.len())
    }
}

impl Default for Pixels {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(values: Vec<u8>) -> Self {
        Self(Store::Own(values))
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Store::Own(values) => values,
            Store::Packed { values, .. } => values,
        }
    }
}

impl fmt::Debug for Pixels {
    /// How many there are, not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} grey values", self.len())
    }
}

impl PartialEq for Pixels {
    /// By value, wherever they lie.
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Pixels {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Own and packed values tell the same, block by block or at once, whatever the last block's size.
    #[test]
    fn summaries_of_blocks_add_up() {
        let mut rng = Rng::new(1);
        for len in [0, 1, BLOCK, BLOCK + PIXELS, 2 * BLOCK + 5] {
            let values: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
            let own = Pixels::from(values.clone());
            let packed = Pixels::packed(Bytes::from(values.clone()), own.blocks());
            let (sum, squares) =
                values.iter().fold((0, 0), |(s, q), &v| (s + u64::from(v), q + u64::from(v).pow(2)));
            let expected = Summary { crc: crc32fast::hash(&values), sum, squares };
            assert_eq!((own.summary(), packed.summary()), (expected, expected));
            assert!(own == packed && own[..] == values);
        }
    }

    #[test]
    fn packed_values_are_copied_before_they_change() {
        let values = Bytes::from(vec![7; 10]);
        let mut pixels = Pixels::packed(values.clone(), vec![Summary::of(&values)]);
        pixels.to_mut()[3] = 8;
        assert_eq!((pixels[3], values[3]), (8, 7));
        assert_eq!(pixels.summary(), Summary::of(&pixels));
    }
}
