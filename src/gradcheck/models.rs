//! Whole models under check: every position of the CBAM with every loss.

use super::{Checked, Suite};
use crate::nn::{CbamPosition, Loss, Model};

/// Faces of a batch: two are enough for a batch norm to have a batch.
const BATCH: usize = 2;

pub(super) fn checks(suite: &mut Suite) {
    use CbamPosition::{Block1, Block2, Block3, Block4, Input, None};
    let losses = [("am-softmax", Loss::AmSoftmax { scale: 30.0, margin: 0.35 }), ("softmax", Loss::Softmax)];
    for cbam in [Block4, None, Input, Block1, Block2, Block3] {
        for (loss_name, loss) in losses {
            let model = Model { cbam, loss, classes: 7 };
            let name = match cbam {
                None => format!("dnn {loss_name}"),
                _ => format!("dnn-cbam {} {loss_name}", format!("{cbam:?}").to_lowercase()),
            };
            suite.add_model(name, move |g| {
                let net = model.record(g, BATCH);
                Checked::new(net.loss, [net.input]).labels(net.labels, &[5, 2])
            });
        }
    }
}
