//! `moue profile`.

use super::Context;
use crate::error::Result;

/// Placeholder.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_args: Args, _context: &Context) -> Result<()> {
    todo!()
}
