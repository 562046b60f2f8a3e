//! Operations in the tables of `moue profile step` and `moue profile infer`.

use crate::profile::{OpProfile, Roofline};
use serde::Serialize;
use std::fmt;

/// An operation and how near it comes to the roofline.
#[derive(Debug, Serialize)]
pub(super) struct Rated {
    pub(super) op: &'static str,
    pub(super) shape: String,
    gflops: f64,
    /// Read and written at least.
    bytes: u64,
    /// FLOP/byte.
    intensity: f64,
    /// 0 if no arithmetic is counted.
    roofline_gflops: f64,
    fraction_of_roofline: f64,
}

impl Rated {
    pub(super) fn new(op: &OpProfile, roofline: &Roofline) -> Self {
        Self {
            op: op.op,
            shape: op.shape.clone(),
            gflops: op.gflops(),
            bytes: op.bytes,
            intensity: op.intensity(),
            roofline_gflops: roofline.gflops(op.intensity()),
            fraction_of_roofline: roofline.fraction(op),
        }
    }
}

/// Names of the columns that [`Rated`] prints.
pub(super) const HEADER: &str = " GFLOP/s       MB  FLOP/B of roof";

/// What must be known of them.
pub(super) const NOTE: &str = "\
of roof: of the smaller of peak and memory bandwidth x FLOP/B (without counted FLOPs: of the bandwidth). MB: what must
be read and written at least. FLOPs are counted as of direct convolutions: 3x3 ones by Winograd's algorithm need up to
4x fewer and may exceed 100 %, as may what stays in a cache, since the bandwidth is that of memory.";

/// The figures; name and shape stand at the beginning of a line.
impl fmt::Display for Rated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |x: f64| if self.gflops > 0.0 { format!("{x:.1}") } else { String::new() };
        let (rate, intensity) = (counted(self.gflops), counted(self.intensity));
        let (megabytes, percent) = (self.bytes as f64 / 1e6, 100.0 * self.fraction_of_roofline);
        write!(f, "{rate:>8} {megabytes:>8.2} {intensity:>7} {percent:>6.0}%")
    }
}
