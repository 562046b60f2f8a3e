//! `moue augment`.

use super::{Context, data};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::output::outln;
use crate::report::png;
use crate::train::Augmentation;
use moue_datasets::message::shown;
use moue_datasets::{Split, augmentation_sheet};
use std::path::PathBuf;

/// Draw a sheet: for each class a face of the data and random versions of it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    data: data::DataArgs,
    /// PNG file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Split that the faces are taken from.
    #[arg(long, default_value_t = Split::Train)]
    split: Split,
    /// What the versions are drawn with.
    #[arg(long, value_enum, default_value_t = Augmentation::Paper)]
    augment: Augmentation,
    /// Versions of each face.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(0..=200))]
    draws: u16,
    /// Seed of the versions.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Enlargement.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=8))]
    scale: u16,
}

impl Args {
    pub(super) fn check(&self) -> Result<()> {
        if self.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
            return Ok(());
        }
        Err(Error::Usage(format!("--out {}: expected a name ending in .png", shown(&self.out))))
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let dataset = data::open(&args.data.data, args.data.limit)?;
    let faces = dataset.split(args.split)?;
    let (draws, scale) = (usize::from(args.draws), usize::from(args.scale));
    let sheet = augmentation_sheet(faces, &args.augment.ranges(), draws, args.seed, scale)?;
    write_atomically(&args.out, &png(&sheet))?;
    let (width, height) = sheet.dimensions();
    let json = serde_json::json!({ "path": args.out.to_string_lossy(), "width": width, "height": height });
    context.print(&json, || outln!("{}: {width} x {height} pixels", shown(&args.out)));
    Ok(())
}
