//! Batches one after the other, over the ends of epochs.

use super::distillation::Teachers;
use crate::error::Result;
use crate::parallel::Team;
use moue_datasets::{Epoch, Loader, PIXELS};
use std::ops::Range;
use std::sync::Arc;

/// A batch in memory of its own, so that it can be prepared while another is trained on.
#[derive(Debug)]
pub(super) struct Batch {
    /// Epoch that it belongs to, from 0.
    pub(super) epoch: u64,
    /// Number within the epoch, from 0.
    pub(super) number: usize,
    /// Images in it: the buffers may be longer.
    len: usize,
    /// Those of them that this process works on.
    part: Range<usize>,
    pixels: Vec<f32>,
    labels: Vec<u32>,
    targets: Vec<f32>,
    /// Length of a soft target; 0 without teachers.
    classes: usize,
    images: Vec<u32>,
}

impl Batch {
    /// For at most `capacity` images with soft targets of `classes` numbers.
    pub(super) fn new(capacity: usize, classes: usize) -> Self {
        Self {
            epoch: 0,
            number: 0,
            len: 0,
            part: 0..0,
            pixels: vec![0.0; capacity * PIXELS],
            labels: vec![0; capacity],
            targets: vec![0.0; capacity * classes],
            classes,
            images: vec![0; capacity],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Of this process's images, `[n, 48, 48, 1]`, normalised.
    pub(super) fn pixels(&self) -> &[f32] {
        &self.pixels[..self.part.len() * PIXELS]
    }

    /// Of this process's images.
    pub(super) fn labels(&self) -> &[u32] {
        &self.labels[..self.part.len()]
    }

    /// Soft targets of this process's images, `[n, classes]`.
    pub(super) fn targets(&self) -> &[f32] {
        &self.targets[..self.part.len() * self.classes]
    }

    /// Indices of all images of the batch in the training set.
    pub(super) fn images(&self) -> &[u32] {
        &self.images[..self.len]
    }
}

/// Where the next batch comes from.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    loader: Loader<'a>,
    order: Epoch,
    next: usize,
    team: Option<Arc<Team>>,
    teachers: Option<Teachers>,
}

impl<'a> Feed<'a> {
    /// Starts with batch `next` of `epoch`; of each, this process gets the part that `team` gives it.
    pub(super) fn new(loader: Loader<'a>, epoch: u64, next: usize, team: Option<Arc<Team>>) -> Self {
        let order = loader.epoch(epoch);
        Self { loader, order, next, team, teachers: None }
    }

    /// Asks `teachers` about every image: batches get soft targets.
    pub(super) fn with_teachers(self, teachers: Option<Teachers>) -> Self {
        Self { teachers, ..self }
    }

    pub(super) fn batches_per_epoch(&self) -> usize {
        self.loader.batches_per_epoch()
    }

    /// Prepares the next batch. Allocates nothing, but for the plans of teachers, made when more threads than before
    /// work for one at once.
    pub(super) fn fill(&mut self, batch: &mut Batch) -> Result<()> {
        if self.next >= self.batches_per_epoch() {
            let following = self.order.number() + 1;
            self.loader.advance(&mut self.order, following);
            self.next = 0;
        }
        let Batch { pixels, labels, targets, classes, images, .. } = batch;
        let whole = self.loader.batch_len(self.next);
        let part = self.team.as_ref().and_then(|team| team.share(whole)).unwrap_or(0..whole);
        batch.len = self.loader.fill_part(&self.order, self.next, part.clone(), pixels, labels, images)?;
        if let Some(teachers) = &mut self.teachers {
            let n = part.len();
            teachers.targets(&pixels[..n * PIXELS], &labels[..n], &mut targets[..n * *classes])?;
        }
        batch.part = part;
        (batch.epoch, batch.number) = (self.order.number(), self.next);
        self.next += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moue_datasets::{Augment, Normalisation, Sampling, Split, synthetic};

    #[test]
    fn epochs_follow_each_other() {
        let faces = synthetic::faces(0, Split::Train, 1).unwrap();
        let sampling = Sampling::Shuffled;
        let loader = Loader::new(&faces, 3, Normalisation::identity(), Augment::none(), 1, sampling).unwrap();
        let mut feed = Feed::new(loader.clone(), 4, 1, None);
        let mut batch = Batch::new(3, 0);
        let mut seen = Vec::new();
        for _ in 0..4 {
            feed.fill(&mut batch).unwrap();
            seen.push((batch.epoch, batch.number, batch.len(), batch.images().to_vec()));
        }
        let image = |epoch, i| loader.epoch(epoch).order()[i];
        assert_eq!(seen[0].3, [3, 4, 5].map(|i| image(4, i)));
        assert_eq!(seen[1], (4, 2, 1, vec![image(4, 6)]));
        assert_eq!(seen[2], (5, 0, 3, [0, 1, 2].map(|i| image(5, i)).to_vec()));
        assert_eq!((seen[3].0, seen[3].1), (5, 1));
    }
}
