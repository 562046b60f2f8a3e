//! The shapes at which every operation is checked.

/// Widths around one lane, one and two vectors of eight, a tile's 16 columns, and two tiles.
const CHANNELS: [usize; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33];

/// Maps that are all border, odd, not square; the last is large enough for Winograd's tiles.
const MAPS: [[usize; 2]; 7] = [[1, 1], [2, 2], [3, 3], [5, 3], [1, 4], [7, 5], [9, 8]];

/// Largest batch.
const BATCHES: usize = 3;

/// One shape of the sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Images.
    pub n: usize,
    /// Rows of the map.
    pub h: usize,
    /// Columns of the map.
    pub w: usize,
    /// Channels of the input.
    pub c: usize,
    /// Channels of the result, for operations that choose.
    pub cout: usize,
}

impl Swept {
    /// The input's shape, `[n, h, w, c]`.
    pub fn x(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }
}

/// Channels 1 to 17 and 31 to 33, each on all of seven maps and at batches 1, 2 and 3; every map at every batch.
/// Batches and widths of the result take turns: the whole product would be sixty times as many.
pub fn sweep() -> impl Iterator<Item = Swept> {
    (0..CHANNELS.len() * MAPS.len()).map(|i| {
        // Neither 3 and 7 nor 9 and 20 have a common divisor: every pair comes up.
        let [h, w] = MAPS[i % MAPS.len()];
        let (c, cout) = (CHANNELS[i / MAPS.len()], CHANNELS[9 * i % CHANNELS.len()]);
        Swept { n: 1 + i % BATCHES, h, w, c, cout }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use moue_kernels::{Conv, Shape, winograd_pays};

    fn count(wanted: impl Fn(&Swept) -> bool) -> usize {
        sweep().filter(wanted).count()
    }

    #[test]
    fn every_width_meets_every_map_and_every_batch() {
        for c in (1..=17).chain(31..=33) {
            for [h, w] in MAPS {
                assert_eq!(count(|at| at.c == c && [at.h, at.w] == [h, w]), 1, "{c} channels on {h}x{w}");
            }
            for n in 1..=3 {
                assert!(count(|at| at.c == c && at.n == n) >= 2, "{c} channels, batch {n}");
            }
            assert_eq!(count(|at| at.cout == c), MAPS.len(), "{c} channels of the result");
        }
        assert!(count(|at| at.c == at.cout) < 10);
    }

    #[test]
    fn every_map_meets_every_batch() {
        for [h, w] in MAPS {
            for n in 1..=3 {
                assert!(count(|at| [at.n, at.h, at.w] == [n, h, w]) >= 6, "{n} maps {h}x{w}");
                // What an operation with one number of channels takes.
                let few = sweep().take(21).filter(|at| [at.n, at.h, at.w] == [n, h, w]);
                assert_eq!(few.count(), 1, "{n} maps {h}x{w} among the first 21");
            }
        }
    }

    #[test]
    fn both_kinds_of_3x3_convolution_are_met() {
        let winograd = count(|at| {
            let x = Shape::new(at.n, at.h, at.w, at.c);
            winograd_pays(&Conv { x, cout: at.cout, stride: 1 })
        });
        assert!(winograd >= 3, "{winograd}");
    }
}
