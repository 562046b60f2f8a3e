//! Whole models under check: every position of the CBAM with AM-Softmax and with softmax, and the other networks once
//! each.

use super::{Checked, Suite};
use crate::nn::{Architecture, Attention, CbamPosition, Loss, Model, Targets};

/// Faces of a batch: two are enough for a batch norm to have a batch.
const BATCH: usize = 2;

/// As the paper trains.
const LABELS: Targets = Targets::Labels { smoothing: 0.0 };

pub(super) fn checks(suite: &mut Suite) {
    use CbamPosition::{Block1, Block2, Block3, Block4, Input, None, Pools};
    let losses = [("am-softmax", Loss::AM_SOFTMAX), ("softmax", Loss::Softmax)];
    for cbam in [Block4, None, Input, Block1, Block2, Block3] {
        for (loss_name, loss) in losses {
            let model = Model::new(cbam, loss, 7);
            let name = match cbam {
                None => format!("dnn {loss_name}"),
                _ => format!("dnn-cbam {} {loss_name}", format!("{cbam:?}").to_lowercase()),
            };
            add(suite, name, model, LABELS);
        }
    }
    let plain = Model::new(Block4, Loss::Softmax, 7);
    let vgg = Model { architecture: Architecture::Vgg, ..Model::new(Pools, Loss::Softmax, 7) };
    let cnn = Model { architecture: Architecture::Cnn, ..Model::new(None, Loss::Svm, 7) };
    // The network that ships, as its teachers train it.
    let wide = Model { widths: Some([64, 128, 256, 256]), identity_blocks: [1, 1, 1, 0], ..plain };
    add(suite, "dnn se block4 softmax".to_owned(), Model { attention: Attention::Se, ..plain }, LABELS);
    add(suite, "dnn-cbam identity softmax".to_owned(), Model { identity_blocks: [1; 4], ..plain }, LABELS);
    add(suite, "dnn-cbam wide soft targets".to_owned(), wide, Targets::Soft);
    add(suite, "vgg-cbam softmax".to_owned(), vgg, LABELS);
    add(suite, "cnn-svm svm".to_owned(), cnn, LABELS);
}

fn add(suite: &mut Suite, name: String, model: Model, targets: Targets) {
    suite.add_model(name, move |g| {
        let net = model.record_for(g, BATCH, targets);
        let inputs = [Some(net.input), net.targets].into_iter().flatten();
        Checked::new(net.loss, inputs).labels(net.labels, &[5, 2])
    });
}
