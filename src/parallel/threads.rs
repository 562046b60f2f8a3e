//! Ranks that are threads of one process, for tests.

use super::{Link, Stream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A wire of one stream to one peer and back.
#[derive(Debug)]
struct Wire {
    out: Sender<Vec<u8>>,
    back: Mutex<Receiver<Vec<u8>>>,
}

#[derive(Debug)]
struct Threads {
    rank: usize,
    /// Of each peer, the wires of both streams; those to itself are idle.
    wires: Vec<[Wire; 2]>,
}

impl Link for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.wires.len()
    }

    fn swap(&self, stream: Stream, partner: usize, ours: &[u8], theirs: &mut [u8]) {
        let wire = &self.wires[partner][stream as usize];
        wire.out.send(ours.to_vec()).expect("the peer is there");
        theirs.copy_from_slice(&wire.back.lock().unwrap().recv().expect("the peer is there"));
    }

    /// From the farthest rank to the nearest: not along the tree.
    fn sum(&self, values: &mut [f32]) {
        let mut theirs = vec![0.0; values.len()];
        let mut distance = self.size() / 2;
        while distance > 0 {
            let bytes = bytemuck::cast_slice_mut(&mut theirs);
            self.swap(Stream::Gradients, self.rank ^ distance, bytemuck::cast_slice(values), bytes);
            values.iter_mut().zip(&theirs).for_each(|(x, y)| *x += y);
            distance /= 2;
        }
    }
}

/// Runs `work` on every one of `ranks` threads; returns what came of it, by rank.
pub(crate) fn run<R: Send>(ranks: usize, work: impl Fn(Arc<dyn Link>) -> R + Sync) -> Vec<R> {
    // From each rank to each, two streams: the ends to send to stay, those to receive from go to the other rank.
    let ends = || [channel(), channel()];
    let mut out = Vec::new();
    let mut back: Vec<Vec<[Receiver<Vec<u8>>; 2]>> = (0..ranks).map(|_| Vec::new()).collect();
    for _ in 0..ranks {
        let row = back.iter_mut().map(|back| {
            let [(a, from_a), (b, from_b)] = ends();
            back.push([from_a, from_b]);
            [a, b]
        });
        out.push(row.collect::<Vec<_>>());
    }
    let links = out.into_iter().zip(back).enumerate().map(|(rank, (out, back))| {
        let wire = |(out, back)| Wire { out, back: Mutex::new(back) };
        let wires =
            out.into_iter().zip(back).map(|([a, b], [from_a, from_b])| [(a, from_a), (b, from_b)].map(wire));
        Threads { rank, wires: wires.collect() }
    });
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = links.map(|link| scope.spawn(move || work(Arc::new(link)))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no rank panics")).collect()
    })
}
