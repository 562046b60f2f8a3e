//! `moue profile infer`.

use super::ops::{self, Rated};
use super::{CLASSES, gflops, setting, write_chart};
use crate::cli::{Context, model::ModelArgs};
use crate::error::Result;
use crate::output::outln;
use crate::profile::{OpProfile, Roofline, infer, roofline_chart};
use serde::Serialize;
use std::path::PathBuf;

/// The forward pass alone, as it classifies faces.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Images a batch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Batches that the median is taken of.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
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
    us_per_image: f64,
    gflops: f64,
    peak_gflops: f64,
    bandwidth_gb_s: f64,
    arena_bytes: usize,
    ops: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    rated: Rated,
    us_per_image: f64,
}

impl Row {
    fn new(op: &OpProfile, roofline: &Roofline) -> Self {
        Self { rated: Rated::new(op, roofline), us_per_image: op.forward * 1e6 }
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
    let result = infer(&model, args.batch.into(), args.reps.into(), context.isa)?;
    let output = Output {
        isa: context.isa.name(),
        threads: rayon::current_num_threads(),
        batch: args.batch,
        us_per_image: result.seconds * 1e6 / f64::from(args.batch),
        gflops: gflops(result.macs, result.seconds),
        peak_gflops: roofline.peak_gflops,
        bandwidth_gb_s: roofline.bandwidth_gb_s,
        arena_bytes: result.arena_bytes,
        ops: result.ops.iter().map(|op| Row::new(op, &roofline)).collect(),
    };
    context.print(&output, || print(&output));
    let title = format!("inference, {}", setting(context, args.batch));
    write_chart(args.svg.as_deref(), || roofline_chart(&roofline, &result.ops, &title))
}

fn print(output: &Output) {
    let total: f64 = output.ops.iter().map(|op| op.us_per_image).sum();
    outln!("{:<20} {:<32} {:>9} {:>6} {}", "op", "shape", "us/image", "share", ops::HEADER);
    for Row { rated, us_per_image } in &output.ops {
        let Rated { op, shape, .. } = rated;
        let share = 100.0 * us_per_image / total;
        outln!("{op:<20} {shape:<32} {us_per_image:>9.2} {share:>5.1}% {rated}");
    }
    outln!("{}", ops::NOTE);
    outln!(
        "{} on {} threads, batch {}: {:.1} us an image, {:.1} GFLOP/s, arena {:.2} MB",
        output.isa,
        output.threads,
        output.batch,
        output.us_per_image,
        output.gflops,
        output.arena_bytes as f64 / 1e6
    );
}
