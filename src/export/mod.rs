//! Trained models for other engines: ONNX, and PyTorch's `state_dict` as safetensors, which can come back.

mod layout;
mod onnx;
mod proto;
mod pytorch;

#[cfg(test)]
mod tests {
    use crate::nn::{Architecture, Attention, CbamPosition, Loss, Model};
    use crate::weights::Weights;
    use moue_datasets::{Normalisation, Rng};
    use moue_kernels::Isa;

    /// Every kind of layer and head.
    pub(super) fn models() -> Vec<Model> {
        use CbamPosition::{Block1, Block2, Block3, Block4, Input, None, Pools};
        let am = Loss::AM_SOFTMAX;
        let plain = |cbam| Model::new(cbam, Loss::Softmax, 7);
        let mut models: Vec<Model> = [Input, Block1, Block2, Block3, Block4].map(plain).into();
        models.extend([
            Model::new(Block4, am, 3),
            plain(None),
            Model { attention: Attention::Se, identity_blocks: [1; 4], ..plain(Block2) },
            Model { widths: Some([24, 40, 72, 48]), ..plain(Block4) },
            Model { architecture: Architecture::Vgg, ..Model::new(None, am, 7) },
            Model { architecture: Architecture::Vgg, widths: Some([24, 40, 72, 48]), ..plain(Pools) },
            Model { architecture: Architecture::Cnn, ..Model::new(None, Loss::Svm, 7) },
        ]);
        models
    }

    /// Weights with norms that do something.
    pub(super) fn weights(model: Model) -> Weights {
        let classes = (0..model.classes).map(|i| format!("class {i}")).collect();
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        let mut weights = Weights::new(model, classes, normalisation, 1, Isa::fastest()).unwrap();
        let mut rng = Rng::new(2);
        let norms: Vec<String> = (weights.params.tensors())
            .filter(|(spec, _)| spec.dims.len() == 1)
            .map(|(spec, _)| spec.name.clone())
            .collect();
        for name in norms {
            let values = weights.params.get_mut(&name).unwrap();
            values.iter_mut().for_each(|x| *x = rng.range(0.5, 1.5));
        }
        weights
    }
}
