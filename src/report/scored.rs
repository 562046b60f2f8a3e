//! Scores of labelled images, and what is measured on them: confusion, calibration, temperature, mistakes.

use super::Confusion;
use crate::error::{Error, Result};
use crate::infer::{Classifier, argmax, exact_softmax};
use moue_datasets::{Face, Faces};
use std::path::Path;

/// Bins of the expected calibration error, as in the literature (Guo et al. 2017).
pub const BINS: usize = 15;

/// Lowest and highest temperature that is sought: scores that are all right, or no better than chance, have none.
const TEMPERATURES: (f64, f64) = (0.01, 100.0);

/// Scores of labelled images.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    classes: usize,
    /// `[n, classes]`, row-major: their softmax over a temperature gives the probabilities.
    scores: Vec<f64>,
    truth: Vec<usize>,
}

/// What a classifier says of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Position among the images.
    pub image: usize,
    /// Its true class.
    pub truth: usize,
    /// The most probable class.
    pub answer: usize,
    /// Probability of `answer`.
    pub confidence: f64,
}

/// A face that was taken for another class.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// Its grey values.
    pub face: Box<Face>,
    /// Its true class.
    pub truth: usize,
    /// What it was taken for.
    pub answer: usize,
    /// With which probability.
    pub confidence: f64,
}

/// Images whose confidence is in the same range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// How many.
    pub images: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// The share of them that was recognised; 0 without images.
    pub accuracy: f64,
}

/// How far probabilities can be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// What the scores were divided by.
    pub temperature: f64,
    /// Mean negative logarithm of the true class's probability.
    pub nll: f64,
    /// Expected calibration error: mean distance of confidence and accuracy, over bins by their images.
    pub ece: f64,
    /// [`BINS`] of them; bin i has the confidences above i / BINS up to (i + 1) / BINS.
    pub bins: Vec<Bin>,
}

impl Scored {
    /// `scores` are `[n, classes]`, row-major, and `truth` the class of each image.
    ///
    /// # Panics
    /// If the lengths do not fit or a class is not below `classes`.
    pub fn new(classes: usize, scores: Vec<f64>, truth: Vec<usize>) -> Self {
        assert_eq!(scores.len(), classes * truth.len(), "a row of scores for each image");
        assert!(truth.iter().all(|&class| class < classes), "a class below {classes} for each image");
        Self { classes, scores, truth }
    }

    /// What `classifier` says of `faces`, whose labels are indices into `map`.
    ///
    /// # Errors
    /// No faces, or inconsistent ones.
    pub fn of(classifier: &mut Classifier, faces: &Faces, map: &[usize]) -> Result<Self> {
        faces.check(map.len())?;
        let scores = classifier.scores(faces)?;
        let truth = faces.labels.iter().map(|&label| map[usize::from(label)]).collect();
        Ok(Self::new(classifier.classes().len(), scores, truth))
    }

    /// Takes in the images of another set of the same classes.
    pub fn extend(&mut self, other: Self) {
        assert_eq!(self.classes, other.classes, "the same classes");
        self.scores.extend(other.scores);
        self.truth.extend(other.truth);
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.truth.len()
    }

    fn rows(&self) -> impl Iterator<Item = (&[f64], usize)> {
        self.scores.chunks_exact(self.classes).zip(self.truth.iter().copied())
    }

    /// Which class was taken for which.
    pub fn confusion(&self) -> Confusion {
        Confusion::of(self.classes, self.rows().map(|(row, truth)| (truth, argmax(row))))
    }

    /// The answer to each image.
    pub fn answers(&self, temperature: f64) -> Vec<Answer> {
        let answer = |(image, (row, truth)): (usize, (&[f64], usize))| {
            let answer = argmax(row);
            let confidence = exact_softmax(row, 1.0 / temperature)[answer];
            Answer { image, truth, answer, confidence }
        };
        self.rows().enumerate().map(answer).collect()
    }

    /// The wrong answers, the most confident first.
    pub fn mistakes(&self, temperature: f64) -> Vec<Answer> {
        let mut wrong = self.answers(temperature);
        wrong.retain(|answer| answer.answer != answer.truth);
        wrong.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        wrong
    }

    /// Mean negative logarithm of the true class's probability.
    pub fn nll(&self, temperature: f64) -> f64 {
        let of_row = |(row, truth): (&[f64], usize)| {
            let largest = row[argmax(row)];
            let sum: f64 = row.iter().map(|z| ((z - largest) / temperature).exp()).sum();
            sum.ln() - (row[truth] - largest) / temperature
        };
        self.rows().map(of_row).sum::<f64>() / self.images() as f64
    }

    /// Reliability by confidence, and its summary.
    pub fn calibration(&self, temperature: f64) -> Calibration {
        // Images, sum of confidences, right answers.
        let mut sums = [(0_usize, 0.0, 0_usize); BINS];
        for Answer { truth, answer, confidence, .. } in self.answers(temperature) {
            let bin = (confidence * BINS as f64).ceil() as usize;
            let (images, confidences, right) = &mut sums[bin.clamp(1, BINS) - 1];
            *images += 1;
            *confidences += confidence;
            *right += usize::from(answer == truth);
        }
        let bins = sums.map(|(images, confidences, right)| {
            let n = images.max(1) as f64;
            Bin { images, confidence: confidences / n, accuracy: right as f64 / n }
        });
        let gap = |bin: &Bin| bin.images as f64 * (bin.accuracy - bin.confidence).abs();
        let ece = bins.iter().map(gap).sum::<f64>() / self.images() as f64;
        Calibration { temperature, nll: self.nll(temperature), ece, bins: bins.to_vec() }
    }

    /// The temperature whose probabilities have the lowest [`nll`](Self::nll) (Guo et al. 2017, section 4.2), between
    /// 0.01 and 100.
    ///
    /// In b = 1/T the mean negative log-likelihood is convex, with the derivative E_p\[z\] - z_truth, so that bisection
    /// finds its only zero. Nothing but right answers lead to the temperature at which all are certain in f64, nothing
    /// but wrong ones to the end of the range.
    pub fn best_temperature(&self) -> f64 {
        let slope = |b: f64| {
            let of_row = |(row, truth): (&[f64], usize)| {
                let expected: f64 = exact_softmax(row, b).iter().zip(row).map(|(p, z)| p * z).sum();
                expected - row[truth]
            };
            self.rows().map(of_row).sum::<f64>()
        };
        let (mut low, mut high) = ((1.0 / TEMPERATURES.1).ln(), (1.0 / TEMPERATURES.0).ln());
        // The range of 9.2 is halved down to 8e-15.
        for _ in 0..50 {
            let middle = 0.5 * (low + high);
            if slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
        }
        1.0 / (0.5 * (low + high)).exp()
    }
}

/// For each class of `data`, its index among those of the weights in the file `weights`.
///
/// # Errors
/// [`Error::Format`] with a class that the weights do not know.
pub fn match_classes(weights: &Path, ours: &[String], data: &str, theirs: &[String]) -> Result<Vec<usize>> {
    let find = |class: &String| {
        ours.iter().position(|c| c == class).ok_or_else(|| {
            let known = ours.join(", ");
            let reason = format!("knows no class `{class}`, which {data} has; it knows {known}");
            Error::format(weights, reason)
        })
    };
    theirs.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use moue_datasets::Rng;

    /// Scores whose softmax is (p, 1 - p).
    fn odds(p: f64) -> [f64; 2] {
        [(p / (1.0 - p)).ln(), 0.0]
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    /// Confidences 0.9 (right), 0.9 (wrong), 0.6 (right), 0.7 (right): bins 13 (twice), 8 and 10 of 15.
    #[test]
    fn calibration_error_by_hand() {
        let scores = [odds(0.9), odds(0.9), odds(0.4), odds(0.7)].concat();
        let scored = Scored::new(2, scores, vec![0, 1, 1, 0]);
        let calibration = scored.calibration(1.0);
        let filled: Vec<(usize, usize)> = (calibration.bins.iter().enumerate())
            .filter(|(_, bin)| bin.images > 0)
            .map(|(i, bin)| (i, bin.images))
            .collect();
        assert_eq!(filled, [(8, 1), (10, 1), (13, 2)]);
        assert!(close(calibration.bins[13].confidence, 0.9) && close(calibration.bins[13].accuracy, 0.5));
        // (2 * |0.5 - 0.9| + |1 - 0.6| + |1 - 0.7|) / 4
        assert!(close(calibration.ece, 1.5 / 4.0), "{}", calibration.ece);
        let nll = -(0.9f64.ln() + 0.1f64.ln() + 0.6f64.ln() + 0.7f64.ln()) / 4.0;
        assert!(close(calibration.nll, nll), "{} {nll}", calibration.nll);
        let mistakes = scored.mistakes(1.0);
        assert_eq!((mistakes.len(), mistakes[0].image, mistakes[0].truth), (1, 1, 1));
        assert!(close(mistakes[0].confidence, 0.9));
    }

    /// Of answers with p = 0.9 three in four are right: T makes 0.75 of it, ln 9 / ln 3 = 2.
    #[test]
    fn temperature_by_hand() {
        let scored = Scored::new(2, odds(0.9).repeat(4), vec![0, 0, 0, 1]);
        assert!((scored.best_temperature() - 2.0).abs() < 1e-9, "{}", scored.best_temperature());
        let calibration = scored.calibration(scored.best_temperature());
        assert!(calibration.ece < 1e-9 && scored.calibration(1.0).ece > 0.149);
        // Nothing but right answers can never be sure enough, nothing but wrong ones never unsure enough.
        let right = Scored::new(2, odds(0.9).to_vec(), vec![0]);
        assert!(right.nll(right.best_temperature()) < 1e-15 && right.best_temperature() < 0.1);
        let wrong = Scored::new(2, odds(0.9).to_vec(), vec![1]);
        assert!((wrong.best_temperature() - 100.0).abs() < 1e-6);
    }

    #[test]
    fn the_fitted_temperature_is_a_minimum_and_no_label_changes() {
        let mut rng = Rng::new(3);
        let scores: Vec<f64> = (0..500 * 7).map(|_| 4.0 * f64::from(rng.normal())).collect();
        // Two in three have the class of the highest score.
        let truth = scores.chunks(7).map(|row| if rng.below(3) > 0 { argmax(row) } else { rng.below(7) });
        let truth: Vec<usize> = truth.collect();
        let scored = Scored::new(7, scores, truth);
        let best = scored.best_temperature();
        assert!(best > 0.02 && best < 50.0, "{best}");
        for factor in [0.5, 0.9, 0.999, 1.001, 1.1, 2.0] {
            assert!(scored.nll(best) < scored.nll(best * factor), "{factor}");
        }
        let labels = |t| scored.answers(t).iter().map(|a| a.answer).collect::<Vec<_>>();
        let confidences = |t| scored.answers(t).iter().map(|a| a.confidence).collect::<Vec<_>>();
        assert!(labels(best) == labels(1.0) && labels(0.1) == labels(10.0));
        assert!(confidences(0.5).iter().zip(confidences(2.0)).all(|(sharp, flat)| *sharp > flat));
    }
}
