//! `moue profile`.

mod dsconv;
mod infer;
mod ops;
mod step;

use super::Context;
use crate::error::Result;
use crate::files::write_atomically;
use clap::Subcommand;
use std::path::Path;

/// Measures kernels, training steps and inference on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Dsconv(dsconv::Args),
    Step(step::Args),
    Infer(infer::Args),
}

impl Args {
    pub(super) fn check(&self) -> Result<()> {
        match &self.what {
            What::Dsconv(_) => Ok(()),
            What::Step(args) => args.check(),
            What::Infer(args) => args.check(),
        }
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    match args.what {
        What::Dsconv(args) => dsconv::run(args, context),
        What::Step(args) => step::run(args, context),
        What::Infer(args) => infer::run(args, context),
    }
}

/// Classes of FER2013.
const CLASSES: usize = 7;

/// What titles of charts say of a measurement.
fn setting(context: &Context, batch: u16) -> String {
    format!("{} on {} threads, batch {batch}", context.isa.name(), rayon::current_num_threads())
}

/// Writes the chart that `--svg` asks for; after the figures, so that a file that cannot be written does not cost them.
fn write_chart(path: Option<&Path>, chart: impl FnOnce() -> String) -> Result<()> {
    path.map_or(Ok(()), |path| write_atomically(path, chart().as_bytes()))
}

/// GFLOP/s of `macs` multiply-adds in `seconds`; 0 for what takes no time.
fn gflops(macs: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { 2.0 * macs as f64 / seconds / 1e9 } else { 0.0 }
}
