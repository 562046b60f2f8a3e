//! Ranks that open a data set together.

use super::{Stream, Team};
use moue_datasets::Peers;

/// Most bytes of a message: MPI counts them in 31 bits.
const MOST: usize = 1 << 30;

impl Peers for Team {
    fn rank(&self) -> usize {
        self.link.rank()
    }

    fn size(&self) -> usize {
        self.link.size()
    }

    /// By recursive doubling: what neighbours gave, neighbours of two, of four.
    fn gather(&self, ours: Vec<u8>) -> Vec<Vec<u8>> {
        let (rank, size) = (self.rank(), self.size());
        let mut lengths = vec![0; size];
        lengths[rank] = ours.len() as u64;
        self.sum(&mut lengths, |a, b| a + b);
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |end, length| {
            *end += *length as usize;
            Some(*end)
        }));
        let mut all = vec![0; starts[size]];
        all[starts[rank]..starts[rank + 1]].copy_from_slice(&ours);
        let mut distance = 1;
        while distance < size {
            let group = rank / distance * distance;
            let [first, middle, last] = [0, 1, 2].map(|i| starts[(group & !distance) + i * distance]);
            let (low, high) = all[first..last].split_at_mut(middle - first);
            let (ours, theirs) = if group & distance == 0 { (low, high) } else { (high, low) };
            let messages = ours.len().max(theirs.len()).div_ceil(MOST);
            let part = |len: usize, i: usize| len.min(i * MOST)..len.min((i + 1) * MOST);
            for i in 0..messages {
                let (from, to) = (part(ours.len(), i), part(theirs.len(), i));
                self.link.swap(Stream::Step, rank ^ distance, &ours[from], &mut theirs[to]);
            }
            distance *= 2;
        }
        starts.windows(2).map(|span| all[span[0]..span[1]].to_vec()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{Cooperation, threads};

    #[test]
    fn everyone_hears_what_everyone_gave() {
        for size in [1, 2, 4, 8] {
            let heard = threads::run(size, |link| {
                let team = Team::new(link, Cooperation::default());
                let ours = vec![Peers::rank(&team) as u8; 3 * Peers::rank(&team)];
                (team.gather(ours), team.gather(Vec::new()))
            });
            for (all, nothing) in heard {
                assert!(all.iter().enumerate().all(|(i, gave)| *gave == vec![i as u8; 3 * i]));
                assert_eq!((all.len(), nothing), (size, vec![Vec::new(); size]));
            }
        }
    }
}
