//! Starting from trained weights: fine-tuning.

use crate::error::{Error, Result};
use crate::nn::{Architecture, Loss, Model};
use crate::pretrained;
use crate::weights::Weights;
use moue_datasets::message::shown;
use std::path::Path;

/// Gives `weights`, freshly drawn, the values of those at `from` (a file, or `pretrained`), and says so.
///
/// The head stays as drawn where the classes or the loss are not the same: its outputs would mean something else.
/// Identity blocks that the source has not get a gain of zero in their last batch norm, so that the deeper network
/// begins as the same function (Chen, Goodfellow and Shlens 2016; the zero is Goyal et al.'s, 2017).
///
/// # Errors
/// As [`Weights::load`]; [`Error::Format`] for weights of another network.
pub(super) fn start_from(from: &str, weights: &mut Weights) -> Result<String> {
    let source = pretrained::load(from)?;
    let path = pretrained::name_of(Path::new(from));
    let body = |model: Model| Model { loss: Loss::Softmax, classes: 1, identity_blocks: [0; 4], ..model };
    let lacking = weights.model.lacks_blocks_of(&source.model);
    if body(source.model) != body(weights.model) || lacking.is_some() {
        let (theirs, ours) = (describe(source.model), describe(weights.model));
        return Err(Error::format(path, format!("weights of {theirs}, but what is trained is {ours}")));
    }
    // Scale and margin are no part of what a head means.
    let same = source.model.loss.name() == weights.model.loss.name() && source.classes == weights.classes;
    for (spec, values) in source.params.tensors() {
        if same || !spec.name.starts_with("head.") {
            let own = weights.params.get_mut(&spec.name).expect("the same network");
            own.copy_from_slice(values);
        }
    }
    let is_new = |name: &String| name.ends_with(".bn2.gamma") && source.params.get(name).is_none();
    let added: Vec<String> =
        weights.params.tensors().map(|(spec, _)| spec.name.clone()).filter(is_new).collect();
    for gain in &added {
        weights.params.get_mut(gain).expect("its own name").fill(0.0);
    }
    let grown =
        if added.is_empty() { String::new() } else { format!("; {} identity blocks are added", added.len()) };
    let head = if same { "" } else { "; its head is new, as classes or loss are not the same" };
    Ok(format!("starts from {}{grown}{head}", shown(path)))
}

fn describe(model: Model) -> String {
    let Model { architecture, identity_blocks, attention, cbam, .. } = model;
    let blocks = match architecture {
        Architecture::Dnn => format!(", {identity_blocks:?} identity blocks"),
        _ => String::new(),
    };
    format!("{} ({attention:?} at {cbam:?}{blocks}, {:?} channels)", model.name(), model.widths())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::Forward;
    use crate::nn::CbamPosition;
    use moue_datasets::Normalisation;
    use moue_kernels::Isa;

    fn fresh(cbam: CbamPosition, loss: Loss, classes: &[&str], seed: u64) -> Weights {
        drawn(Model::new(cbam, loss, classes.len()), classes, seed)
    }

    fn drawn(model: Model, classes: &[&str], seed: u64) -> Weights {
        let names = classes.iter().map(|&name| name.to_owned()).collect();
        Weights::new(model, names, Normalisation::identity(), seed, Isa::fastest()).unwrap()
    }

    #[test]
    fn all_is_taken_but_a_head_of_other_classes_or_another_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let (cbam, softmax) = (CbamPosition::Block4, Loss::Softmax);
        let mut source = fresh(cbam, softmax, &["happy", "sad"], 1);
        // Buffers start the same whatever the seed.
        source.params.get_mut("stem.bn1.mean").unwrap().fill(0.25);
        source.save(&path).unwrap();
        let margin = Loss::AM_SOFTMAX;
        for (loss, classes, same) in [
            (softmax, ["happy", "sad"], true),
            (softmax, ["sad", "happy"], false),
            (margin, ["happy", "sad"], false),
        ] {
            let before = fresh(cbam, loss, &classes, 2);
            let mut weights = before.clone();
            let said = start_from(path.to_str().unwrap(), &mut weights).unwrap();
            assert_eq!(said.contains("head is new"), !same, "{said}");
            for (spec, values) in weights.params.tensors() {
                let from = if same || !spec.name.starts_with("head.") { &source } else { &before };
                assert_eq!(values, from.params.get(&spec.name).unwrap(), "{}", spec.name);
            }
        }
    }

    /// A deeper network begins as the same function: each added block as the identity, to the bit.
    #[test]
    fn added_blocks_begin_as_the_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let start =
            |weights: &mut Weights| start_from(path.to_str().unwrap(), weights).map_err(|e| e.to_string());
        let plain = Model::new(CbamPosition::Block4, Loss::Softmax, 2);
        let deep = |identity_blocks, seed| drawn(Model { identity_blocks, ..plain }, &["happy", "sad"], seed);

        let source = deep([0; 4], 1);
        source.save(&path).unwrap();
        let mut deeper = deep([1, 2, 0, 1], 2);
        let first = deeper.params.get("block1.identity1.dw1.weight").unwrap().to_vec();
        assert!(start(&mut deeper).unwrap().ends_with("; 4 identity blocks are added"));
        assert_eq!(logits(&deeper), logits(&source));
        assert_eq!(deeper.params.get("block1.identity1.dw1.weight").unwrap(), first, "drawn, to be trained");

        // A trained block is taken as it is, and none is ever left out.
        deeper.params.get_mut("block2.identity2.bn2.gamma").unwrap().fill(0.5);
        assert_ne!(logits(&deeper), logits(&source));
        deeper.save(&path).unwrap();
        let mut deepest = deep([1, 2, 1, 1], 3);
        start(&mut deepest).unwrap();
        assert_eq!(logits(&deepest), logits(&deeper));
        let error = start(&mut deep([1, 1, 1, 1], 4)).unwrap_err();
        assert!(error.contains("[1, 2, 0, 1] identity blocks"), "{error}");
    }

    fn logits(weights: &Weights) -> Vec<f32> {
        let face = (0..48 * 48).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0);
        let mut network = Forward::new(weights.model, &weights.params, Isa::fastest()).unwrap();
        let fill = |input: &mut [f32]| {
            input.iter_mut().zip(face).for_each(|(x, value)| *x = value);
            Ok(())
        };
        network.logits(1, fill).unwrap().to_vec()
    }

    #[test]
    fn weights_of_another_network_are_refused() {
        let mut weights = fresh(CbamPosition::None, Loss::Softmax, &["happy", "sad"], 1);
        let error = start_from(pretrained::WORD, &mut weights).unwrap_err().to_string();
        assert!(error.starts_with(pretrained::NAME) && error.contains("dnn-cbam"), "{error}");
    }
}
