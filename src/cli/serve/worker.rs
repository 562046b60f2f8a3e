//! Images on their way to the network, one at a time.

use crate::cli::predict::Prediction;
use crate::error::Result;
use hyper::body::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::{mpsc, oneshot};

/// An image that waits for its turn.
pub(super) struct Job {
    pub(super) image: Bytes,
    /// With heat maps.
    pub(super) explain: bool,
    /// Closed once nobody waits for the answer; an error is not the image's fault.
    pub(super) answer: oneshot::Sender<Result<Prediction, String>>,
}

/// Gives images to `predict` until nobody can send any more.
pub(super) fn work(
    mut jobs: mpsc::Receiver<Job>,
    mut predict: impl FnMut(&[u8], bool) -> Result<Prediction>,
) {
    while let Some(Job { image, explain, answer }) = jobs.blocking_recv() {
        if answer.is_closed() {
            continue;
        }
        // A decoder that panics at an image must not end the service for all others.
        let result = catch_unwind(AssertUnwindSafe(|| predict(&image, explain)));
        let result = match result {
            Ok(result) => result.map_err(|e| e.to_string()),
            Err(_) => Err("the image could not be worked on".to_owned()),
        };
        // Nobody may wait for it any more.
        let _ = answer.send(result);
    }
}
