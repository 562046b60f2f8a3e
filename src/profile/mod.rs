//! Measurements: what the machine can do, and what kernels, training steps and inference make of it.
//!
//! All times are of the rayon pool that the caller is in.

mod chart;
mod dsconv;
mod infer;
mod machine;
mod roofline;
mod step;

pub use chart::{ratio_chart, roofline_chart};
pub use dsconv::{Comparison, Layer, Pass, compare, reached};
pub use infer::{Inference, infer};
pub use machine::{copy_bandwidth, peak_gflops};
pub use roofline::{OpProfile, Roofline};
pub use step::{StepProfile, profile_step};

use std::time::Instant;

/// Seconds of one call.
fn seconds(f: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    f();
    begin.elapsed().as_secs_f64()
}

/// The median: one slow run (another process, a page fault) does not move it.
fn median(mut times: Vec<f64>) -> f64 {
    assert!(!times.is_empty(), "no measurement");
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
