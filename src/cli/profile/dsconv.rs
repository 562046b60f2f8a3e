//! `moue profile dsconv`.

use crate::cli::Context;
use crate::error::Result;
use crate::output::outln;
use crate::profile::{Comparison, Layer, Pass, compare, peak_gflops};
use serde::Serialize;

/// Standard 3x3 against depthwise-separable convolution at every layer shape, forward and backward.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Images a batch.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Repetitions that the medians are taken of.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..))]
    reps: u16,
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
    ds_ms: f64,
    ds_gflops: f64,
    ratio: f64,
    theory: f64,
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
            ds_ms: c.separable * 1e3,
            ds_gflops,
            ratio: c.ratio(),
            theory: c.layer.theory(),
            ratio_over_theory: c.over_theory(),
        }
    }

    fn print(&self) {
        let layer = format!("{}->{} @ {}", self.cin, self.cout, self.hw);
        let pass = if self.pass == Pass::Forward { "forward" } else { "backward" };
        outln!(
            "{layer:<14} {pass:<8} {:>9.3} {:>8.1} {:>9.3} {:>8.1} {:>7.2} {:>7.2} {:>8.2}",
            self.std_ms,
            self.std_gflops,
            self.ds_ms,
            self.ds_gflops,
            self.ratio,
            self.theory,
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
            "{:<14} {:<8} {:>9} {:>8} {:>9} {:>8} {:>7} {:>7} {:>8}",
            "layer",
            "pass",
            "std ms",
            "GFLOP/s",
            "ds ms",
            "GFLOP/s",
            "ratio",
            "theory",
            "reached"
        );
    }
    let mut rows = Vec::new();
    for pass in [Pass::Forward, Pass::Backward] {
        for layer in Layer::ALL {
            let comparison = compare(context.isa, layer, pass, args.batch.into(), args.reps.into());
            let row = Row::new(&comparison, args.batch);
            if !context.json {
                row.print();
            }
            rows.push(row);
        }
    }
    let geomean = |rows: &mut dyn Iterator<Item = &Row>| {
        let logs: Vec<f64> = rows.map(|row| row.ratio_over_theory.ln()).collect();
        (logs.iter().sum::<f64>() / logs.len() as f64).exp()
    };
    let of_pass = |pass| geomean(&mut rows.iter().filter(|row| row.pass == pass));
    let (forward, backward) = (of_pass(Pass::Forward), of_pass(Pass::Backward));
    let output = Output {
        isa: context.isa.name(),
        threads,
        peak_gflops: peak,
        geomean_ratio_over_theory: geomean(&mut rows.iter()),
        rows,
    };
    context.print(&output, || {
        let all = output.geomean_ratio_over_theory;
        outln!("reached of theory, geometric mean: {all:.3} (forward {forward:.3}, backward {backward:.3})");
    });
    Ok(())
}
