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

    fn print(&self) {
        let Self { op, shape, max_rel_error, tolerance, ok } = self;
        let verdict = if *ok { "ok" } else { "FAILED" };
        outln!("{op:<32} {shape:<28} {max_rel_error:>10.2e} {tolerance:>10.2e}  {verdict}");
    }
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
    let options = Options { seed: args.seed, isa: context.isa, ..Options::default() };
    if !context.json {
        outln!("{:<32} {:<28} {:>10} {:>10}", "check", "shape", "error", "allowed");
    }
    let mut checks = Vec::new();
    for result in suites.iter().flat_map(|suite| suite.run(&options, only)) {
        let (name, report) = result?;
        for (op, check) in [(name.to_owned(), &report.wide), (format!("{name} f32"), &report.narrow)] {
            let row = Row::new(op, &report.shape, check);
            if !context.json {
                row.print();
            }
            checks.push(row);
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
