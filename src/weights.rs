//! Trained weights in one file, with all that is needed to use them.
//!
//! The format is safetensors. Every parameter and running buffer is an F32 tensor under the name by which the
//! model records it (`block1.dw2.weight`), row-major, in the engine's own layout:
//!
//! | tensor | dimensions |
//! | --- | --- |
//! | `*.conv*.weight` | 3, 3, inputs, outputs (HWIO) |
//! | `*.dw*.weight` | 3, 3, channels |
//! | `*.pw*.weight`, `*.short.weight`, `dense*.weight`, `cbam*.fc*.weight` | inputs, outputs |
//! | `cbam*.spatial.weight` | 7, 7, 2 (mean, maximum) |
//! | `*.gamma`, `*.beta`, `*.mean`, `*.var`, `*.bias` | channels |
//! | `head.weight` | classes, features for AM-Softmax; else features, classes (128 features; 3,072 of CNN-SVM) |
//!
//! The metadata has the one entry `moue`, a JSON object: `version` of the format (1), `model`, `classes` (names in
//! the order of the logits), `mean` and `std` (the input is (pixel/255 - mean) / std), and `facts` of the training; and,
//! where `moue calibrate` has found one, the `temperature` that the logits are divided by before the softmax (else 1).

use crate::archive::{MAX_BYTES, Reader, Writer, not_finite};
use crate::error::{Error, Result};
use crate::files::{read_file, write_atomically};
use crate::graph::{Graph, Phase};
use crate::nn::Model;
use crate::params::{ParamSpec, Params};
use moue_datasets::{MAX_CLASSES, Normalisation, Rng};
use moue_kernels::Isa;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Version of the format; a reader refuses any other.
const VERSION: u32 = 1;

/// How the weights came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Data set as it was named.
    pub data: String,
    /// Images trained on.
    pub images: usize,
    /// Epochs finished.
    pub epochs: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Split that `accuracy` was measured on.
    pub split: Option<String>,
    /// Share of that split classified right, 0 to 1.
    pub accuracy: Option<f64>,
    /// Version of moue.
    pub moue: String,
    /// Checksum of the images and labels trained on; none in files that do not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<u32>,
    /// Checksum of the images and labels of `split`, which chose the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<u32>,
}

/// The JSON object in the file's metadata.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    model: Model,
    classes: Vec<String>,
    mean: f32,
    std: f32,
    facts: Facts,
    #[serde(default = "untempered", skip_serializing_if = "is_untempered")]
    temperature: f64,
}

pub(crate) fn untempered() -> f64 {
    1.0
}

/// Whether logits can be divided by it.
pub(crate) fn is_temperature(x: f64) -> bool {
    x.is_finite() && x > 0.0
}

pub(crate) fn is_untempered(temperature: &f64) -> bool {
    *temperature == untempered()
}

/// A trained model.
#[derive(Clone, Debug)]
pub struct Weights {
    /// What the parameters belong to.
    pub model: Model,
    /// Class names in the order of the logits.
    pub classes: Vec<String>,
    /// What the faces are normalised with.
    pub normalisation: Normalisation,
    /// Parameters and running buffers.
    pub params: Params<f32>,
    /// How they came about.
    pub facts: Facts,
    /// What the logits are divided by before the softmax (Guo et al. 2017, section 4.2): 1 unless they were
    /// calibrated. It makes probabilities flatter (above 1) or sharper and changes no label.
    pub temperature: f64,
}

impl Weights {
    /// What scores are multiplied with before the softmax: the loss's scale over the temperature.
    pub fn softmax_scale(&self) -> f64 {
        self.model.logit_scale() / self.temperature
    }

    /// Fresh weights drawn from `seed`.
    ///
    /// # Errors
    /// A model that cannot be recorded, such as one with a scale that is not positive.
    pub fn new(
        model: Model,
        classes: Vec<String>,
        normalisation: Normalisation,
        seed: u64,
        isa: Isa,
    ) -> Result<Self> {
        let mut graph = Graph::new(Phase::Eval);
        model.record(&mut graph, 1);
        let params = graph.init_params(&mut Rng::new(seed));
        graph.compile_forward::<f32>(isa)?;
        Ok(Self { model, classes, normalisation, params, facts: Facts::default(), temperature: untempered() })
    }

    /// Writes the file at `path`, atomically: it is complete, or as it was before.
    ///
    /// # Errors
    /// [`Error::Io`] with the path; [`Error::NotFinite`], before anything is written, for parameters that are not
    /// numbers.
    pub fn save(&self, path: &Path) -> Result<()> {
        if let Some(name) = not_finite(&self.params) {
            return Err(Error::NotFinite(format!(
                "{}: not written, as `{name}` is not finite",
                path.display()
            )));
        }
        write_atomically(path, &self.to_bytes())
    }

    /// The file's content. Runs that learn from a teacher are continued by a checksum of it: other bytes for the same
    /// weights would end them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.params(&self.params);
        writer.finish(&Header {
            version: VERSION,
            model: self.model,
            classes: self.classes.clone(),
            mean: self.normalisation.mean,
            std: self.normalisation.std,
            facts: self.facts.clone(),
            temperature: self.temperature,
        })
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`], naming the file and what is wrong: not a complete safetensors file, not
    /// one of moue's, another version, a tensor that is missing, superfluous, of another shape or not finite.
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(path, &read_file(path, MAX_BYTES)?)
    }

    /// Reads `bytes`, which came from `path`.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(path, bytes)?;
        let header: Header = reader.header()?;
        if header.version != VERSION {
            let reason = format!("weights of version {}, expected {VERSION}", header.version);
            return Err(Error::format(path, reason));
        }
        let normalisation = Normalisation { mean: header.mean, std: header.std };
        let temperature = header.temperature;
        if !is_temperature(temperature) {
            return Err(Error::format(path, format!("a temperature of {temperature}")));
        }
        let weights = Self::read(&mut reader, header.model, header.classes, normalisation, header.facts)?;
        reader.finish()?;
        Ok(Self { temperature, ..weights })
    }

    /// Takes a model's parameters out of a file that describes it so.
    pub(crate) fn read(
        reader: &mut Reader,
        model: Model,
        classes: Vec<String>,
        normalisation: Normalisation,
        facts: Facts,
    ) -> Result<Self> {
        let (specs, buffers) = described_specs(reader.path(), &model, &classes, normalisation)?;
        let params = reader.params(specs, buffers)?;
        check_variances(reader.path(), &params)?;
        Ok(Self { model, classes, normalisation, params, facts, temperature: untempered() })
    }
}

/// Refuses running variances of which no root can be taken: every answer would be no number.
pub(crate) fn check_variances(path: &Path, params: &Params<f32>) -> Result<()> {
    let mut tensors = params.tensors().filter(|(spec, _)| spec.name.ends_with(".var"));
    match tensors.find(|(_, values)| values.iter().any(|x| *x < 0.0)) {
        Some((spec, _)) => {
            Err(Error::format(path, format!("tensor `{}` holds a negative variance", spec.name)))
        }
        None => Ok(()),
    }
}

/// Parameters and running buffers of the model that the file at `path` describes.
///
/// # Errors
/// [`Error::Format`] for a description that makes no sense.
pub(crate) fn described_specs(
    path: &Path,
    model: &Model,
    classes: &[String],
    normalisation: Normalisation,
) -> Result<(Vec<ParamSpec>, Vec<ParamSpec>)> {
    check(model, classes, normalisation).map_err(|reason| Error::format(path, reason))?;
    let mut graph = Graph::new(Phase::Eval);
    model.record(&mut graph, 1);
    graph.check().map_err(|e| Error::format(path, e.to_string()))?;
    let (specs, buffers) = graph.param_specs();
    Ok((specs.to_vec(), buffers.to_vec()))
}

/// Checks what a file says of its weights, before anything is recorded or memory taken for it.
fn check(model: &Model, classes: &[String], normalisation: Normalisation) -> std::result::Result<(), String> {
    model.check()?;
    let (names, outputs) = (classes.len(), model.classes);
    if names != outputs || !(1..=MAX_CLASSES).contains(&names) {
        return Err(format!(
            "{names} class names for {outputs} classes, expected 1 to {MAX_CLASSES} of both"
        ));
    }
    if classes.iter().collect::<BTreeSet<_>>().len() != names {
        return Err("two classes of the same name".to_owned());
    }
    let Normalisation { mean, std } = normalisation;
    let (factor, addend) = normalisation.affine();
    if !(std > 0.0 && factor.is_finite() && addend.is_finite()) {
        return Err(format!("faces cannot have mean {mean} and deviation {std}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{CbamPosition, Loss};
    use std::fs;

    fn weights(cbam: CbamPosition) -> Weights {
        let model = Model::new(cbam, Loss::AM_SOFTMAX, 2);
        let normalisation = Normalisation { mean: 0.1 + 0.2, std: 0.3 };
        let classes = vec!["happy".to_owned(), "sad".to_owned()];
        Weights::new(model, classes, normalisation, 3, Isa::fastest()).unwrap()
    }

    /// What `load` says of `bytes`.
    fn complaint(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        fs::write(&path, bytes).unwrap();
        let message = Weights::load(&path).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        message
    }

    #[test]
    fn a_round_trip_keeps_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let mut saved = weights(CbamPosition::Block4);
        saved.facts = Facts { accuracy: Some(0.1 + 0.2), epochs: 3, seed: u64::MAX, ..Facts::default() };
        // What older files lack is not written where it says nothing.
        assert!(!String::from_utf8_lossy(&saved.to_bytes()).contains("temperature"));
        saved.temperature = 0.1 + 0.7;
        saved.save(&path).unwrap();
        let loaded = Weights::load(&path).unwrap();
        assert_eq!(loaded.to_bytes(), saved.to_bytes());
        assert_eq!(loaded.temperature, saved.temperature);
        assert_eq!((loaded.model, &loaded.facts), (saved.model, &saved.facts));
        assert_eq!(loaded.normalisation, saved.normalisation);
    }

    #[test]
    fn broken_files_are_named() {
        let bytes = weights(CbamPosition::None).to_bytes();
        for len in [0, 4, 8, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(complaint(&bytes[..len]).contains("not a complete safetensors file"), "{len} bytes");
        }
        assert!(complaint(b"These are not weights, just words.").contains("safetensors"));
        let foreign =
            safetensors::serialize([] as [(&str, safetensors::tensor::TensorView); 0], None).unwrap();
        assert!(complaint(&foreign).contains("not one of moue's"));
    }

    #[test]
    fn tensors_of_another_model_are_named() {
        // The header of one model over the tensors of another.
        let (plain, attentive) = (weights(CbamPosition::None), weights(CbamPosition::Block4));
        let mix = |header: &Weights, tensors: &Weights| {
            Weights { params: tensors.params.clone(), ..header.clone() }.to_bytes()
        };
        assert!(complaint(&mix(&attentive, &plain)).contains("`cbam.fc1.weight` is missing"));
        assert!(complaint(&mix(&plain, &attentive)).contains("belongs to another model"));
        let wide = Weights::new(
            Model { classes: 3, ..plain.model },
            vec![String::new(); 3],
            plain.normalisation,
            0,
            Isa::fastest(),
        );
        let message = complaint(&mix(&plain, &wide.unwrap()));
        assert!(
            message.contains("`head.weight` is F32 [3, 128], but the model has F32 [2, 128]"),
            "{message}"
        );
    }

    #[test]
    fn values_that_are_no_numbers_are_refused() {
        let mut broken = weights(CbamPosition::None);
        broken.params.get_mut("stem.bn1.gamma").unwrap()[2] = f32::NAN;
        assert!(complaint(&broken.to_bytes()).contains("`stem.bn1.gamma` holds NaN at element 2"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        assert!(broken.save(&path).unwrap_err().to_string().contains("stem.bn1.gamma"));
        assert!(!path.exists());
        let mut broken = weights(CbamPosition::None);
        broken.params.get_mut("stem.bn1.var").unwrap()[2] = -1.0;
        assert!(complaint(&broken.to_bytes()).contains("`stem.bn1.var` holds a negative variance"));
    }

    #[test]
    fn impossible_descriptions_are_refused() {
        let good = weights(CbamPosition::None);
        let classes = Weights { classes: vec!["happy".to_owned()], ..good.clone() };
        assert!(complaint(&classes.to_bytes()).contains("1 class names for 2 classes"));
        let flat = Weights { normalisation: Normalisation { mean: 0.0, std: 0.0 }, ..good.clone() };
        assert!(complaint(&flat.to_bytes()).contains("deviation 0"));
        let frozen = Weights { temperature: 0.0, ..good.clone() };
        assert!(complaint(&frozen.to_bytes()).contains("a temperature of 0"));
        let loss = Loss::AmSoftmax { scale: -1.0, margin: 0.0 };
        let scaled = Weights { model: Model { loss, ..good.model }, ..good.clone() };
        assert!(complaint(&scaled.to_bytes()).contains("positive scale"));
        for (widths, what) in [([32, 64, 128, 100_000], "100000 channels"), ([512; 4], "block1.")] {
            let wide = Weights { model: Model { widths: Some(widths), ..good.model }, ..good.clone() };
            assert!(complaint(&wide.to_bytes()).contains(what), "{widths:?}");
        }
    }
}
