//! Gradient checks of any graph: analytic f64 gradients against central differences, and the f32 SIMD gradients
//! against the f64 ones.
//!
//! ```
//! use moue::gradcheck::{Checked, Options, check};
//! use moue::{Init, Phase};
//!
//! let report = check(&Options::default(), Phase::Train, &|g| {
//!     let x = g.input([2, 5, 5, 3]);
//!     let w = g.param("w", &[3, 3, 3, 8], Init::Uniform { fan_in: 27 });
//!     let y = g.conv3x3(x, w);
//!     Checked::new(g.relu(y), [x])
//! })?;
//! assert!(report.ok(), "{report:?}");
//! # Ok::<(), moue::Error>(())
//! ```

mod harness;
mod models;
mod shapes;
mod suite;

use crate::error::Result;
use crate::graph::{Graph, Labels, Phase, Var};
use harness::{Harness, Probe};
use moue_datasets::Rng;
use moue_kernels::Isa;
pub use shapes::{Swept, sweep};
pub use suite::Suite;
#[cfg(test)]
pub(crate) use suite::assert_suite;

/// What a graph under check exposes.
#[derive(Debug)]
pub struct Checked {
    out: Var,
    inputs: Vec<Var>,
    labels: Vec<(Labels, Vec<u32>)>,
}

impl Checked {
    /// The value to differentiate, of any shape (it is projected on a random direction), and the inputs whose
    /// gradients are checked; parameters always are.
    pub fn new(out: Var, inputs: impl IntoIterator<Item = Var>) -> Self {
        Self { out, inputs: inputs.into_iter().collect(), labels: Vec::new() }
    }

    /// Class indices for labels of the graph.
    #[must_use]
    pub fn labels(mut self, labels: Labels, classes: &[u32]) -> Self {
        self.labels.push((labels, classes.to_vec()));
        self
    }
}

/// Which differences are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probes {
    /// At most this many elements of each tensor, one at a time.
    Elements(usize),
    /// All tensors of a block (names up to the first dot) at once, along a random direction: for whole models,
    /// whose forward pass is too slow to repeat for single elements. A wrong gradient anywhere in the block shows.
    Blocks,
}

/// How to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of parameters, inputs and probes.
    pub seed: u64,
    /// Differences taken.
    pub probes: Probes,
    /// Largest relative error of the f64 gradients.
    pub tolerance: f64,
    /// Instruction set of the f32 gradients.
    pub isa: Isa,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, probes: Probes::Elements(40), tolerance: 1e-7, isa: Isa::fastest() }
    }
}

/// One number type's check of one graph.
#[derive(Clone, Debug)]
pub struct Check {
    /// Tensor (a parameter's name, or `input 0`) or block, with its error.
    pub rows: Vec<(String, f64)>,
    /// Allowed error.
    pub tolerance: f64,
}

impl Check {
    /// The largest error; NaN if there is one.
    pub fn error(&self) -> f64 {
        self.rows.iter().fold(0.0, |m, row| nan_max(m, row.1))
    }

    /// Whether all errors are allowed.
    pub fn ok(&self) -> bool {
        self.error() <= self.tolerance
    }

    /// Of each row the smaller error, and NaN if either is: no other point excuses one.
    fn keep_better(&mut self, other: &Self) {
        for (row, other) in self.rows.iter_mut().zip(&other.rows) {
            row.1 = if row.1.is_nan() || other.1.is_nan() { f64::NAN } else { row.1.min(other.1) };
        }
    }
}

/// The check of one graph.
#[derive(Clone, Debug)]
pub struct Report {
    /// Shapes of the first input and the result.
    pub shape: String,
    /// f64: largest |analytic - numerical| / max(|analytic|, |numerical|, a thousandth of the tensor's largest).
    pub wide: Check,
    /// f32: largest |f32 - f64| over the tensor's largest gradient; allowed is [`f32_tolerance`].
    pub narrow: Check,
}

impl Report {
    /// Whether all errors are allowed, and there was a gradient to look at.
    pub fn ok(&self) -> bool {
        !self.narrow.rows.is_empty() && self.wide.ok() && self.narrow.ok()
    }
}

/// The larger, and NaN if either is: a NaN gradient must not pass.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Bound on |f32 - f64| relative to a tensor's largest gradient after [`Plan::roundings`](crate::Plan::roundings): k
/// roundings leave an error within lambda * sqrt(k) * u of the sum of the absolute terms with high probability (Higham
/// and Mary 2019, theorem 2.4); lambda = 8 makes a violation by chance less likely than 1e-13. The largest gradient
/// stands for that sum. Of a tensor of few elements all may be sums that cancel, and then another point decides:
/// [`check_at_points`].
pub fn f32_tolerance(roundings: f64) -> f64 {
    const LAMBDA: f64 = 8.0;
    LAMBDA * roundings.max(1.0).sqrt() * f64::from(f32::EPSILON) / 2.0
}

/// Records `build`, computes its gradients in f64 and f32, and checks both.
///
/// # Errors
/// If the graph does not compile.
pub fn check(options: &Options, phase: Phase, build: &dyn Fn(&mut Graph) -> Checked) -> Result<Report> {
    check_elements(options, options.seed, phase, build)
}

/// [`check`] of the elements that `draw` draws.
fn check_elements(
    options: &Options,
    draw: u64,
    phase: Phase,
    build: &dyn Fn(&mut Graph) -> Checked,
) -> Result<Report> {
    let mut wide = Harness::<f64>::new(options, phase, build)?;
    let mut narrow = Harness::<f32>::new(options, phase, build)?;
    wide.differentiate();
    narrow.differentiate();
    let narrow_rows =
        (0..wide.tensors()).map(|t| (wide.name(t), distance(wide.gradient(t), narrow.gradient(t))));
    let narrow = Check { rows: narrow_rows.collect(), tolerance: f32_tolerance(wide.roundings) };

    let mut rows: Vec<(String, f64)> = Vec::new();
    for probe in Probe::draw(&wide, options.probes, &mut Rng::stream(&[draw, 2])) {
        let error = wide.disagreement(&probe, options.tolerance);
        match rows.last_mut().filter(|row| row.0 == probe.name) {
            Some(row) => row.1 = nan_max(row.1, error),
            None => rows.push((probe.name, error)),
        }
    }
    let wide_check = Check { rows, tolerance: options.tolerance };
    Ok(Report { shape: wide.shape, wide: wide_check, narrow })
}

/// [`check`] at up to `points` random points until one passes; of each row the best counts. A right gradient may miss
/// its bound at a point, for two reasons:
///
/// - ReLUs and maxima of values that the graph computes: in a whole model at nearly every point some argument is so
///   close to its kink that differences cross it or f32 falls on its other side, and a derivative at a kink is no one's
///   mistake. Kinks of the inputs themselves are none: inputs keep their distance.
/// - Sums that cancel: roundings are relative to the absolute terms, and may be many times what is left of a tensor's
///   only sum, or of all of its sums.
///
/// Neither lasts when all values are drawn again, while a wrong gradient is wrong at every point, where the same
/// elements are looked at.
///
/// # Errors
/// If the graph does not compile.
pub fn check_at_points(
    options: &Options,
    points: u64,
    phase: Phase,
    build: &dyn Fn(&mut Graph) -> Checked,
) -> Result<Report> {
    let mut best = check(options, phase, build)?;
    for point in 1..points {
        if best.ok() {
            break;
        }
        let seed = options.seed.wrapping_add(point << 32);
        let next = check_elements(&Options { seed, ..options.clone() }, options.seed, phase, build)?;
        best.wide.keep_better(&next.wide);
        best.narrow.keep_better(&next.narrow);
    }
    Ok(best)
}

/// Largest |f32 - f64| over the largest |f64|.
fn distance(wide: &[f64], narrow: &[f32]) -> f64 {
    let error = wide.iter().zip(narrow).fold(0.0, |m, (w, &n)| nan_max(m, (f64::from(n) - w).abs()));
    error / scale_of(largest(wide))
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m, g| nan_max(m, g.abs()))
}

/// A tensor without gradient at all (a bias in front of a batch norm) has nothing to be relative to.
fn scale_of(largest: f64) -> f64 {
    if largest > 1e-12 { largest } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_point_excuses_a_nan() {
        let row = |error| Check { rows: vec![("x".to_owned(), error)], tolerance: 1.0 };
        for (first, second, kept) in [(0.2, 3.0, 0.2), (3.0, 0.2, 0.2)] {
            let mut check = row(first);
            check.keep_better(&row(second));
            assert_eq!(check.error(), kept);
        }
        for (first, second) in [(0.2, f64::NAN), (f64::NAN, 0.2)] {
            let mut check = row(first);
            check.keep_better(&row(second));
            assert!(!check.ok(), "{first}, then {second}");
        }
    }
}
