//! The network can learn anything by heart: faces of noise with random labels.

mod common;

use common::{DNN_CBAM, Training};
use moue::Isa;
use moue::nn::{CbamPosition, Loss, Model};

const FACES: usize = 16;

/// Faces that the logits classify as labelled.
fn correct(t: &Training<f32>, labels: &[u32]) -> usize {
    let logits = t.plan.tensor(t.net.logits);
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    logits.rows().zip(labels).filter(|(row, label)| best(row) == Some(**label as usize)).count()
}

fn overfit(model: &Model, steps: usize, small: f64) {
    let mut t = Training::<f32>::new(model, FACES, 3e-3, Isa::fastest()).random_batch(8);
    let labels: Vec<u32> = (0..FACES as u32).map(|i| i * 5 % 7).collect();
    t.plan.set_labels(t.net.labels, &labels);
    let first = t.step();
    let last = (1..steps).map(|_| t.step()).last().unwrap_or(first);
    assert_eq!(correct(&t, &labels), FACES, "{model:?}: loss {first} -> {last}");
    assert!(last < small, "{model:?}: loss {first} -> {last}");
}

#[test]
fn am_softmax_with_cbam_learns_noise_by_heart() {
    overfit(&DNN_CBAM, 40, 0.1);
}

#[test]
fn softmax_without_cbam_learns_noise_by_heart() {
    overfit(&Model::new(CbamPosition::None, Loss::Softmax, 7), 40, 0.1);
}
