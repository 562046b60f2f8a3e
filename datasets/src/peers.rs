//! The processes that open a data set together.

use std::ops::Range;

use byteorder::{LittleEndian, ReadBytesExt, WriteBytesExt};

/// The processes that open a data set together, as one of them sees them: each reads its share, and tells the others.
///
/// All of them make the same calls in the same order; a call returns when all have made it.
pub trait Peers: Sync {
    /// This one's number, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// What each of them gives, by rank.
    fn gather(&self, ours: Vec<u8>) -> Vec<Vec<u8>>;

    /// This one's part of `n` things, of which all have as many, give or take one.
    fn part(&self, n: usize) -> Range<usize> {
        let start = |rank| n * rank / self.size();
        start(self.rank())..start(self.rank() + 1)
    }
}

/// One process, that has no peers.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, ours: Vec<u8>) -> Vec<Vec<u8>> {
        vec![ours]
    }
}

/// Whether all of them say so.
pub(crate) fn all(peers: &dyn Peers, ours: bool) -> bool {
    peers.gather(vec![ours.into()]).iter().all(|theirs| theirs[..] == [1])
}

/// What each of them gives for its [`part`](Peers::part) of some things, put together: for each thing bytes, or
/// why there are none.
///
/// `None` if what came is no such thing.
pub(crate) fn pool<const N: usize>(
    peers: &dyn Peers,
    ours: Vec<Result<[u8; N], String>>,
) -> Option<Vec<Result<[u8; N], String>>> {
    if peers.size() == 1 {
        return Some(ours);
    }
    let mut bytes = Vec::with_capacity(ours.len() * (4 + N));
    for thing in ours {
        // Lengths from 0 are those of a reason.
        let (mark, content) = match &thing {
            Ok(content) => (u32::MAX, &content[..]),
            Err(reason) => (u32::try_from(reason.len()).ok()?, reason.as_bytes()),
        };
        bytes.write_u32::<LittleEndian>(mark).ok()?;
        bytes.extend_from_slice(content);
    }
    let mut all = Vec::new();
    for bytes in peers.gather(bytes) {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let mark = rest.read_u32::<LittleEndian>().ok()?;
            let len = if mark == u32::MAX { N } else { mark as usize };
            let (content, after) = rest.split_at_checked(len)?;
            rest = after;
            all.push(match mark {
                u32::MAX => Ok(content.try_into().ok()?),
                _ => Err(String::from_utf8_lossy(content).into_owned()),
            });
        }
    }
    Some(all)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::{Barrier, Mutex};
    use std::thread;

    /// Threads that are each other's peers.
    pub(crate) struct Threads<'a> {
        rank: usize,
        table: &'a Mutex<Vec<Vec<u8>>>,
        barrier: &'a Barrier,
    }

    impl Peers for Threads<'_> {
        fn rank(&self) -> usize {
            self.rank
        }

        fn size(&self) -> usize {
            self.table.lock().unwrap().len()
        }

        fn gather(&self, ours: Vec<u8>) -> Vec<Vec<u8>> {
            self.table.lock().unwrap()[self.rank] = ours;
            self.barrier.wait();
            let all = self.table.lock().unwrap().clone();
            self.barrier.wait();
            all
        }
    }

    /// Runs `work` on so many peers; what each came to.
    pub(crate) fn together<R: Send>(size: usize, work: impl Fn(&dyn Peers) -> R + Sync) -> Vec<R> {
        let (table, barrier) = (Mutex::new(vec![Vec::new(); size]), Barrier::new(size));
        thread::scope(|scope| {
            let (table, barrier, work) = (&table, &barrier, &work);
            let start = |rank| scope.spawn(move || work(&Threads { rank, table, barrier }));
            let threads: Vec<_> = (0..size).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn shares_are_put_together_in_order() {
        let things: Vec<Result<[u8; 3], String>> = (0..10)
            .map(|i| if i % 4 == 1 { Err(format!("broken {i} \u{e9}")) } else { Ok([i; 3]) })
            .collect();
        for size in [1, 2, 3, 16] {
            let pooled = together(size, |peers| pool(peers, things[peers.part(10)].to_vec()).unwrap());
            assert!(pooled.iter().all(|pooled| *pooled == things), "{size}");
            let odd = together(size, |peers| all(peers, peers.rank() != 1));
            assert!(odd.iter().all(|all| *all == (size == 1)));
        }
    }
}
