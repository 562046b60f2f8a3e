//! Fixed augmented copies, as a data set is enlarged before training.

use rayon::prelude::*;

use crate::faces::{Faces, PIXELS};
use crate::{Augment, Result, Rng};

/// Key of the random numbers of copies.
const COPY_STREAM: u64 = 0x636f_7079;

impl Faces {
    /// Each face followed by `copies` random versions of it, with its label, number, subject and name.
    ///
    /// A copy depends on `seed`, the face with its number, and the copy's own number alone: cutting folds and then
    /// copying gives the same images as copying and then cutting, differently dealt.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for augmentation ranges out of their domain or inconsistent faces.
    pub fn with_copies(&self, augment: &Augment, copies: usize, seed: u64) -> Result<Self> {
        augment.check()?;
        self.check(1 << u8::BITS)?;
        let repeated: Vec<usize> = (0..self.len()).flat_map(|i| std::iter::repeat_n(i, copies + 1)).collect();
        let mut all = self.subset(&repeated);
        all.pixels.to_mut().par_chunks_exact_mut(PIXELS).enumerate().try_for_each(|(at, face)| {
            let (i, copy) = (at / (copies + 1), at % (copies + 1));
            if copy == 0 {
                return Ok(());
            }
            let mut rng = Rng::stream(&[COPY_STREAM, seed, u64::from(self.numbers[i]), copy as u64]);
            let mut drawn = [0.0; PIXELS];
            augment.apply(&mut rng, face, &mut drawn)?;
            face.iter_mut().zip(drawn).for_each(|(pixel, grey)| *pixel = grey.round() as u8);
            Ok(())
        })?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Split, folds, synthetic};
    use std::collections::BTreeSet;

    #[test]
    fn copies_follow_their_face_and_depend_on_the_seed() {
        let faces = synthetic::faces(0, Split::Train, 1).unwrap();
        let all = faces.with_copies(&Augment::paper(), 2, 5).unwrap();
        all.check(7).unwrap();
        assert_eq!((all.len(), all.counts(7)), (21, vec![3; 7]));
        for i in 0..7 {
            assert_eq!(all.face(3 * i), faces.face(i));
            assert_eq!(all.numbers[3 * i..3 * i + 3], [faces.numbers[i]; 3]);
            assert!(all.face(3 * i + 1) != all.face(3 * i) && all.face(3 * i + 1) != all.face(3 * i + 2));
        }
        assert!(all == faces.with_copies(&Augment::paper(), 2, 5).unwrap());
        assert!(all != faces.with_copies(&Augment::paper(), 2, 6).unwrap());
        assert!(faces == faces.with_copies(&Augment::paper(), 0, 5).unwrap());
    }

    /// The two orders give the same images; only copying first puts copies of one image on both sides.
    #[test]
    fn cutting_after_copying_leaks() {
        let faces = synthetic::faces(0, Split::Train, 3).unwrap();
        let classes = vec![String::new(); 7];
        let copied = |faces: &Faces| faces.with_copies(&Augment::paper(), 5, 1).unwrap();
        let numbers = |faces: &Faces| faces.numbers.iter().copied().collect::<BTreeSet<u32>>();
        let images = |a: &Faces, b: &Faces| {
            let faces = a.pixels.chunks(PIXELS).chain(b.pixels.chunks(PIXELS));
            faces.map(<[u8]>::to_vec).collect::<BTreeSet<_>>()
        };
        let all = copied(&faces);
        for fold in 0..5 {
            let (train, test) = folds::fold(&all, &classes, 5, fold).unwrap();
            assert_eq!(numbers(&train).intersection(&numbers(&test)).count(), 21, "each image leaks");
            let (clean_train, clean_test) = folds::fold(&faces, &classes, 5, fold).unwrap();
            let (clean_train, clean_test) = (copied(&clean_train), copied(&clean_test));
            assert!(numbers(&clean_train).is_disjoint(&numbers(&clean_test)));
            assert!(images(&train, &test) == images(&clean_train, &clean_test));
        }
    }
}
