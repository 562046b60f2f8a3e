//! `moue profile`.

mod dsconv;
mod infer;
mod step;

use super::Context;
use crate::error::Result;
use clap::Subcommand;

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

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    match args.what {
        What::Dsconv(args) => dsconv::run(args, context),
        What::Step(args) => step::run(args, context),
        What::Infer(args) => infer::run(args, context),
    }
}

/// Classes of FER2013.
const CLASSES: usize = 7;

/// GFLOP/s of `macs` multiply-adds in `seconds`; 0 for what takes no time.
fn gflops(macs: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { 2.0 * macs as f64 / seconds / 1e9 } else { 0.0 }
}
