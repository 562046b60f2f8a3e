//! The weights that ship with moue; their model card is README.md beside this file.

use crate::error::Result;
use crate::weights::Weights;
use std::path::Path;

/// What stands for them where a file could be named.
pub(crate) const WORD: &str = "pretrained";

/// What messages call them where a path would stand.
pub const NAME: &str = "the weights that ship with moue";

static FER2013: &[u8] = include_bytes!("fer2013.safetensors");

/// The weights, trained on FER2013.
///
/// # Errors
/// None but for a build from a damaged file.
pub fn weights() -> Result<Weights> {
    Weights::parse(Path::new(NAME), FER2013)
}

/// The weights in the file at `path`, or those that ship where `path` is the word `pretrained`.
///
/// # Errors
/// As [`Weights::load`].
pub(crate) fn load(path: impl AsRef<Path>) -> Result<Weights> {
    let path = path.as_ref();
    if path.as_os_str() == WORD { weights() } else { Weights::load(path) }
}

/// What messages call the weights that [`load`] reads at `path`.
pub(crate) fn name_of(path: &Path) -> &Path {
    if path.as_os_str() == WORD { Path::new(NAME) } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::CbamPosition;

    /// What the model card says of them.
    #[test]
    fn they_are_those_of_the_model_card() {
        let card = include_str!("README.md");
        let weights = weights().unwrap();
        assert_eq!(weights.classes, moue_datasets::classes::FER2013);
        assert_eq!(weights.model.cbam, CbamPosition::Block4);
        let facts = &weights.facts;
        let percent = format!("{:.2} %", 100.0 * facts.accuracy.unwrap());
        let said = [
            format!("{} parameters", weights.params.count()),
            format!("{} epochs", facts.epochs),
            format!("seed {}", facts.seed),
            percent,
        ];
        for said in said {
            assert!(card.contains(&said), "the model card does not say `{said}`");
        }
    }
}
