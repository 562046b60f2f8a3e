//! Batches of normalised, augmented faces in a reproducible order.

use rayon::prelude::*;
use std::ops::Range;

use crate::faces::{Faces, Normalisation, PIXELS};
use crate::sampler::{Epoch, Sampler, Sampling};
use crate::{Augment, Error, Result, Rng};

/// Keys that keep the streams of a face and of what it is mixed with apart.
const AUGMENT_STREAM: u64 = 0x6175_676d;
const MIXUP_STREAM: u64 = 0x6d69_7875;

/// Cuts a set of faces into batches.
///
/// Everything is a function of (seed, epoch, image): which batches were drawn before, and on how many
/// threads, makes no difference. A resumed run therefore continues with the same bits from any
/// (epoch, batch).
///
/// ```
/// use moue_datasets::{Augment, Dataset, Loader, Normalisation, OpenOptions, PIXELS, Sampling};
///
/// let options = OpenOptions { synthetic_per_class: 10, ..OpenOptions::default() };
/// let data = Dataset::open("synthetic", &options)?;
/// let normalisation = Normalisation::of(&data.train);
/// let loader = Loader::new(&data.train, 32, normalisation, Augment::paper(), 0, Sampling::Shuffled)?;
///
/// let mut pixels = vec![0.0; loader.batch() * PIXELS];
/// let (mut labels, mut images) = (vec![0; loader.batch()], vec![0; loader.batch()]);
/// let epoch = loader.epoch(0);
/// for batch in 0..loader.batches_per_epoch() {
///     let n = loader.fill(&epoch, batch, &mut pixels, &mut labels, &mut images)?;
///     let _input = &pixels[..n * PIXELS]; // [n, 48, 48, 1]
/// }
/// # Ok::<(), moue_datasets::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Loader<'a> {
    faces: &'a Faces,
    batch: usize,
    normalisation: Normalisation,
    augment: Augment,
    seed: u64,
    sampler: Sampler,
    /// Parameter of the mixture's Beta distribution; 0 mixes nothing.
    mixup: f32,
}

impl<'a> Loader<'a> {
    /// A loader of `faces` in batches of `batch`; for evaluation use [`Loader::plain`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a batch of 0, no faces, inconsistent faces, a normalisation that is not
    /// finite or augmentation ranges out of their domain.
    pub fn new(
        faces: &'a Faces,
        batch: usize,
        normalisation: Normalisation,
        augment: Augment,
        seed: u64,
        sampling: Sampling,
    ) -> Result<Self> {
        if batch == 0 {
            return Err(Error::invalid("batch", "at least 1", batch));
        }
        if faces.is_empty() || u32::try_from(faces.len()).is_err() {
            return Err(Error::invalid("faces", "between 1 and 2^32 - 1 faces", faces.len()));
        }
        faces.check(1 << u8::BITS)?;
        let (factor, addend) = normalisation.affine();
        if !(factor.is_finite() && addend.is_finite()) {
            let got = format!("mean {}, std {}", normalisation.mean, normalisation.std);
            return Err(Error::invalid("normalisation", "a finite mean and a positive std", got));
        }
        augment.check()?;
        let sampler = Sampler::new(faces, sampling, seed);
        Ok(Self { faces, batch, normalisation, augment, seed, sampler, mixup: 0.0 })
    }

    /// Mixes each face with another one of the epoch, each in its own random version (mixup, Zhang et al.
    /// 2018), by a share drawn from a Beta distribution.
    ///
    /// In the paper image and target are mixed alike: `l * a + (1 - l) * b` with `l` of Beta(alpha, alpha).
    /// Losses are linear in the target, so in the mean over draws the same is trained if the mixture has
    /// the one label `a` with probability `l`; as faces are drawn in pairs either way round, `l` then is of
    /// Beta(alpha + 1, alpha). So labels stay class indices.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an alpha that is not from 0 (nothing is mixed) to 1.
    pub fn with_mixup(self, alpha: f32) -> Result<Self> {
        match (0.0..=1.0).contains(&alpha) {
            true => Ok(Self { mixup: alpha, ..self }),
            false => Err(Error::invalid("mixup", "0 to 1", alpha)),
        }
    }

    /// A loader for evaluation: the faces as they are, in their own order.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn plain(faces: &'a Faces, batch: usize, normalisation: Normalisation) -> Result<Self> {
        Self::new(faces, batch, normalisation, Augment::none(), 0, Sampling::InOrder)
    }

    /// Faces per batch; the last batch of an epoch may be smaller.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Number of batches of an epoch, the smaller last one included.
    pub fn batches_per_epoch(&self) -> usize {
        self.faces.len().div_ceil(self.batch)
    }

    /// The order of epoch `number`.
    pub fn epoch(&self, number: u64) -> Epoch {
        self.sampler.epoch(number)
    }

    /// Makes `epoch` the one of `number`, in the memory that it already holds.
    pub fn advance(&self, epoch: &mut Epoch, number: u64) {
        self.sampler.advance(epoch, number);
    }

    /// Faces of batch number `batch` of an epoch; 0 beyond the end.
    pub fn batch_len(&self, batch: usize) -> usize {
        self.faces.len().saturating_sub(batch.saturating_mul(self.batch)).min(self.batch)
    }

    /// Fills the buffers with batch number `batch` of `epoch` and returns its size `n`.
    ///
    /// `pixels` receives `[n, 48, 48, 1]` normalised values, `labels` the classes, `images` the
    /// indices of the faces. Buffers may be longer than the batch; the rest is left alone. Runs on
    /// the current rayon pool. Nothing is allocated here; rayon itself allocates now and then when
    /// called from outside its pool, so a caller that counts allocations should be inside
    /// (`ThreadPool::install`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a batch beyond the end, an epoch of another loader or a short buffer.
    pub fn fill(
        &self,
        epoch: &Epoch,
        batch: usize,
        pixels: &mut [f32],
        labels: &mut [u32],
        images: &mut [u32],
    ) -> Result<usize> {
        self.fill_part(epoch, batch, 0..self.batch_len(batch), pixels, labels, images)
    }

    /// [`Loader::fill`] for the faces `part` of the batch alone: `pixels` and `labels` receive theirs, `images` the
    /// indices of all.
    ///
    /// # Errors
    /// As [`Loader::fill`]; a part that the batch does not have.
    pub fn fill_part(
        &self,
        epoch: &Epoch,
        batch: usize,
        part: Range<usize>,
        pixels: &mut [f32],
        labels: &mut [u32],
        images: &mut [u32],
    ) -> Result<usize> {
        if epoch.order().len() != self.faces.len() {
            let expected = format!("an epoch of this loader's {} faces", self.faces.len());
            return Err(Error::invalid("epoch", expected, epoch.order().len()));
        }
        let Some(order) = epoch.order().chunks(self.batch).nth(batch) else {
            return Err(Error::invalid("batch", format!("below {}", self.batches_per_epoch()), batch));
        };
        let n = order.len();
        if part.start > part.end || part.end > n {
            return Err(Error::invalid("part", format!("a part of {n} faces"), format!("{part:?}")));
        }
        let here = part.len();
        let needs = [("pixels", pixels.len(), here * PIXELS), ("labels", labels.len(), here)];
        for (name, length, needed) in needs.into_iter().chain([("images", images.len(), n)]) {
            if length < needed {
                return Err(Error::invalid(name, format!("room for {needed} elements"), length));
            }
        }

        images[..n].copy_from_slice(order);
        let first = batch * self.batch + part.start;
        let order = &order[part];
        for (label, &image) in labels.iter_mut().zip(order) {
            *label = u32::from(self.faces.labels[image as usize]);
        }
        let work = |(i, out): (usize, &mut [f32])| self.prepare(epoch, first + i, out);
        if rayon::current_num_threads() == 1 {
            pixels[..here * PIXELS].chunks_exact_mut(PIXELS).enumerate().try_for_each(work)?;
        } else {
            // An unaugmented face takes a microsecond: tasks of a few faces keep stealing cheap.
            pixels[..here * PIXELS]
                .par_chunks_exact_mut(PIXELS)
                .enumerate()
                .with_min_len(4)
                .try_for_each(work)?;
        }
        Ok(n)
    }

    /// Writes the face at `place` of the epoch's order as it is trained on.
    fn prepare(&self, epoch: &Epoch, place: usize, out: &mut [f32]) -> Result<()> {
        let image = epoch.order()[place];
        // A face that is repeated within an epoch is another version each time.
        let key = if self.sampler.repeats() { (1 << u32::BITS) + place as u64 } else { image.into() };
        let stream = |stream| Rng::stream(&[stream, self.seed, epoch.number(), key]);
        self.version(&mut stream(AUGMENT_STREAM), image, out)?;
        if self.mixup > 0.0 {
            let mut rng = stream(MIXUP_STREAM);
            let share = rng.beta(self.mixup + 1.0, self.mixup);
            let other = epoch.order()[rng.below(epoch.order().len())];
            let mut second = [0.0; PIXELS];
            self.version(&mut rng, other, &mut second)?;
            out.iter_mut().zip(second).for_each(|(x, y)| *x = share * *x + (1.0 - share) * y);
        }
        Ok(())
    }

    /// A random version of a face.
    fn version(&self, rng: &mut Rng, face: u32, out: &mut [f32]) -> Result<()> {
        let face = self.faces.face(face as usize);
        if self.augment.is_none() {
            self.normalisation.apply(face, out);
            return Ok(());
        }
        self.augment.apply_normalised(rng, face, &self.normalisation, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: usize) -> Faces {
        let mut rng = Rng::new(11);
        let mut faces = Faces::default();
        for i in 0..n {
            let face = std::array::from_fn(|_| rng.below(256) as u8);
            faces.push(&face, (i % 7) as u8, i as u32, format!("image {i}"));
        }
        faces
    }

    type Batch = (Vec<u32>, Vec<u32>, Vec<u32>);

    /// Pixels (as bits), labels and images of one batch.
    fn draw(loader: &Loader, epoch: u64, batch: usize) -> Batch {
        let b = loader.batch();
        let (mut pixels, mut labels, mut images) = (vec![0.0; b * PIXELS], vec![0; b], vec![0; b]);
        let n = loader.fill(&loader.epoch(epoch), batch, &mut pixels, &mut labels, &mut images).unwrap();
        labels.truncate(n);
        images.truncate(n);
        (pixels[..n * PIXELS].iter().map(|p| p.to_bits()).collect(), labels, images)
    }

    #[test]
    fn a_part_is_that_part_of_the_batch() {
        let faces = sample(21);
        let loader = training(&faces);
        let (epoch, b) = (loader.epoch(2), loader.batch());
        assert_eq!([0, 2, 3].map(|batch| loader.batch_len(batch)), [8, 5, 0]);
        let (whole, labels, order) = draw(&loader, 2, 2);
        let (mut pixels, mut some, mut images) = (vec![0.0; 2 * PIXELS], [9; 2], vec![0; b]);
        let n = loader.fill_part(&epoch, 2, 3..5, &mut pixels, &mut some, &mut images).unwrap();
        assert_eq!((n, &images[..n], &some[..]), (5, &order[..], &labels[3..]));
        assert!(pixels.iter().map(|p| p.to_bits()).eq(whole[3 * PIXELS..].iter().copied()));
        assert!(loader.fill_part(&epoch, 2, 4..6, &mut pixels, &mut some, &mut images).is_err());
    }

    fn training(faces: &Faces) -> Loader<'_> {
        Loader::new(faces, 8, Normalisation::of(faces), Augment::paper(), 5, Sampling::Shuffled).unwrap()
    }

    /// Half of the faces are black and half white: a mixture's grey is the share of white, and more than half
    /// of it is the face's own in the mean, (alpha + 1) / (2 alpha + 1).
    #[test]
    fn mixup_mixes_with_any_face_of_the_set() {
        let mut faces = Faces::default();
        for i in 0..400 {
            faces.push(&[if i % 2 == 0 { 0 } else { 255 }; PIXELS], (i % 2) as u8, i, format!("{i}"));
        }
        let plain =
            Loader::new(&faces, 400, Normalisation::identity(), Augment::none(), 5, Sampling::InOrder);
        let mixed = plain.unwrap().with_mixup(0.4).unwrap();
        let mut own = Vec::new();
        for epoch in 0..5 {
            let (pixels, labels, _) = draw(&mixed, epoch, 0);
            for (face, label) in pixels.chunks(PIXELS).zip(labels) {
                assert!(face.iter().all(|p| p == &face[0]));
                let white = f64::from(f32::from_bits(face[0]));
                own.push(if label == 1 { white } else { 1.0 - white });
            }
        }
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        // Half of the partners have the same colour.
        let expected = 0.5 + 0.5 * 1.4 / 1.8;
        assert!((mean - expected).abs() < 0.02, "{mean} {expected}");
        assert!(own.iter().any(|&x| x < 0.5));
        assert!(mixed.clone().with_mixup(f32::INFINITY).is_err());
        assert_eq!(draw(&mixed, 3, 0), draw(&mixed.clone(), 3, 0));
    }

    #[test]
    fn an_epoch_visits_every_face_once() {
        let faces = sample(30);
        let loader = training(&faces);
        assert_eq!(loader.batches_per_epoch(), 4);
        let mut images = Vec::new();
        for batch in 0..4 {
            let (pixels, labels, batch_images) = draw(&loader, 2, batch);
            assert_eq!(batch_images.len(), if batch == 3 { 6 } else { 8 });
            assert_eq!(pixels.len(), batch_images.len() * PIXELS);
            for (label, image) in labels.iter().zip(&batch_images) {
                assert_eq!(*label, image % 7);
            }
            images.extend(batch_images);
        }
        assert_ne!(images, (0..30).collect::<Vec<_>>(), "shuffled");
        images.sort_unstable();
        assert_eq!(images, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_batch_depends_only_on_seed_epoch_and_number() {
        let faces = sample(30);
        let loader = training(&faces);
        let all: Vec<Batch> = (0..4).map(|batch| draw(&loader, 7, batch)).collect();
        // A fresh loader that starts in the middle, as after a resume, and draws backwards.
        let resumed = training(&faces);
        for batch in [3, 2] {
            assert_eq!(draw(&resumed, 7, batch), all[batch]);
        }
        assert_ne!(draw(&loader, 8, 0), all[0]);
        let mut epoch = loader.epoch(0);
        loader.advance(&mut epoch, 7);
        assert_eq!(epoch, loader.epoch(7));
    }

    #[test]
    fn thread_counts_give_the_same_bits() {
        let faces = sample(30);
        let loader = training(&faces);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (0..4).map(|batch| draw(&loader, 1, batch)).collect::<Vec<_>>())
        };
        assert_eq!(on(1), on(2));
    }

    #[test]
    fn the_same_face_is_augmented_anew_each_epoch() {
        let faces = sample(1);
        let loader = training(&faces);
        assert_ne!(draw(&loader, 0, 0).0, draw(&loader, 1, 0).0);
    }

    #[test]
    fn evaluation_keeps_the_order_and_the_pixels() {
        let faces = sample(10);
        let normalisation = Normalisation { mean: 0.5, std: 0.25 };
        let loader = Loader::plain(&faces, 4, normalisation).unwrap();
        let (pixels, _, images) = draw(&loader, 0, 1);
        assert_eq!(images, [4, 5, 6, 7]);
        for (bits, &pixel) in pixels.iter().zip(&faces.pixels[4 * PIXELS..]) {
            let expected = (f32::from(pixel) / 255.0 - 0.5) / 0.25;
            assert!((f32::from_bits(*bits) - expected).abs() < 1e-5);
        }
    }

    #[test]
    fn bad_arguments_are_named() {
        let faces = sample(10);
        let normalisation = Normalisation::identity();
        let message = |result: Result<Loader>| result.unwrap_err().to_string();
        assert!(message(Loader::plain(&faces, 0, normalisation)).contains("batch"));
        assert!(message(Loader::plain(&Faces::default(), 4, normalisation)).contains("faces"));
        let flat = Normalisation { mean: 0.5, std: 0.0 };
        assert!(message(Loader::plain(&faces, 4, flat)).contains("normalisation"));

        let loader = Loader::plain(&faces, 4, normalisation).unwrap();
        let epoch = loader.epoch(0);
        let (mut pixels, mut labels, mut images) = (vec![0.0; 4 * PIXELS], vec![0; 4], vec![0; 4]);
        let error = loader.fill(&epoch, 3, &mut pixels, &mut labels, &mut images).unwrap_err();
        assert!(error.to_string().contains("batch: expected below 3, got 3"), "{error}");
        let error = loader.fill(&epoch, 0, &mut pixels[1..], &mut labels, &mut images).unwrap_err();
        assert!(error.to_string().contains("pixels"), "{error}");
        let other = sample(11);
        let other = Loader::plain(&other, 4, normalisation).unwrap().epoch(0);
        assert!(loader.fill(&other, 0, &mut pixels, &mut labels, &mut images).is_err());
    }
}
