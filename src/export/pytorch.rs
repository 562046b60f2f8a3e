//! Weights as PyTorch's `state_dict`, in a safetensors file, and back: the network that `examples/pytorch.py` builds.
//!
//! Names are the engine's; a batch norm's `gamma`, `beta`, `mean` and `var` are `weight`, `bias`, `running_mean` and
//! `running_var`. Layouts are those of `Conv2d` (OIHW), `Linear` (outputs, inputs) and `Flatten` (c, h, w). The
//! metadata has the one entry `moue.pytorch`, a JSON object: `version` (1), `model`, `classes`, `mean`, `std` and
//! `temperature` as in moue's own files.

use super::layout::{Layout, layouts};
use crate::archive::{MAX_BYTES, PYTORCH, Reader, Writer, description};
use crate::error::{Error, Result};
use crate::files::read_file;
use crate::nn::Model;
use crate::params::{ParamSpec, Params};
use crate::weights::{
    Facts, Weights, check_variances, described_specs, is_temperature, is_untempered, untempered,
};
use moue_datasets::Normalisation;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// Version of names, layouts and description.
const VERSION: u32 = 1;

/// A batch norm's parts here and there.
const NORM: [(&str, &str); 4] =
    [("gamma", "weight"), ("beta", "bias"), ("mean", "running_mean"), ("var", "running_var")];

/// The JSON object in the file's metadata.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    model: Model,
    classes: Vec<String>,
    mean: f32,
    std: f32,
    #[serde(default = "untempered", skip_serializing_if = "is_untempered")]
    temperature: f64,
}

impl Description {
    fn of(weights: &Weights) -> Self {
        let Normalisation { mean, std } = weights.normalisation;
        let Weights { model, classes, temperature, .. } = weights;
        Self {
            version: VERSION,
            model: *model,
            classes: classes.clone(),
            mean,
            std,
            temperature: *temperature,
        }
    }
}

impl Weights {
    /// The weights as a safetensors file of PyTorch's `state_dict`; see `examples/pytorch.py`. How they came about
    /// ([`Facts`]) is left out.
    ///
    /// # Errors
    /// Parameters of another model.
    pub fn to_pytorch(&self) -> Result<Vec<u8>> {
        let layouts = layouts(&self.model.elementary(&self.params, 1)?.graph);
        let mut writer = Writer::default();
        for (spec, values) in self.params.tensors() {
            let layout = layout(&layouts, spec);
            writer.tensor(their_name(&spec.name), &layout.theirs, &layout.convert(values));
        }
        Ok(writer.finish_as(PYTORCH, &Description::of(self)))
    }

    /// Reads a `state_dict` that PyTorch saved as safetensors at `path`. Model, classes and normalisation come from
    /// the description in its metadata or, without one, are those of `like`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file and what is wrong: no description, or a tensor that is
    /// missing, superfluous, of another type or shape, or not finite.
    pub fn from_pytorch(path: &Path, like: Option<&Self>) -> Result<Self> {
        Self::parse_pytorch(path, &read_file(path, MAX_BYTES)?, like)
    }

    /// Reads `bytes`, which came from `path`.
    pub(crate) fn parse_pytorch(path: &Path, bytes: &[u8], like: Option<&Self>) -> Result<Self> {
        let mut reader = Reader::foreign(path, bytes)?;
        let described: Option<Description> =
            reader.entry(PYTORCH).map(|text| description(path, text)).transpose()?;
        // A temperature is one network's own.
        let alike = |like| Description { temperature: untempered(), ..Description::of(like) };
        let described = described.or_else(|| like.map(alike)).ok_or_else(|| {
            Error::format(
                path,
                format!("no description `{PYTORCH}` in its metadata of the network that it is"),
            )
        })?;
        let Description { version, model, classes, mean, std, temperature } = described;
        if version != VERSION {
            return Err(Error::format(path, format!("layouts of version {version}, expected {VERSION}")));
        }
        if !is_temperature(temperature) {
            return Err(Error::format(path, format!("a temperature of {temperature}")));
        }
        let normalisation = Normalisation { mean, std };
        let (specs, buffers) = described_specs(path, &model, &classes, normalisation)?;
        let params = read_params(&mut reader, &model, specs, buffers)?;
        // How many batches a norm has seen; it does not matter for momenta that are numbers.
        reader.ignore(|name| name.ends_with(".num_batches_tracked"));
        reader.finish()?;
        Ok(Self { model, classes, normalisation, params, facts: Facts::default(), temperature })
    }
}

fn read_params(
    reader: &mut Reader<'_>,
    model: &Model,
    specs: Vec<ParamSpec>,
    buffers: Vec<ParamSpec>,
) -> Result<Params<f32>> {
    let layouts = layouts(&model.elementary_graph()?);
    let all: Vec<(ParamSpec, Layout)> =
        specs.iter().chain(&buffers).map(|spec| (spec.clone(), layout(&layouts, spec))).collect();
    // Before memory is taken for them.
    for (spec, layout) in &all {
        reader.find(&their_name(&spec.name), &layout.theirs)?;
    }
    let mut params = Params::zeros(specs, buffers);
    for (spec, layout) in &all {
        let mut theirs = vec![0.0; spec.dims.iter().product()];
        reader.take(&their_name(&spec.name), &layout.theirs, &mut theirs)?;
        layout.revert(&theirs, params.get_mut(&spec.name).expect("a name from the specs"));
    }
    check_variances(reader.path(), &params)?;
    Ok(params)
}

/// What no elementary operation reads, a norm's part, is a vector.
fn layout(layouts: &HashMap<String, Layout>, spec: &ParamSpec) -> Layout {
    layouts.get(&spec.name).cloned().unwrap_or_else(|| Layout::same(&spec.dims))
}

fn their_name(ours: &str) -> String {
    match ours.rsplit_once('.').map(|(path, part)| (path, NORM.iter().find(|(here, _)| *here == part))) {
        Some((path, Some((_, there)))) => format!("{path}.{there}"),
        _ => ours.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::{models, weights};
    use crate::nn::CbamPosition;

    fn back(bytes: &[u8], like: Option<&Weights>) -> Result<Weights> {
        Weights::parse_pytorch(Path::new("file"), bytes, like)
    }

    #[test]
    fn a_round_trip_keeps_every_bit() {
        for model in models() {
            let weights = weights(model);
            let imported = back(&weights.to_pytorch().unwrap(), None).unwrap();
            assert_eq!(imported.to_bytes(), weights.to_bytes(), "{model:?}");
        }
    }

    #[test]
    fn names_and_layouts_are_pytorchs() {
        let bytes = weights(models()[5]).to_pytorch().unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, dims) in [
            ("stem.conv2.weight", &[32, 32, 3, 3][..]),
            ("block1.dw1.weight", &[32, 1, 3, 3]),
            ("block2.pw1.weight", &[64, 32, 1, 1]),
            ("block2.short_bn.running_var", &[64]),
            ("out.bn.weight", &[128]),
            ("cbam.fc1.weight", &[16, 256]),
            ("cbam.spatial.weight", &[1, 2, 7, 7]),
            ("head.weight", &[3, 128]),
        ] {
            assert_eq!(tensors.tensor(name).unwrap().shape(), dims, "{name}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let (trained, bare) = (weights(models()[5]), weights(models()[6]));
        let own = trained.to_bytes();
        let complaint = |bytes: &[u8], like: Option<&Weights>| back(bytes, like).unwrap_err().to_string();
        assert!(complaint(&own, None).contains("no description `moue.pytorch`"));
        assert!(complaint(&own, Some(&trained)).contains("`stem.conv1.weight` is F32 [3, 3, 1, 32]"));
        assert!(complaint(b"words", None).contains("not a complete safetensors file"));
        // A description over the tensors of another network.
        let tensors = |weights: &Weights, description: &Description| {
            let bytes = weights.to_pytorch().unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut writer = Writer::default();
            for (name, view) in file.tensors() {
                let values: Vec<f32> =
                    view.data().as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
                writer.tensor(name, view.shape(), &values);
            }
            writer.finish_as(PYTORCH, description)
        };
        let describe =
            |cbam| Description { model: Model { cbam, ..trained.model }, ..Description::of(&trained) };
        let superfluous = tensors(&trained, &describe(CbamPosition::None));
        assert!(complaint(&superfluous, None).contains("`cbam.fc1.bias` belongs to another model"));
        let elsewhere = tensors(&trained, &describe(CbamPosition::Input));
        assert!(complaint(&elsewhere, None).contains("`cbam.fc1.weight` is F32 [16, 256]"));
        let missing = tensors(&bare, &Description { version: 1, ..Description::of(&trained) });
        assert!(complaint(&missing, None).contains("is missing"));
        let newer = tensors(&trained, &Description { version: 2, ..Description::of(&trained) });
        assert!(complaint(&newer, None).contains("version 2"));
        // And moue's own reader tells what to do.
        let theirs = trained.to_pytorch().unwrap();
        let message = Weights::parse(Path::new("file"), &theirs).unwrap_err().to_string();
        assert!(message.contains("moue import"), "{message}");
    }
}
