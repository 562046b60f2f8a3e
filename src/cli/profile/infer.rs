//! `moue profile infer`.

use super::{CLASSES, gflops};
use crate::cli::{Context, model::ModelArgs};
use crate::error::Result;
use crate::output::outln;
use crate::profile::infer;
use serde::Serialize;

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
}

#[derive(Debug, Serialize)]
struct Output {
    isa: &'static str,
    threads: usize,
    batch: u16,
    us_per_image: f64,
    gflops: f64,
    arena_bytes: usize,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let model = args.model.model(CLASSES)?;
    let result = infer(&model, args.batch.into(), args.reps.into(), context.isa)?;
    let output = Output {
        isa: context.isa.name(),
        threads: rayon::current_num_threads(),
        batch: args.batch,
        us_per_image: result.seconds * 1e6 / f64::from(args.batch),
        gflops: gflops(result.macs, result.seconds),
        arena_bytes: result.arena_bytes,
    };
    context.print(&output, || {
        outln!(
            "{} on {} threads, batch {}: {:.1} us an image, {:.1} GFLOP/s, arena {:.2} MB",
            output.isa,
            output.threads,
            output.batch,
            output.us_per_image,
            output.gflops,
            output.arena_bytes as f64 / 1e6
        );
    });
    Ok(())
}
