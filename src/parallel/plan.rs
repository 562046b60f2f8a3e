//! Plans for a part of a batch.

use super::{Batch, Team};
use crate::ops::{Gradient, MAX_PARAMS, Real};
use crate::plan::{Plan, Step};
use std::ops::Range;
use std::sync::Arc;

impl<T: Real> Plan<T> {
    /// Makes the images of this plan those that `team` gives to this rank of a batch of `images`.
    pub(crate) fn join(&mut self, team: Arc<Team>, images: usize) {
        self.team = Some((team, images));
        // What operations add to a parameter is summed over ranks one by one, or sums would not follow the tree.
        let writers =
            |w: &Range<usize>, steps: &[Step]| steps.iter().flat_map(|s| &s.w).filter(|v| *v == w).count();
        let mut end = 0;
        for i in 0..self.steps.len() {
            for k in 0..MAX_PARAMS {
                let w = self.steps[i].w[k].clone();
                if !w.is_empty() && self.is_partial(i, k) && writers(&w, &self.steps) > 1 {
                    self.steps[i].dw_apart[k] = end..end + w.len();
                    end += w.len();
                }
            }
        }
        self.summed = vec![T::default(); end];
    }

    /// Whether the gradient that a step's backward gives to a parameter is only that of the images at hand.
    fn is_partial(&self, step: usize, param: usize) -> bool {
        let batch = self.batch();
        match self.steps[step].spec.gradients[param] {
            Gradient::Images => batch.is_part(),
            Gradient::Measured => batch.is_part() && !batch.measured().is_part(),
            Gradient::Batch => false,
        }
    }

    /// The gradients that are only those of the images at hand, in the order in which backward completes them, each
    /// with the step that does.
    pub(crate) fn partial_gradients(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let steps = self.steps.iter().enumerate().rev().filter(|(_, step)| step.differentiated);
        steps.flat_map(move |(i, step)| {
            let partial = move |k: &usize| step.dw_apart[*k].is_empty() && self.is_partial(i, *k);
            let spans = (0..MAX_PARAMS).filter(partial).map(move |k| step.w[k].clone());
            spans.filter(|span| !span.is_empty()).map(move |span| (i, span))
        })
    }

    /// The batch that this plan's images are a part of.
    fn batch(&self) -> Batch<'_> {
        Batch::of(&self.team)
    }
}
