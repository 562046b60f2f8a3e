//! `moue export` and `moue import`.

use super::Context;
use super::classifier::WeightsArgs;
use crate::error::Result;
use crate::files::write_atomically;
use crate::output::{errln, lossily, outln};
use crate::weights::{Weights, is_untempered};
use clap::ValueEnum;
use moue_datasets::message::shown;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Write trained weights as a file for other engines.
///
/// `onnx`: the whole network, batch norms folded, for ONNX Runtime, OpenVINO and others. Its input `faces`, [N, 1, 48,
/// 48], are grey values from 0 to 255 as they are, its outputs `probabilities` and `logits`, [N, classes].
/// `safetensors`: PyTorch's state_dict; examples/pytorch.py builds the network that it belongs to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    weights: WeightsArgs,
    /// What to write.
    #[arg(long, value_enum)]
    format: Format,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Onnx,
    Safetensors,
}

/// Make weights of a state_dict that PyTorch saved as safetensors.
///
/// Names and layouts are those of `moue export --format safetensors`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// PyTorch's file.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Weights of moue whose model, classes and normalisation these are, where the metadata of PyTorch's file does not
    /// describe them.
    #[arg(long, value_name = "FILE")]
    like: Option<PathBuf>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Written<'a> {
    #[serde(serialize_with = "lossily")]
    path: &'a Path,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    model: &'static str,
    classes: &'a [String],
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let weights = args.weights.load()?;
    let bytes = match args.format {
        Format::Onnx => weights.to_onnx()?,
        Format::Safetensors => weights.to_pytorch()?,
    };
    write_atomically(&args.out, &bytes)?;
    report(&args.out, bytes.len(), Some(args.format), &weights, context);
    Ok(())
}

pub(super) fn import(args: ImportArgs, context: &Context) -> Result<()> {
    let like = args.like.as_deref().map(Weights::load).transpose()?;
    let weights = Weights::from_pytorch(&args.weights, like.as_ref())?;
    if !is_untempered(&weights.temperature) {
        errln!(
            "moue: warning: the temperature of {:.3} was fitted to the weights that were exported; if these were trained \
             on, `moue calibrate` fits one anew",
            weights.temperature
        );
    }
    let bytes = weights.to_bytes();
    write_atomically(&args.out, &bytes)?;
    report(&args.out, bytes.len(), None, &weights, context);
    Ok(())
}

fn report(path: &Path, bytes: usize, format: Option<Format>, weights: &Weights, context: &Context) {
    let (model, classes) = (weights.model.name(), &weights.classes[..]);
    context.print(&Written { path, bytes, format, model, classes }, || {
        outln!("{}: {model}, {} classes, {bytes} bytes", shown(path), classes.len());
    });
}
