//! Which class was taken for which.

use crate::error::Result;
use crate::infer::Classifier;
use moue_datasets::Faces;
use serde::Serialize;

/// Counts of images by true and recognised class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Confusion {
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts pairs of true and recognised class, both below `classes`.
    pub fn of(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut counts = vec![vec![0; classes]; classes];
        pairs.into_iter().for_each(|(truth, answer)| counts[truth][answer] += 1);
        Self { counts }
    }

    /// What `classifier`, with its views, takes `faces` for, whose labels are indices into `map`.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn of_faces(classifier: &mut Classifier, faces: &Faces, map: &[usize]) -> Result<Self> {
        let recognised = classifier.classify(faces)?;
        let truths = faces.labels.iter().map(|&label| map[usize::from(label)]);
        Ok(Self::of(classifier.classes().len(), truths.zip(recognised)))
    }

    /// A row is a true class, a column a recognised one.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// Share of the images whose class was recognised, 0 to 1; NaN without images.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.counts.len()).map(|i| self.counts[i][i]).sum();
        right as f64 / self.images() as f64
    }

    /// Each row as shares of its images, 0 to 1; `None` for a class without images.
    pub fn normalised(&self) -> Vec<Option<Vec<f64>>> {
        let shares = |row: &Vec<u64>| match row.iter().sum::<u64>() {
            0 => None,
            sum => Some(row.iter().map(|&count| count as f64 / sum as f64).collect()),
        };
        self.counts.iter().map(shares).collect()
    }

    /// Share of each class's images that was recognised; `None` for a class without images.
    pub fn recall(&self) -> Vec<Option<f64>> {
        self.normalised().iter().enumerate().map(|(i, row)| Some(row.as_ref()?[i])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_true_classes() {
        let pairs = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 1)];
        let confusion = Confusion::of(3, pairs);
        assert_eq!(confusion.counts(), [[3, 1, 0], [0, 2, 0], [0, 0, 0]]);
        assert_eq!((confusion.images(), confusion.accuracy()), (6, 5.0 / 6.0));
        assert_eq!(confusion.recall(), [Some(0.75), Some(1.0), None]);
        assert_eq!(confusion.normalised()[0], Some(vec![0.75, 0.25, 0.0]));
    }
}
