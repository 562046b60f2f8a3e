//! Cross-validation folds.

use crate::faces::Faces;
use crate::{Error, Result};

/// Fold `fold` (from 0) of `folds` by class and image number: `(train, test)`.
///
/// Images are ranked by class, within a class by number (equal numbers by their position), and rank `r`
/// is tested in fold `r % folds`. The folds are disjoint, cover all faces and differ in size by one at
/// most, and so do the parts of each class in them; ranks by number alone would follow the class where
/// class folders are numbered alike (`happy/1.jpg`, `sad/1.jpg`). Both parts keep the order of `faces`.
/// `classes` are the data set's class names, for error messages.
///
/// # Errors
/// - [`Error::FoldIndex`] unless `folds >= 2` and `fold < folds`;
/// - [`Error::TooFewForFolds`] for fewer faces than folds;
/// - [`Error::EmptyFoldClass`] if a class has no face in the training part.
pub fn fold(faces: &Faces, classes: &[String], folds: usize, fold: usize) -> Result<(Faces, Faces)> {
    check_index(folds, fold)?;
    check_count(faces.len(), "images", folds)?;
    let mut ranked: Vec<usize> = (0..faces.len()).collect();
    ranked.sort_by_key(|&i| (faces.labels[i], faces.numbers[i], i));
    let mut tested = vec![false; faces.len()];
    ranked.iter().skip(fold).step_by(folds).for_each(|&i| tested[i] = true);
    cut(faces, classes, folds, fold, &tested)
}

/// As [`fold()`], but with all images of a person in the same part: the subjects, sorted by number,
/// are dealt to the folds in turn. Sizes differ as subjects have different numbers of images.
///
/// # Errors
/// As [`fold()`], counting subjects instead of images, and [`Error::NoSubjects`] if the faces do not
/// tell their subjects.
pub fn fold_by_subject(
    faces: &Faces,
    classes: &[String],
    folds: usize,
    fold: usize,
) -> Result<(Faces, Faces)> {
    check_index(folds, fold)?;
    let of_face = faces.subjects.as_ref().ok_or(Error::NoSubjects)?;
    let mut subjects = of_face.clone();
    subjects.sort_unstable();
    subjects.dedup();
    check_count(subjects.len(), "subjects", folds)?;
    let tested: Vec<bool> = of_face
        .iter()
        .map(|subject| subjects.binary_search(subject).is_ok_and(|rank| rank % folds == fold))
        .collect();
    cut(faces, classes, folds, fold, &tested)
}

fn check_index(folds: usize, fold: usize) -> Result<()> {
    if folds < 2 || fold >= folds { Err(Error::FoldIndex { fold, folds }) } else { Ok(()) }
}

fn check_count(available: usize, what: &'static str, folds: usize) -> Result<()> {
    if available < folds { Err(Error::TooFewForFolds { available, what, folds }) } else { Ok(()) }
}

fn cut(
    faces: &Faces,
    classes: &[String],
    folds: usize,
    fold: usize,
    tested: &[bool],
) -> Result<(Faces, Faces)> {
    let part = |wanted: bool| {
        let indices: Vec<usize> = (0..faces.len()).filter(|&i| tested[i] == wanted).collect();
        faces.subset(&indices)
    };
    let train = part(false);
    if let Some(label) = train.counts(classes.len()).iter().position(|&count| count == 0) {
        return Err(Error::EmptyFoldClass { fold, folds, class: classes[label].clone() });
    }
    Ok((train, part(true)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PIXELS;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    /// Faces with the given (number, label, subject).
    fn sample(items: &[(u32, u8, u32)]) -> Faces {
        let mut faces = Faces::default();
        for &(number, label, _) in items {
            faces.push(&[number as u8; PIXELS], label, number, String::new());
        }
        faces.subjects = Some(items.iter().map(|item| item.2).collect());
        faces
    }

    #[test]
    fn folds_are_disjoint_covering_and_near_equal() {
        let mut items: Vec<_> = (0..53).map(|i| (i * 17 % 53, (i % 2) as u8, 0)).collect();
        items[7].0 = items[3].0; // Numbers may repeat.
        let faces = sample(&items);
        for folds in [2, 5, 53] {
            let mut tested = Vec::new();
            for i in 0..folds {
                let (train, test) = fold(&faces, &names(2), folds, i).unwrap();
                assert!(test.len() == 53 / folds || test.len() == 53 / folds + 1);
                assert_eq!(train.len() + test.len(), 53);
                tested.extend(test.numbers);
            }
            tested.sort_unstable();
            let mut all = faces.numbers.clone();
            all.sort_unstable();
            assert_eq!(tested, all);
        }
    }

    #[test]
    fn folds_follow_the_number_not_the_position() {
        let faces = sample(&[(40, 0, 0), (10, 0, 0), (30, 0, 0), (20, 0, 0)]);
        let (train, test) = fold(&faces, &names(1), 2, 0).unwrap();
        assert_eq!((train.numbers, test.numbers), (vec![40, 20], vec![10, 30]));
    }

    /// Class folders whose files are numbered from 1 each.
    #[test]
    fn every_fold_has_its_share_of_classes_that_are_numbered_alike() {
        for (classes, folds) in [(2, 2), (5, 5), (6, 4), (7, 5)] {
            let items: Vec<_> =
                (0..classes).flat_map(|label| (1..=13).map(move |number| (number, label, 0))).collect();
            let faces = sample(&items);
            for i in 0..folds {
                let (_, test) = fold(&faces, &names(classes.into()), folds, i).unwrap();
                let counts = test.counts(classes.into());
                assert!(counts.iter().all(|&n| n == 13 / folds || n == 13 / folds + 1), "{counts:?}");
            }
        }
    }

    #[test]
    fn subjects_stay_together() {
        let items: Vec<_> = (0..40).map(|i| (i, (i % 2) as u8, 100 + i / 4)).collect();
        let faces = sample(&items);
        let mut tested = 0;
        for i in 0..3 {
            let (train, test) = fold_by_subject(&faces, &names(2), 3, i).unwrap();
            let held_out = test.subjects.unwrap();
            assert!(train.subjects.unwrap().iter().all(|subject| !held_out.contains(subject)));
            tested += held_out.len();
        }
        assert_eq!(tested, 40);
        let anonymous = Faces { subjects: None, ..faces };
        assert!(matches!(fold_by_subject(&anonymous, &names(2), 3, 0), Err(Error::NoSubjects)));
    }

    #[test]
    fn impossible_folds_are_refused() {
        let faces = sample(&[(0, 0, 1), (1, 0, 1), (2, 1, 1), (3, 0, 1)]);
        let message = |result: Result<(Faces, Faces)>| result.unwrap_err().to_string();
        assert!(message(fold(&faces, &names(2), 3, 3)).starts_with("fold 3 of 3"));
        assert!(message(fold(&faces, &names(2), 1, 0)).contains("at least 2 folds"));
        assert!(message(fold(&faces, &names(2), 5, 0)).contains("4 images into 5 folds"));
        assert!(message(fold_by_subject(&faces, &names(2), 2, 0)).contains("1 subjects"));
        // Class 1 has one image, the last in rank, which fold 1 of 2 tests.
        assert!(message(fold(&faces, &names(2), 2, 1)).contains("`class 1`"));
        assert!(fold(&faces, &names(2), 2, 0).is_ok());
    }
}
