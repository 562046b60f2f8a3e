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

use crate::error::Result;
use crate::graph::{Graph, Labels, Phase, Var};
use crate::ops::Real;
use crate::params::Params;
use crate::plan::Plan;
use moue_datasets::Rng;
use moue_kernels::Isa;

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

/// How to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of parameters, inputs and the elements that are checked.
    pub seed: u64,
    /// Elements checked by differences in each tensor (all, if it has no more).
    pub samples: usize,
    /// Largest relative error of the f64 gradients.
    pub tolerance: f64,
    /// Instruction set of the f32 gradients.
    pub isa: Isa,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, samples: 40, tolerance: 1e-7, isa: Isa::fastest() }
    }
}

/// The check of one tensor's gradient.
#[derive(Clone, Debug)]
pub struct Row {
    /// Parameter name, or `input 0`.
    pub tensor: String,
    /// Largest |analytic - numerical| / max(|analytic|, |numerical|, a thousandth of the tensor's largest).
    pub f64_error: f64,
    /// Largest |f32 - f64| over the tensor's largest gradient.
    pub f32_error: f64,
}

/// The check of one graph.
#[derive(Clone, Debug)]
pub struct Report {
    /// Shapes of the first input and the result.
    pub shape: String,
    /// One row a tensor.
    pub rows: Vec<Row>,
    /// Allowed `f64_error`.
    pub f64_tolerance: f64,
    /// Allowed `f32_error`: see [`f32_tolerance`].
    pub f32_tolerance: f64,
}

impl Report {
    /// Largest f64 error.
    pub fn f64_error(&self) -> f64 {
        self.rows.iter().fold(0.0, |m, r| nan_max(m, r.f64_error))
    }

    /// Largest f32 error.
    pub fn f32_error(&self) -> f64 {
        self.rows.iter().fold(0.0, |m, r| nan_max(m, r.f32_error))
    }

    /// Whether all errors are allowed.
    pub fn ok(&self) -> bool {
        self.f64_error() <= self.f64_tolerance && self.f32_error() <= self.f32_tolerance
    }
}

/// The larger, and NaN if either is: a NaN gradient must not pass.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Bound on |f32 - f64| relative to a tensor's largest gradient after `macs` multiply-adds an output on the way:
/// rounding errors of k operations grow like lambda * sqrt(k) * eps with high probability (Higham and Mary 2019,
/// theorem 2.4; lambda = 8 makes a violation by chance less likely than 1e-13), times `CONDITION` for
/// cancellation between terms that are larger than their sum.
pub fn f32_tolerance(macs_per_output: f64) -> f64 {
    const LAMBDA: f64 = 8.0;
    const CONDITION: f64 = 8.0;
    LAMBDA * CONDITION * macs_per_output.max(1.0).sqrt() * f64::from(f32::EPSILON) / 2.0
}

/// Differences are tried with these steps, and the best agreement counts: a step that straddles a kink (of a ReLU
/// or a maximum) is wrong by the jump, a smaller one does not reach it, while a wrong gradient is wrong at every
/// step. The truncation error is of the order of the step squared, the rounding error of 1e-16 over the step.
const STEPS: [f64; 4] = [1e-5, 1e-6, 1e-4, 1e-7];

/// Records `build`, computes its gradients in f64 and f32, and checks both.
///
/// # Errors
/// If the graph does not compile.
pub fn check(options: &Options, phase: Phase, build: &dyn Fn(&mut Graph) -> Checked) -> Result<Report> {
    let mut wide = Harness::<f64>::new(options, phase, build)?;
    let mut narrow = Harness::<f32>::new(options, phase, build)?;
    let (gradients, narrow_gradients) = (wide.differentiate(), narrow.differentiate());
    let mut rng = Rng::stream(&[options.seed, 2]);
    let mut rows = Vec::new();
    for (t, (analytic, single)) in gradients.iter().zip(&narrow_gradients).enumerate() {
        let largest = analytic.iter().fold(0.0f64, |m, g| nan_max(m, g.abs()));
        let f32_error =
            analytic.iter().zip(single).fold(0.0, |m, (a, &s)| nan_max(m, (f64::from(s) - a).abs()));
        let mut picks: Vec<usize> = (0..analytic.len()).collect();
        rng.shuffle(&mut picks);
        picks.truncate(options.samples);
        let mut f64_error = 0.0;
        for i in picks {
            f64_error = nan_max(f64_error, wide.disagreement(t, i, analytic[i], largest, options.tolerance));
        }
        // A tensor without gradient at all (a bias in front of a batch norm) has nothing to be relative to.
        let scale = if largest > 1e-12 { largest } else { 1.0 };
        rows.push(Row { tensor: wide.name(t), f64_error, f32_error: f32_error / scale });
    }
    Ok(Report {
        shape: wide.shape.clone(),
        rows,
        f64_tolerance: options.tolerance,
        f32_tolerance: f32_tolerance(wide.macs_per_output),
    })
}

/// A graph under check in one number type, with its inputs, parameters and projection.
struct Harness<T> {
    plan: Plan<T>,
    params: Params<T>,
    inputs: Vec<Var>,
    shape: String,
    macs_per_output: f64,
}

impl<T: Real> Harness<T> {
    fn new(options: &Options, phase: Phase, build: &dyn Fn(&mut Graph) -> Checked) -> Result<Self> {
        let mut g = Graph::new(phase);
        let checked = build(&mut g);
        let out = g.shape(checked.out);
        let direction = g.input(out);
        let loss = g.dot(checked.out, direction);
        checked.inputs.iter().for_each(|&v| g.watch(v));
        let from = checked.inputs.first().map_or(String::new(), |&v| format!("{} -> ", g.shape(v)));
        let shape = format!("{from}{out}");

        let mut rng = Rng::stream(&[options.seed, 0]);
        let mut params = g.init_params(&mut rng);
        perturb(&mut params, &mut rng);
        let mut rng = Rng::stream(&[options.seed, 1]);
        let shapes: Vec<_> = checked.inputs.iter().map(|&v| g.shape(v).len()).collect();
        let mut plan = g.compile::<T>(loss, options.isa)?;
        for (&v, &len) in checked.inputs.iter().zip(&shapes) {
            plan.set(v, &convert(&distinct(len, &mut rng)));
        }
        let toward: Vec<f32> = (0..out.len()).map(|_| rng.range(-1.0, 1.0)).collect();
        plan.set(direction, &convert(&toward));
        for (labels, classes) in &checked.labels {
            plan.set_labels(*labels, classes);
        }
        let macs_per_output = plan.macs_per_output();
        Ok(Self { plan, params: params.cast(), inputs: checked.inputs, shape, macs_per_output })
    }

    /// Gradients of all tensors; copies, since the next forward pass uses their places again.
    fn differentiate(&mut self) -> Vec<Vec<T>> {
        self.plan.forward(&mut self.params);
        self.plan.backward(&mut self.params);
        (0..self.tensors()).map(|t| self.gradient(t).to_vec()).collect()
    }

    fn tensors(&self) -> usize {
        self.inputs.len() + self.params.specs().len()
    }

    fn name(&self, t: usize) -> String {
        match t.checked_sub(self.inputs.len()) {
            None => format!("input {t}"),
            Some(p) => self.params.specs()[p].name.clone(),
        }
    }

    fn gradient(&self, t: usize) -> &[T] {
        match t.checked_sub(self.inputs.len()) {
            None => self.plan.gradient(self.inputs[t]),
            Some(p) => &self.params.grads[self.params.spans().0[p].clone()],
        }
    }

    fn element(&mut self, t: usize, i: usize) -> &mut T {
        match t.checked_sub(self.inputs.len()) {
            None => &mut self.plan.input_mut(self.inputs[t])[i],
            Some(p) => {
                let span = self.params.spans().0[p].clone();
                &mut self.params.values[span][i]
            }
        }
    }
}

impl Harness<f64> {
    /// Relative disagreement of element `i` of tensor `t` with central differences.
    fn disagreement(&mut self, t: usize, i: usize, analytic: f64, largest: f64, tolerance: f64) -> f64 {
        let x = *self.element(t, i);
        let mut best = f64::INFINITY;
        for step in STEPS {
            let [up, down] = [x + step, x - step].map(|at| {
                *self.element(t, i) = at;
                self.plan.forward(&mut self.params);
                self.plan.loss()
            });
            let numerical = (up - down) / (2.0 * step);
            let scale = analytic.abs().max(numerical.abs()).max(1e-3 * largest);
            // Gradients that are exactly zero leave only the rounding of the difference itself.
            let scale = if largest > 1e-12 { scale } else { 1.0 };
            best = best.min((analytic - numerical).abs() / scale);
            if best <= tolerance {
                break;
            }
        }
        *self.element(t, i) = x;
        if analytic.is_finite() { best } else { f64::NAN }
    }
}

/// Values in -1..1 in random order, no two closer than 1/len and none nearer to 0 than that: maxima and ReLUs of
/// the input itself are then far from their kinks.
fn distinct(len: usize, rng: &mut Rng) -> Vec<f32> {
    let mut values: Vec<f32> = (0..len).map(|i| (2.0 * i as f32 + 1.0) / len as f32 - 1.0).collect();
    if len % 2 == 1 {
        values[len / 2] = 0.5 / len as f32;
    }
    rng.shuffle(&mut values);
    values
}

/// Constants (gamma 1, beta 0, running variance 1) would hide mistakes: a quarter up or down.
fn perturb(params: &mut Params<f32>, rng: &mut Rng) {
    params.values.iter_mut().for_each(|x| *x += rng.range(-0.25, 0.25) * x.abs().max(0.1));
    params.buffers.iter_mut().for_each(|x| *x += rng.range(-0.25, 0.25));
}

fn convert<T: Real>(x: &[f32]) -> Vec<T> {
    x.iter().map(|&x| T::from_f64(x.into())).collect()
}

/// Records a graph under check.
type Build = Box<dyn Fn(&mut Graph) -> Checked + Send + Sync>;

/// Named checks.
#[derive(Default)]
pub struct Suite {
    cases: Vec<(&'static str, Phase, Build)>,
}

impl Suite {
    /// Every operation.
    pub fn operations() -> Self {
        let mut suite = Self::default();
        crate::ops::checks(&mut suite);
        suite
    }

    /// Adds a check of a graph in training.
    pub fn add(&mut self, name: &'static str, build: impl Fn(&mut Graph) -> Checked + Send + Sync + 'static) {
        self.add_in(Phase::Train, name, build);
    }

    /// Adds a check of a graph in `phase`.
    pub fn add_in(
        &mut self,
        phase: Phase,
        name: &'static str,
        build: impl Fn(&mut Graph) -> Checked + Send + Sync + 'static,
    ) {
        self.cases.push((name, phase, Box::new(build)));
    }

    /// Names, each once, in order.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.cases.iter().map(|c| c.0).collect();
        names.dedup();
        names
    }

    /// Runs the checks called `only` (all, without a name), one report at a time.
    pub fn run<'a>(
        &'a self,
        options: &'a Options,
        only: Option<&'a str>,
    ) -> impl Iterator<Item = Result<(&'static str, Report)>> + 'a {
        let wanted = self.cases.iter().filter(move |c| only.is_none_or(|name| name == c.0));
        wanted.map(|(name, phase, build)| Ok((*name, check(options, *phase, build)?)))
    }
}

#[cfg(test)]
pub(crate) fn assert_suite(add: fn(&mut Suite)) {
    let mut suite = Suite::default();
    add(&mut suite);
    assert!(!suite.cases.is_empty());
    for isa in Isa::available() {
        for result in suite.run(&Options { isa, ..Options::default() }, None) {
            let (name, report) = result.unwrap();
            assert!(report.ok(), "{name} on {isa:?}: {report:#?}");
        }
    }
}
