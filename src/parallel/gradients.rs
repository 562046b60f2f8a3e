//! Gradients are added up over ranks in buckets, while backward computes the next ones.

use super::{Link, Reduce, Stream, Team, Traffic, nanoseconds};
use crate::plan::Plan;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

/// Elements from which a bucket is sent: 256 KB, at 10 Gbit/s 0.2 ms, ten times a message's latency. Eight of them
/// make up the gradients of DNN-CBAM.
const BUCKET: usize = 64 * 1024;

/// Parameters whose gradients travel together.
#[derive(Debug)]
struct Bucket {
    /// The step of the plan whose backward completes them.
    after: usize,
    spans: Vec<Range<usize>>,
    buffer: Vec<f32>,
}

/// Adds up the gradients of one plan over the ranks, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Reducer {
    /// In the order in which backward completes them.
    buckets: Vec<Bucket>,
    sent: usize,
    jobs: Sender<Vec<f32>>,
    done: Receiver<Vec<f32>>,
    traffic: Arc<Traffic>,
}

impl Reducer {
    pub(crate) fn new(team: &Team, plan: &Plan<f32>) -> Self {
        let mut buckets: Vec<Bucket> = Vec::new();
        for (after, span) in plan.partial_gradients() {
            let full = |bucket: &&mut Bucket| bucket.buffer.len() >= BUCKET;
            let bucket = match buckets.last_mut().filter(|bucket| !full(bucket)) {
                Some(bucket) => bucket,
                None => {
                    buckets.push(Bucket { after, spans: Vec::new(), buffer: Vec::new() });
                    buckets.last_mut().expect("just pushed")
                }
            };
            bucket.buffer.resize(bucket.buffer.len() + span.len(), 0.0);
            bucket.spans.push(span);
            bucket.after = after;
        }
        let (jobs, work) = channel::<Vec<f32>>();
        let (results, done) = channel();
        let (link, reduce, traffic) = (team.link.clone(), team.cooperation.reduce, team.traffic.clone());
        // It ends when `jobs` is dropped.
        thread::spawn(move || {
            let mut spare = Vec::new();
            for mut gradients in work {
                let begin = Instant::now();
                let bytes = match reduce {
                    Reduce::Ordered => sum_in_order(&*link, &mut gradients, &mut spare),
                    Reduce::Fast => {
                        link.sum(&mut gradients);
                        ring_bytes(link.size(), gradients.len())
                    }
                };
                traffic.bytes.fetch_add(bytes, Relaxed);
                traffic.gradients.fetch_add(nanoseconds(begin.elapsed()), Relaxed);
                if results.send(gradients).is_err() {
                    break;
                }
            }
        });
        Self { buckets, sent: 0, jobs, done, traffic: team.traffic.clone() }
    }

    /// Sends what is complete after the backward pass of step `step`.
    pub(crate) fn after(&mut self, step: usize, grads: &[f32]) {
        while let Some(bucket) = self.buckets.get_mut(self.sent).filter(|bucket| bucket.after == step) {
            let mut buffer = std::mem::take(&mut bucket.buffer);
            let mut rest = &mut buffer[..];
            for span in &bucket.spans {
                rest.split_off_mut(..span.len())
                    .expect("room for every span")
                    .copy_from_slice(&grads[span.clone()]);
            }
            self.jobs.send(buffer).expect("the thread lives as long as this");
            self.sent += 1;
        }
    }

    /// Waits for all sums.
    pub(crate) fn finish(&mut self, grads: &mut [f32]) {
        let begin = Instant::now();
        for bucket in &mut self.buckets[..self.sent] {
            bucket.buffer = self.done.recv().expect("the thread lives as long as this");
            let mut rest = &bucket.buffer[..];
            for span in &bucket.spans {
                grads[span.clone()].copy_from_slice(rest.split_off(..span.len()).expect("every span"));
            }
        }
        self.sent = 0;
        self.traffic.left.fetch_add(nanoseconds(begin.elapsed()), Relaxed);
    }
}

/// Bytes that a rank sends in a ring: what a good MPI_Allreduce sends.
fn ring_bytes(ranks: usize, len: usize) -> u64 {
    (2 * (ranks - 1) * len * size_of::<f32>() / ranks) as u64
}

/// Replaces `values` by their sum over all ranks along the tree, and returns the bytes that this rank has sent.
///
/// Recursive halving, then doubling (Rabenseifner 2004): with each neighbour half of what is left is swapped and added,
/// until every rank has an n-th of the sums; then those are swapped back. Halving begins with the nearest rank and not,
/// as usual, with the farthest: then sums are added along the tree. A rank sends 2 (n - 1) / n of the values, as
/// little as any other way.
fn sum_in_order(link: &dyn Link, values: &mut [f32], spare: &mut Vec<f32>) -> u64 {
    let rank = link.rank();
    let mut halves = Vec::with_capacity(link.size().ilog2() as usize);
    let (mut ours, mut distance, mut sent) = (0..values.len(), 1, 0);
    spare.resize(spare.len().max(values.len()), 0.0);
    while distance < link.size() {
        let middle = ours.start + ours.len() / 2;
        let (low, high) = (ours.start..middle, middle..ours.end);
        let (keep, give) = if rank & distance == 0 { (low, high) } else { (high, low) };
        let theirs = &mut spare[..keep.len()];
        let bytes = bytemuck::cast_slice_mut(theirs);
        link.swap(Stream::Gradients, rank ^ distance, bytemuck::cast_slice(&values[give.clone()]), bytes);
        values[keep.clone()].iter_mut().zip(theirs).for_each(|(x, y)| *x += *y);
        sent += give.len() + keep.len();
        halves.push((keep.clone(), give));
        (ours, distance) = (keep, 2 * distance);
    }
    for (keep, give) in halves.into_iter().rev() {
        distance /= 2;
        let (low, high) = values.split_at_mut(keep.start.max(give.start));
        let (mine, other) = match rank & distance == 0 {
            true => (&low[keep], &mut high[..give.len()]),
            false => (&high[..keep.len()], &mut low[give]),
        };
        let other = bytemuck::cast_slice_mut(other);
        link.swap(Stream::Gradients, rank ^ distance, bytemuck::cast_slice(mine), other);
    }
    (sent * size_of::<f32>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::threads;

    /// Sums of numbers of very different sizes show their order.
    #[test]
    fn sums_follow_the_tree_at_any_length() {
        for ranks in [1, 2, 4, 8] {
            for len in [0, 1, 2, 3, 7, 8, 1001] {
                let value =
                    |rank: usize, i: usize| (rank * 7919 + i * 104_729) as f32 * 10f32.powi(rank as i32 % 5);
                let sums = threads::run(ranks, |link| {
                    let mut values: Vec<f32> = (0..len).map(|i| value(link.rank(), i)).collect();
                    let sent = sum_in_order(&*link, &mut values, &mut Vec::new());
                    assert!(ranks > 1 || sent == 0);
                    values
                });
                let mut levels: Vec<Vec<f32>> =
                    (0..ranks).map(|rank| (0..len).map(|i| value(rank, i)).collect()).collect();
                while levels.len() > 1 {
                    let pairs = levels.chunks_exact(2);
                    levels = pairs.map(|p| p[0].iter().zip(&p[1]).map(|(a, b)| a + b).collect()).collect();
                }
                for sum in sums {
                    assert_eq!(sum, levels[0], "{ranks} ranks, {len} numbers");
                }
            }
        }
    }
}
