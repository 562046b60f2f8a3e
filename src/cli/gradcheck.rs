//! `moue gradcheck`.

use super::Context;
use crate::error::{Error, Result};
use crate::gradcheck::{Check, Options, Suite};
use crate::output::outln;
use moue_datasets::message::excerpt;
use serde::Serialize;

/// Checks every gradient: analytic f64 ones against differences, f32 SIMD ones against the f64 ones.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Check only this operation or model.
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Seed of parameters, inputs and the elements that are checked.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Serialize)]
struct Output {
    checks: Vec<Row>,
    ok: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    op: String,
    shape: String,
    max_rel_error: f64,
    tolerance: f64,
    ok: bool,
}

impl Row {
    fn new(op: String, shape: &str, check: &Check) -> Self {
        Self {
            op,
            shape: shape.to_owned(),
            max_rel_error: check.error(),
            tolerance: check.tolerance,
            ok: check.ok(),
        }
    }

    /// How far the error is towards what is allowed; NaN is the furthest.
    fn strain(&self) -> f64 {
        let strain = self.max_rel_error / self.tolerance;
        if strain.is_nan() { f64::INFINITY } else { strain }
    }
}

/// The checks of one operation or model as one line: the shape nearest to what is allowed, or beyond it.
fn print(checks: &[Row]) {
    let Some(worst) = checks.iter().max_by(|a, b| a.strain().total_cmp(&b.strain())) else { return };
    let Row { op, shape, max_rel_error, tolerance, .. } = worst;
    let verdict = match checks.iter().filter(|row| !row.ok).count() {
        0 => "ok".to_owned(),
        failed => format!("{failed} FAILED"),
    };
    let shapes = checks.len();
    outln!("{op:<32} {shapes:>6} {max_rel_error:>10.2e} {tolerance:>10.2e}  {shape:<28} {verdict}");
}

impl Args {
    pub(super) fn check(&self) -> Result<()> {
        let Some(name) = self.op.as_deref() else { return Ok(()) };
        let suites = suites();
        let names: Vec<&str> = suites.iter().flat_map(Suite::names).collect();
        if names.contains(&name) {
            return Ok(());
        }
        let unknown = excerpt(name);
        Err(Error::Usage(format!("--op {unknown}: unknown; there are: {}", names.join(", "))))
    }
}

fn suites() -> [Suite; 2] {
    [Suite::operations(), Suite::models()]
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let suites = suites();
    let only = args.op.as_deref();
    let names: Vec<&str> = suites.iter().flat_map(Suite::names).collect();
    let options = Options { seed: args.seed, isa: context.isa, probes: Suite::PROBES, ..Options::default() };
    if !context.json {
        outln!("{:<32} {:>6} {:>10} {:>10}  worst shape", "check", "shapes", "error", "allowed");
    }
    let mut checks = Vec::new();
    for name in names.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
        let (mut wide, mut narrow) = (Vec::new(), Vec::new());
        for result in suites.iter().flat_map(|suite| suite.run(&options, Some(name))) {
            let (_, report) = result?;
            wide.push(Row::new(name.to_owned(), &report.shape, &report.wide));
            narrow.push(Row::new(format!("{name} f32"), &report.shape, &report.narrow));
        }
        for rows in [wide, narrow] {
            if !context.json {
                print(&rows);
            }
            checks.extend(rows);
        }
    }
    let failed = checks.iter().filter(|row| !row.ok).count();
    let output = Output { ok: failed == 0, checks };
    context.print(&output, || outln!("{} checks, {failed} failed", output.checks.len()));
    match failed {
        0 => Ok(()),
        _ => Err(Error::Gradients { failed }),
    }
}
