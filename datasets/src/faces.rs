//! Faces in memory.

use std::fmt;

use crate::{Error, Pixels, Result, Summary};

/// Side of a face in pixels.
pub const SIDE: usize = 48;

/// Pixels of a face.
pub const PIXELS: usize = SIDE * SIDE;

/// One face: 48 x 48 grey values, row by row from the top, 0 black to 255 white.
pub type Face = [u8; PIXELS];

/// A set of `n` labelled faces, as structure of arrays.
///
/// All vectors have one entry per face, `pixels` has [`PIXELS`]. [`push`](Self::push) keeps it so;
/// code that fills the fields itself can have it verified with [`check`](Self::check).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Faces {
    /// `n * 2304` grey values: the faces one after the other.
    pub pixels: Pixels,
    /// Class of each face, an index into the data set's class list.
    pub labels: Vec<u8>,
    /// Number of each image: the one in its file name, or the row in its CSV counted from 0. Folds
    /// are cut by it.
    pub numbers: Vec<u32>,
    /// The person on each image, where the source tells (CK+).
    pub subjects: Option<Vec<u32>>,
    /// Where each image comes from, for reports: its path within the data set, or `row N`.
    pub names: Vec<String>,
}

impl fmt::Debug for Faces {
    /// The number of faces, not their pixels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subjects = self.subjects.is_some();
        f.debug_struct("Faces").field("len", &self.len()).field("subjects", &subjects).finish_non_exhaustive()
    }
}

impl Faces {
    /// Number of faces.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no face.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The 2304 pixels of face `i`; empty if there is no such face.
    pub fn face(&self, i: usize) -> &[u8] {
        self.pixels.chunks_exact(PIXELS).nth(i).unwrap_or_default()
    }

    /// Appends a face of an unknown subject (or of a set without subjects).
    pub fn push(&mut self, face: &Face, label: u8, number: u32, name: String) {
        self.pixels.to_mut().extend_from_slice(face);
        self.labels.push(label);
        self.numbers.push(number);
        self.names.push(name);
    }

    /// Verifies that all fields agree on the number of faces and that labels are below `classes`.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the field that is out of step.
    pub fn check(&self, classes: usize) -> Result<()> {
        let n = self.len();
        let lengths = [
            ("faces.pixels", self.pixels.len(), n.checked_mul(PIXELS)),
            ("faces.numbers", self.numbers.len(), Some(n)),
            ("faces.names", self.names.len(), Some(n)),
            ("faces.subjects", self.subjects.as_ref().map_or(n, Vec::len), Some(n)),
        ];
        for (name, got, expected) in lengths {
            if Some(got) != expected {
                return Err(Error::invalid(name, format!("as many entries as {n} faces have"), got));
            }
        }
        match self.labels.iter().find(|&&label| usize::from(label) >= classes) {
            Some(label) => Err(Error::invalid("faces.labels", format!("labels below {classes}"), label)),
            None => Ok(()),
        }
    }

    /// The faces at `indices`, in that order; indices beyond the end are left out.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let indices = || indices.iter().copied().filter(|&i| i < self.len());
        let mut pixels = Vec::with_capacity(indices().count() * PIXELS);
        indices().for_each(|i| pixels.extend_from_slice(self.face(i)));
        Self {
            pixels: pixels.into(),
            labels: indices().map(|i| self.labels[i]).collect(),
            numbers: indices().map(|i| self.numbers[i]).collect(),
            subjects: self.subjects.as_ref().map(|subjects| indices().map(|i| subjects[i]).collect()),
            names: indices().map(|i| self.names[i].clone()).collect(),
        }
    }

    /// Number of faces per class, for classes `0..classes`.
    pub fn counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        counts
    }

    /// At most `cap` faces in their present order, with the proportions of the classes kept and no
    /// class lost while `cap` is at least their number.
    pub fn capped(&self, cap: usize) -> Self {
        let counts = self.counts(1 << u8::BITS);
        let mut seen = vec![0_usize; counts.len()];
        // A face's key is its relative position within its own class: the first `cap` keys hold the
        // same share of every class, and the first face of each class has key 0.
        let mut keyed: Vec<(f64, usize)> = (0..self.len())
            .map(|i| {
                let label = usize::from(self.labels[i]);
                seen[label] += 1;
                ((seen[label] - 1) as f64 / counts[label] as f64, i)
            })
            .collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut kept: Vec<usize> = keyed.into_iter().take(cap).map(|(_, i)| i).collect();
        kept.sort_unstable();
        self.subset(&kept)
    }

    /// Mean and standard deviation of pixel/255 over all pixels; `(0, 1)` without faces.
    ///
    /// The sums are exact integers, so the result does not depend on any order.
    pub fn statistics(&self) -> (f32, f32) {
        if self.pixels.is_empty() {
            return (0.0, 1.0);
        }
        let Summary { sum, squares, .. } = self.pixels.summary();
        let n = self.pixels.len() as f64;
        let mean = sum as f64 / n;
        let variance = (squares as f64 / n - mean * mean).max(0.0);
        ((mean / 255.0) as f32, (variance.sqrt() / 255.0) as f32)
    }
}

/// The map from grey values to network input: `(pixel / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Mean of pixel/255 over the training set.
    pub mean: f32,
    /// Standard deviation of pixel/255 over the training set.
    pub std: f32,
}

impl Normalisation {
    /// The normalisation that gives `faces` mean 0 and variance 1.
    ///
    /// Faces of one single grey have no deviation to divide by; they are only centred.
    pub fn of(faces: &Faces) -> Self {
        let (mean, std) = faces.statistics();
        Self { mean, std: if std > 1e-6 { std } else { 1.0 } }
    }

    /// Leaves pixel/255 as it is.
    pub fn identity() -> Self {
        Self { mean: 0.0, std: 1.0 }
    }

    /// Factor and addend of the same map on grey values: `pixel * factor + addend`.
    pub fn affine(&self) -> (f32, f32) {
        (1.0 / (255.0 * self.std), -self.mean / self.std)
    }

    /// Writes the normalised `face` to `out`, as far as the shorter of the two reaches.
    pub fn apply(&self, face: &[u8], out: &mut [f32]) {
        let (factor, addend) = self.affine();
        for (out, &pixel) in out.iter_mut().zip(face) {
            *out = f32::from(pixel) * factor + addend;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[u8]) -> Faces {
        let mut faces = Faces::default();
        for (i, &label) in labels.iter().enumerate() {
            faces.push(&[i as u8; PIXELS], label, 10 * i as u32, format!("image {i}"));
        }
        faces
    }

    #[test]
    fn subset_keeps_all_fields_in_step() {
        let mut faces = sample(&[0, 1, 2]);
        faces.subjects = Some(vec![5, 6, 7]);
        let picked = faces.subset(&[2, 0, 99]);
        assert_eq!(picked.labels, [2, 0]);
        assert_eq!(picked.numbers, [20, 0]);
        assert_eq!(picked.subjects, Some(vec![7, 5]));
        assert_eq!(picked.names, ["image 2", "image 0"]);
        assert_eq!(picked.face(0), [2; PIXELS]);
        assert!(picked.face(2).is_empty());
        picked.check(3).unwrap();
    }

    #[test]
    fn check_names_the_field() {
        let mut faces = sample(&[0, 1]);
        assert!(faces.check(1).unwrap_err().to_string().contains("faces.labels"));
        faces.pixels.to_mut().pop();
        assert!(faces.check(2).unwrap_err().to_string().contains("faces.pixels"));
    }

    #[test]
    fn capped_keeps_proportions_and_every_class() {
        let labels: Vec<u8> = (0..120).map(|i| if i < 100 { 0 } else { 1 + (i % 2) as u8 }).collect();
        let faces = sample(&labels);
        assert_eq!(faces.capped(60).counts(3), [50, 5, 5]);
        assert_eq!(faces.capped(3).counts(3), [1, 1, 1]);
        assert_eq!(faces.capped(1000), faces);
        assert!(faces.capped(0).is_empty());
        assert!(faces.capped(60).numbers.is_sorted());
    }

    #[test]
    fn statistics_of_a_known_set() {
        let mut faces = Faces::default();
        faces.push(&[0; PIXELS], 0, 0, String::new());
        faces.push(&[255; PIXELS], 0, 1, String::new());
        assert_eq!(faces.statistics(), (0.5, 0.5));
        assert_eq!(Faces::default().statistics(), (0.0, 1.0));
    }

    #[test]
    fn normalised_faces_have_mean_zero_and_unit_variance() {
        let mut faces = Faces::default();
        faces.push(&std::array::from_fn(|i| (i * i % 251) as u8), 0, 0, String::new());
        let mut out = [0.0; PIXELS];
        Normalisation::of(&faces).apply(faces.face(0), &mut out);
        let mean = out.iter().sum::<f32>() / PIXELS as f32;
        let variance = out.iter().map(|x| x * x).sum::<f32>() / PIXELS as f32;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-4, "{mean} {variance}");
        let constant = sample(&[0]);
        assert_eq!(Normalisation::of(&constant), Normalisation { mean: 0.0, std: 1.0 });
    }
}
