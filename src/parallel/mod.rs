//! Training on several processes ("ranks") that give the bits of one.
//!
//! Every rank holds the whole model and works on its share of each batch, a node of the tree along which all sums over
//! images are added (`moue_kernels::reduce`). So what a rank computes for its share is a number that one process would
//! have on its way, and what is left are the top levels of the tree: neighbours add up their results, then neighbours
//! of two, of four. That is recursive doubling, the usual way to sum over ranks, and it is why the number of ranks is a
//! power of two and order costs no more bytes than disorder. See docs/scaling.md.

mod batch;
mod gradients;
#[cfg(feature = "mpi")]
mod mpi;
mod peers;
mod plan;
mod start;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod threads;

pub use batch::Batch;
pub(crate) use gradients::Reducer;
pub(crate) use start::{is_first, start};

use crate::error::{Error, Result};
use moue_kernels::reduce::{GROUP, share};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages that do not overtake each other: two threads of a rank talk to its peers at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// What a step waits for.
    Step,
    /// Gradients, while backward goes on.
    Gradients,
}

/// The wires between ranks.
///
/// A call that cannot be completed because a peer is lost does not return.
pub(crate) trait Link: Debug + Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;
    /// Number of ranks, a power of two.
    fn size(&self) -> usize;
    /// Sends `ours` to `partner` and receives `theirs` from it; both sides call this.
    fn swap(&self, stream: Stream, partner: usize, ours: &[u8], theirs: &mut [u8]);
    /// Replaces `values` by their sum over all ranks, in whatever order is fastest. One thread of a rank calls this.
    fn sum(&self, values: &mut [f32]);
}

/// How gradients are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Reduce {
    /// Along the tree: the bits of one process.
    #[default]
    Ordered,
    /// As MPI likes (MPI_Allreduce): other roundings for another number of ranks or another MPI.
    Fast,
}

/// Over which images batch norms measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Statistics {
    /// The whole batch, as one process does.
    #[default]
    Global,
    /// Each rank its own share: fewer messages, another result.
    Local,
}

/// How ranks work together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub struct Cooperation {
    /// Under mpirun: how gradients are added up.
    #[arg(long, value_enum, default_value_t = Reduce::Ordered)]
    pub reduce: Reduce,
    /// Under mpirun: over which images batch norms measure.
    #[arg(long, value_enum, default_value_t = Statistics::Global)]
    pub batch_norm: Statistics,
}

/// What was sent and waited for.
#[derive(Debug, Default)]
struct Traffic {
    steps: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds of exchanges that a step waits for.
    waited: AtomicU64,
    /// Nanoseconds of the exchange of gradients...
    gradients: AtomicU64,
    /// ...and those of them that were left when backward had ended.
    left: AtomicU64,
}

/// Communication of one step in the mean, of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Ranks.
    pub ranks: usize,
    /// Bytes sent.
    pub bytes_per_step: f64,
    /// Milliseconds of exchanges that a step waits for: batch norms, loss, signals.
    pub statistics_ms: f64,
    /// Milliseconds from the first to the last message of each bucket of gradients.
    pub gradients_ms: f64,
    /// Those of them that backward did not hide.
    pub gradients_left_ms: f64,
}

/// The ranks that train together, as one of them sees them.
#[derive(Debug)]
pub struct Team {
    link: Arc<dyn Link>,
    cooperation: Cooperation,
    /// What a peer sends, aligned for any number.
    received: Mutex<Vec<f64>>,
    traffic: Arc<Traffic>,
}

impl Team {
    pub(crate) fn new(link: Arc<dyn Link>, cooperation: Cooperation) -> Self {
        Self { link, cooperation, received: Mutex::default(), traffic: Arc::default() }
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.link.size()
    }

    /// Whether this rank writes files and speaks.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's images of a batch of so many; nothing if it is too small to be shared, and every rank computes it.
    pub(crate) fn share(&self, images: usize) -> Option<Range<usize>> {
        share(images, self.size(), self.rank())
    }

    /// Checks that batches of so many images can be shared.
    ///
    /// # Errors
    /// How many ranks can share one.
    pub(crate) fn check(&self, batch: usize) -> Result<()> {
        if self.share(batch).is_some() {
            return Ok(());
        }
        let most = 1 << batch.div_ceil(GROUP).ilog2();
        Err(Error::Usage(format!(
            "--batch {batch}: {} processes cannot share it, at most {most} can (whole groups of {GROUP} images each)",
            self.size(),
        )))
    }

    /// Replaces `values` by their sum over all ranks, along the tree.
    pub(crate) fn sum<T: bytemuck::Pod>(&self, values: &mut [T], add: impl Fn(T, T) -> T) {
        self.exchange(values, |_, ours, theirs| {
            ours.iter_mut().zip(theirs).for_each(|(x, y)| *x = add(*x, *y));
        });
    }

    /// Makes running statistics the mean of all ranks', where each measures its own.
    pub(crate) fn settle(&self, statistics: &mut [f32]) {
        if self.cooperation.batch_norm == Statistics::Local {
            self.sum(statistics, |a, b| a + b);
            statistics.iter_mut().for_each(|x| *x /= self.size() as f32);
        }
    }

    /// Sums counts over all ranks.
    pub(crate) fn count<const N: usize>(&self, mut counts: [u64; N]) -> [u64; N] {
        self.sum(&mut counts, |a, b| a + b);
        counts
    }

    /// Whether any rank says so.
    pub(crate) fn any(&self, ours: bool) -> bool {
        self.count([ours.into()]) != [0]
    }

    /// Whether all ranks gave the same number.
    pub(crate) fn agree(&self, ours: u64) -> bool {
        let mut same = true;
        self.exchange(&mut [ours], |_, ours, theirs| same &= *ours == *theirs);
        !self.any(!same)
    }

    /// Recursive doubling: swaps `values` with the neighbour, the neighbour of two, of four, and calls
    /// `merge(distance, ours, theirs)` with what came.
    fn exchange<T: bytemuck::Pod>(&self, values: &mut [T], mut merge: impl FnMut(usize, &mut [T], &mut [T])) {
        let begin = Instant::now();
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = size_of_val(values).div_ceil(size_of::<f64>()).max(received.len());
        received.resize(wanted, 0.0);
        let theirs = &mut bytemuck::cast_slice_mut::<f64, T>(&mut received)[..values.len()];
        let mut distance = 1;
        while distance < self.size() {
            let bytes = bytemuck::cast_slice_mut(theirs);
            self.link.swap(Stream::Step, self.rank() ^ distance, bytemuck::cast_slice(values), bytes);
            merge(distance, values, theirs);
            self.traffic.bytes.fetch_add(size_of_val(values) as u64, Relaxed);
            distance *= 2;
        }
        self.traffic.waited.fetch_add(nanoseconds(begin.elapsed()), Relaxed);
    }

    /// Counts a step.
    pub(crate) fn stepped(&self) {
        self.traffic.steps.fetch_add(1, Relaxed);
    }

    /// Counts traffic from now on: what came before belongs to no step.
    pub(crate) fn forget_traffic(&self) {
        let Traffic { steps, bytes, waited, gradients, left } = &*self.traffic;
        [steps, bytes, waited, gradients, left].into_iter().for_each(|count| count.store(0, Relaxed));
    }

    /// Communication since the run started, a step in the mean.
    pub fn cost(&self) -> Cost {
        let Traffic { steps, bytes, waited, gradients, left } = &*self.traffic;
        let per_step = |x: &AtomicU64| x.load(Relaxed) as f64 / steps.load(Relaxed).max(1) as f64;
        Cost {
            ranks: self.size(),
            bytes_per_step: per_step(bytes),
            statistics_ms: per_step(waited) / 1e6,
            gradients_ms: per_step(gradients) / 1e6,
            gradients_left_ms: per_step(left) / 1e6,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
