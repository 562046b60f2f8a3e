//! `moue profile step`.

use super::ops::{self, Rated};
use super::{CLASSES, gflops, setting, write_chart};
use crate::cli::{Context, model::ModelArgs};
use crate::error::Result;
use crate::output::outln;
use crate::profile::{OpProfile, Roofline, profile_step, roofline_chart};
use serde::Serialize;
use std::path::PathBuf;

/// One training step on noise, operation by operation.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Images a batch.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..))]
    batch: u16,
    /// Steps that the figures are taken of.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..))]
    reps: u16,
    /// SVG file for a chart of the roofline.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Output {
    isa: &'static str,
    threads: usize,
    batch: u16,
    images_per_second: f64,
    ms_per_step: f64,
    gflops: f64,
    peak_gflops: f64,
    fraction_of_peak: f64,
    bandwidth_gb_s: f64,
    parameters: usize,
    /// Multiply-adds of an image's forward pass.
    macs_per_image: u64,
    arena_bytes: usize,
    allocations_per_step: Option<f64>,
    ops: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    rated: Rated,
    forward_ms: f64,
    backward_ms: f64,
}

impl Row {
    fn new(op: &OpProfile, roofline: &Roofline) -> Self {
        Self { rated: Rated::new(op, roofline), forward_ms: op.forward * 1e3, backward_ms: op.backward * 1e3 }
    }
}

impl Args {
    pub(super) fn check(&self) -> Result<()> {
        self.model.model(CLASSES).map(drop)
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let model = args.model.model(CLASSES)?;
    let roofline = Roofline::measure(context.isa);
    let step = profile_step(&model, args.batch.into(), args.reps.into(), context.isa)?;
    let rate = gflops(step.macs, step.seconds);
    let output = Output {
        isa: context.isa.name(),
        threads: rayon::current_num_threads(),
        batch: args.batch,
        images_per_second: f64::from(args.batch) / step.seconds,
        ms_per_step: step.seconds * 1e3,
        gflops: rate,
        peak_gflops: roofline.peak_gflops,
        fraction_of_peak: rate / roofline.peak_gflops,
        bandwidth_gb_s: roofline.bandwidth_gb_s,
        parameters: step.parameters,
        macs_per_image: step.macs_per_image,
        arena_bytes: step.arena_bytes,
        allocations_per_step: step.allocations,
        ops: step.ops.iter().map(|op| Row::new(op, &roofline)).collect(),
    };
    context.print(&output, || print(&output));
    let title = format!("training step, {}", setting(context, args.batch));
    write_chart(args.svg.as_deref(), || roofline_chart(&roofline, &step.ops, &title))
}

fn print(output: &Output) {
    let total: f64 = output.ops.iter().map(|op| op.forward_ms + op.backward_ms).sum();
    outln!("{:<20} {:<32} {:>9} {:>9} {:>6} {}", "op", "shape", "fwd ms", "bwd ms", "share", ops::HEADER);
    for Row { rated, forward_ms, backward_ms } in &output.ops {
        let Rated { op, shape, .. } = rated;
        let share = 100.0 * (forward_ms + backward_ms) / total;
        outln!("{op:<20} {shape:<32} {forward_ms:>9.3} {backward_ms:>9.3} {share:>5.1}% {rated}");
    }
    outln!("{}", ops::NOTE);
    outln!(
        "{} parameters, {:.1} million multiply-adds an image forward",
        output.parameters,
        output.macs_per_image as f64 / 1e6
    );
    outln!(
        "{} on {} threads, batch {}: {:.1} ms a step, {:.1} images/s",
        output.isa,
        output.threads,
        output.batch,
        output.ms_per_step,
        output.images_per_second
    );
    outln!(
        "{:.1} of {:.1} GFLOP/s ({:.1} % of peak); memory copies at {:.1} GB/s",
        output.gflops,
        output.peak_gflops,
        100.0 * output.fraction_of_peak,
        output.bandwidth_gb_s
    );
    let allocations = output.allocations_per_step.map_or("not counted".into(), |n| format!("{n:.1}"));
    outln!("arena {:.1} MB, heap allocations a step: {allocations}", output.arena_bytes as f64 / 1e6);
}
