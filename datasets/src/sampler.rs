//! Which faces an epoch visits, in which order.

use crate::Rng;
use crate::faces::Faces;

/// Key that keeps the stream of shuffling apart from others.
const SHUFFLE_STREAM: u64 = 0x7368_7566;

/// Which faces an epoch visits, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Each once, as stored.
    InOrder,
    /// Each once, in an order of (seed, epoch).
    Shuffled,
    /// As many of each class, give or take one, in an order of (seed, epoch): faces of a class that
    /// has fewer than its share are repeated, one time or another once more, and a random part of a
    /// larger class is left out.
    Balanced,
}

/// The order of one epoch, from [`Loader::epoch`](crate::Loader::epoch).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    number: u64,
    order: Vec<u32>,
}

impl Epoch {
    /// The epoch's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Indices into the faces, in the order in which they are visited.
    pub fn order(&self) -> &[u32] {
        &self.order
    }
}

/// Gives the order of each epoch.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    faces: usize,
    sampling: Sampling,
    seed: u64,
    /// For [`Sampling::Balanced`]: the faces of each class that has any.
    classes: Vec<Vec<u32>>,
}

impl Sampler {
    /// Whether an epoch may visit a face more than once.
    pub(crate) fn repeats(&self) -> bool {
        self.sampling == Sampling::Balanced
    }

    pub(crate) fn new(faces: &Faces, sampling: Sampling, seed: u64) -> Self {
        let classes = if sampling == Sampling::Balanced { by_class(faces) } else { Vec::new() };
        Self { faces: faces.len(), sampling, seed, classes }
    }

    /// The order of epoch `number`.
    pub(crate) fn epoch(&self, number: u64) -> Epoch {
        let mut epoch = Epoch { number, order: Vec::with_capacity(self.faces) };
        self.advance(&mut epoch, number);
        epoch
    }

    /// Makes `epoch` the one of `number`, in the memory that it already holds.
    pub(crate) fn advance(&self, epoch: &mut Epoch, number: u64) {
        epoch.number = number;
        epoch.order.clear();
        let mut rng = Rng::stream(&[SHUFFLE_STREAM, self.seed, number]);
        match self.sampling {
            Sampling::InOrder | Sampling::Shuffled => epoch.order.extend(0..self.faces as u32),
            Sampling::Balanced => self.balance(&mut rng, &mut epoch.order),
        }
        if self.sampling != Sampling::InOrder {
            rng.shuffle(&mut epoch.order);
        }
    }

    /// Appends as many faces as there are, the same number of each class. Allocates nothing.
    fn balance(&self, rng: &mut Rng, order: &mut Vec<u32>) {
        let (share, more) = (self.faces / self.classes.len(), self.faces % self.classes.len());
        for (i, class) in self.classes.iter().enumerate() {
            let share = share + usize::from(i < more);
            (0..share / class.len()).for_each(|_| order.extend(class));
            // Reservoir sampling: each face is as likely to be among the rest.
            let rest = share % class.len();
            let start = order.len();
            order.extend(&class[..rest]);
            for (seen, &face) in class.iter().enumerate().skip(rest) {
                let place = rng.below(seen + 1);
                if place < rest {
                    order[start + place] = face;
                }
            }
        }
    }
}

/// The faces of each class that has any.
fn by_class(faces: &Faces) -> Vec<Vec<u32>> {
    let mut classes = vec![Vec::new(); 1 << u8::BITS];
    for (face, &label) in (0..).zip(&faces.labels) {
        classes[usize::from(label)].push(face);
    }
    classes.retain(|class| !class.is_empty());
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten faces of class 2, three of class 5, one of class 9 have five, five and four places.
    #[test]
    fn a_balanced_epoch_visits_classes_equally() {
        let labels = [vec![2; 10], vec![5; 3], vec![9]].concat();
        let faces = Faces { labels, ..Faces::default() };
        let sampler = Sampler::new(&faces, Sampling::Balanced, 1);
        let mut visits = [0; 14];
        for number in 0..300 {
            let epoch = sampler.epoch(number);
            assert_eq!(epoch, sampler.epoch(number));
            let count = |face: u32| epoch.order().iter().filter(|&&f| f == face).count();
            let counts: Vec<usize> = (0..14).map(count).collect();
            assert_eq!(
                [&counts[..10], &counts[10..13], &counts[13..]].map(|c| c.iter().sum::<usize>()),
                [5, 5, 4]
            );
            assert!(
                counts[..10].iter().all(|&n| n <= 1) && counts[10..13].iter().all(|n| (1..=2).contains(n))
            );
            visits.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
        // Half of 300 epochs each, to five standard deviations of a binomial.
        assert!(visits[..10].iter().all(|n| (107..=193).contains(n)), "{visits:?}");
        assert_ne!(sampler.epoch(0).order(), sampler.epoch(1).order());
    }
}
