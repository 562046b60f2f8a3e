//! `moue profile dsconv`.

use super::{setting, write_chart};
use crate::cli::Context;
use crate::error::Result;
use crate::output::outln;
use crate::profile::{Comparison, Layer, Pass, compare, peak_gflops, ratio_chart, reached};
use serde::Serialize;
use std::path::PathBuf;

/// Standard 3x3 against depthwise-separable convolution at every layer shape, forward and backward.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Images a batch.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Repetitions that the medians are taken of.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..))]
    reps: u16,
    /// SVG file for a chart of the ratios, measured beside theory.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Output {
    isa: &'static str,
    threads: usize,
    peak_gflops: f64,
    rows: Vec<Row>,
    geomean_ratio_over_theory: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    cin: usize,
    cout: usize,
    hw: usize,
    batch: u16,
    pass: Pass,
    std_ms: f64,
    std_gflops: f64,
    /// Null where Winograd's algorithm does not pay.
    winograd_ms: Option<f64>,
    ds_ms: f64,
    ds_gflops: f64,
    ratio: f64,
    theory: f64,
    theory_inside: f64,
    ratio_over_theory: f64,
}

impl Row {
    fn new(c: &Comparison, batch: u16) -> Self {
        let (std_gflops, ds_gflops) = c.gflops();
        Self {
            cin: c.layer.cin,
            cout: c.layer.cout,
            hw: c.layer.hw,
            batch,
            pass: c.pass,
            std_ms: c.standard * 1e3,
            std_gflops,
            winograd_ms: c.winograd.map(|seconds| seconds * 1e3),
            ds_ms: c.separable * 1e3,
            ds_gflops,
            ratio: c.ratio(),
            theory: c.layer.theory(),
            theory_inside: c.layer.theory_inside(),
            ratio_over_theory: c.over_theory(),
        }
    }

    fn print(&self, layer: Layer) {
        let pass = if self.pass == Pass::Forward { "forward" } else { "backward" };
        let winograd = self.winograd_ms.map_or(String::new(), |ms| format!("{ms:.3}"));
        outln!(
            "{layer:<14} {pass:<8} {:>9.3} {:>8.1} {winograd:>9} {:>9.3} {:>8.1} {:>7.2} {:>7.2} {:>7.2} {:>8.2}",
            self.std_ms,
            self.std_gflops,
            self.ds_ms,
            self.ds_gflops,
            self.ratio,
            self.theory,
            self.theory_inside,
            self.ratio_over_theory
        );
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let peak = peak_gflops(context.isa);
    let threads = rayon::current_num_threads();
    if !context.json {
        outln!("{} on {threads} threads, peak {peak:.0} GFLOP/s, batch {}", context.isa.name(), args.batch);
        outln!(
            "{:<14} {:<8} {:>9} {:>8} {:>9} {:>9} {:>8} {:>7} {:>7} {:>7} {:>8}",
            "layer",
            "pass",
            "std ms",
            "GFLOP/s",
            "winograd",
            "ds ms",
            "GFLOP/s",
            "ratio",
            "theory",
            "inside",
            "reached"
        );
    }
    let (mut comparisons, mut rows) = (Vec::new(), Vec::new());
    for pass in [Pass::Forward, Pass::Backward] {
        for layer in Layer::ALL {
            let comparison = compare(context.isa, layer, pass, args.batch.into(), args.reps.into());
            let row = Row::new(&comparison, args.batch);
            if !context.json {
                row.print(layer);
            }
            comparisons.push(comparison);
            rows.push(row);
        }
    }
    let of_pass = |pass| reached(comparisons.iter().filter(|c| c.pass == pass));
    let (forward, backward) = (of_pass(Pass::Forward), of_pass(Pass::Backward));
    let output = Output {
        isa: context.isa.name(),
        threads,
        peak_gflops: peak,
        geomean_ratio_over_theory: reached(&comparisons),
        rows,
    };
    context.print(&output, || {
        let all = output.geomean_ratio_over_theory;
        outln!("reached of theory, geometric mean: {all:.3} (forward {forward:.3}, backward {backward:.3})");
    });
    let setting = setting(context, args.batch);
    write_chart(args.svg.as_deref(), || ratio_chart(&comparisons, &setting))
}
