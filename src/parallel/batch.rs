//! The batch that an operation's images are a part of.

use super::{Statistics, Team};
use moue_kernels::reduce::share;
use moue_kernels::{Element, Isa};
use std::sync::Arc;

/// The batch that an operation's images are a part of: all of it, but for training on several ranks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a>(Option<Shared<'a>>);

#[derive(Clone, Copy, Debug)]
struct Shared<'a> {
    team: &'a Team,
    /// Images of the batch, and those of them that this rank has.
    images: usize,
    here: usize,
}

impl<'a> Batch<'a> {
    /// A batch of so many images that a team shares, if there is one.
    pub(crate) fn of(team: &'a Option<(Arc<Team>, usize)>) -> Self {
        let Some((team, images)) = team else { return Self(None) };
        let images = *images;
        let here = team.share(images).expect("a batch that can be shared").len();
        Self(Some(Shared { team, images, here }))
    }

    /// What batch norms measure over: these images alone, if so was asked for.
    pub(crate) fn measured(self) -> Self {
        Self(self.0.filter(|shared| shared.team.cooperation.batch_norm == Statistics::Global))
    }

    /// Whether there is more to the batch than the images at hand.
    pub(crate) fn is_part(self) -> bool {
        self.0.is_some()
    }

    /// Scales a count over the images at hand to the whole batch.
    pub(crate) fn count(self, here: usize) -> usize {
        self.0.map_or(here, |shared| here / shared.here * shared.images)
    }

    /// Replaces sums over the images at hand by those over the batch.
    pub(crate) fn sum<T: Element>(self, values: &mut [T]) {
        if let Some(Shared { team, .. }) = self.0 {
            // In f64, so that it is written once: rounded, the sum of two f32 is their f32 sum.
            team.sum(values, |a, b| T::from_f64(a.to_f64() + b.to_f64()));
        }
    }

    /// Replaces mean and biased variance, `[2, c]`, over the images at hand by those over the batch.
    pub(crate) fn merge_statistics<T: Element>(self, isa: Isa, stats: &mut [T]) {
        let Some(Shared { team, images, .. }) = self.0 else { return };
        let (rank, size) = (team.rank(), team.size());
        team.exchange(stats, |distance, ours, theirs| {
            let node = |node| share(images, size / distance, node).expect("a batch that is shared").len();
            let (here, there) = (node(rank / distance), node((rank / distance) ^ 1));
            if rank & distance == 0 {
                T::merge_statistics(isa, [here, there], ours, theirs);
            } else {
                T::merge_statistics(isa, [there, here], theirs, ours);
                ours.copy_from_slice(theirs);
            }
        });
    }
}
