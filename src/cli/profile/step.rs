//! `moue profile step`.

use super::{CLASSES, gflops};
use crate::cli::{Context, model::ModelArgs};
use crate::error::Result;
use crate::output::outln;
use crate::profile::{OpProfile, copy_bandwidth, peak_gflops, profile_step};
use serde::Serialize;

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
    copy_gb_per_second: f64,
    arena_bytes: usize,
    allocations_per_step: Option<f64>,
    ops: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    shape: String,
    forward_ms: f64,
    backward_ms: f64,
    gflops: f64,
}

impl From<OpProfile> for Row {
    fn from(op: OpProfile) -> Self {
        Self {
            gflops: gflops(op.macs, op.forward + op.backward),
            op: op.op,
            shape: op.shape,
            forward_ms: op.forward * 1e3,
            backward_ms: op.backward * 1e3,
        }
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let model = args.model.model(CLASSES)?;
    let peak = peak_gflops(context.isa);
    let copy = copy_bandwidth();
    let step = profile_step(&model, args.batch.into(), args.reps.into(), context.isa)?;
    let rate = gflops(step.macs, step.seconds);
    let output = Output {
        isa: context.isa.name(),
        threads: rayon::current_num_threads(),
        batch: args.batch,
        images_per_second: f64::from(args.batch) / step.seconds,
        ms_per_step: step.seconds * 1e3,
        gflops: rate,
        peak_gflops: peak,
        fraction_of_peak: rate / peak,
        copy_gb_per_second: copy,
        arena_bytes: step.arena_bytes,
        allocations_per_step: step.allocations,
        ops: step.ops.into_iter().map(Row::from).collect(),
    };
    context.print(&output, || print(&output));
    Ok(())
}

fn print(output: &Output) {
    let total: f64 = output.ops.iter().map(|op| op.forward_ms + op.backward_ms).sum();
    outln!("{:<16} {:<32} {:>9} {:>9} {:>8} {:>6}", "op", "shape", "fwd ms", "bwd ms", "GFLOP/s", "share");
    for Row { op, shape, forward_ms, backward_ms, gflops } in &output.ops {
        let share = 100.0 * (forward_ms + backward_ms) / total;
        let rate = if *gflops > 0.0 { format!("{gflops:.1}") } else { String::new() };
        outln!("{op:<16} {shape:<32} {forward_ms:>9.3} {backward_ms:>9.3} {rate:>8} {share:>5.1}%");
    }
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
        output.copy_gb_per_second
    );
    let allocations = output.allocations_per_step.map_or("not counted".into(), |n| format!("{n:.1}"));
    outln!("arena {:.1} MB, heap allocations a step: {allocations}", output.arena_bytes as f64 / 1e6);
}
