//! Procedurally drawn faces of the seven expressions.
//!
//! They need no download, so that training, tests and demonstrations run anywhere. Each face is a
//! few parametric curves (brows, eyes with lids, nose, mouth, folds) whose geometry follows the
//! facial actions of its expression, drawn for a random identity, pose, lighting and camera:
//!
//! | class | what the face does |
//! | --- | --- |
//! | angry | brows down and together with a furrow, narrowed eyes, pressed lips |
//! | disgust | wrinkled nose, upper lip raised on one side, narrowed eyes, brows lowered |
//! | fear | brows raised and drawn together, wide eyes, mouth stretched sideways |
//! | happy | mouth corners up, often with teeth, raised cheeks and lower lids |
//! | sad | inner brows up, drooping lids, mouth corners down |
//! | surprise | brows high and arched, round eyes, round open mouth |
//! | neutral | none of that |
//!
//! Expressions vary in strength and every parameter is jittered, so that single pixels tell little;
//! a convolutional network separates the classes almost entirely.

mod canvas;
mod expression;
mod look;

use rayon::prelude::*;

use canvas::Canvas;
use expression::Expression;
use look::Look;

use crate::faces::{Face, Faces, SIDE};
use crate::{Dataset, Error, Result, Rng, Split, classes};

/// Keeps these streams apart from those of other uses of the same seed.
const STREAM: u64 = 0x6661_6365;

const CLASSES: usize = classes::FER2013.len();

/// The most faces per class that [`faces`] draws.
pub const MAX_PER_CLASS: usize = 100_000;

/// The data set `synthetic`: `per_class` training faces of each class, and a fifth of that (at least
/// one) each for validation and test.
///
/// # Errors
/// [`Error::Invalid`] for 0 or more than [`MAX_PER_CLASS`] faces per class.
pub fn dataset(seed: u64, per_class: usize) -> Result<Dataset> {
    let held_out = (per_class / 5).max(1);
    let [train, validation, test] =
        [(Split::Train, per_class), (Split::Validation, held_out), (Split::Test, held_out)]
            .map(|(split, per_class)| faces(seed, split, per_class));
    let names = classes::FER2013.map(str::to_owned).to_vec();
    Ok(Dataset::new("synthetic".to_owned(), names, [Some(train?), Some(validation?), Some(test?)]))
}

/// `per_class` faces of each class of [`classes::FER2013`], classes taking turns.
///
/// Face `i` depends on `seed`, `split` and `i` alone: asking for more faces keeps the first ones.
///
/// # Errors
/// [`Error::Invalid`] for 0 or more than [`MAX_PER_CLASS`] faces per class.
pub fn faces(seed: u64, split: Split, per_class: usize) -> Result<Faces> {
    if !(1..=MAX_PER_CLASS).contains(&per_class) {
        return Err(Error::invalid("synthetic faces per class", format!("1 to {MAX_PER_CLASS}"), per_class));
    }
    let mut faces = Faces::default();
    let drawn: Vec<Face> = (0..per_class * CLASSES)
        .into_par_iter()
        .map(|i| face(&mut Rng::stream(&[STREAM, seed, split as u64, i as u64]), i % CLASSES))
        .collect();
    for (i, face) in drawn.iter().enumerate() {
        faces.push(face, (i % CLASSES) as u8, i as u32, format!("synthetic {split} {i}"));
    }
    Ok(faces)
}

/// One face of class `label` (an index into [`classes::FER2013`]; beyond it, neutral).
pub fn face(rng: &mut Rng, label: usize) -> Face {
    let expression = Expression::draw(rng, label);
    let look = Look::draw(rng);
    let mut canvas = Canvas::new();
    look.head(&mut canvas);
    look.eyes(&mut canvas, &expression);
    look.brows(&mut canvas, &expression);
    look.nose(&mut canvas, &expression);
    look.mouth(&mut canvas, &expression);
    look.glasses(&mut canvas);
    occlude(&mut canvas, rng);
    photograph(&mut canvas, rng);
    canvas.to_face()
}

/// Covers a small patch of every seventh face, as hands and hair do.
fn occlude(canvas: &mut Canvas, rng: &mut Rng) {
    let covered = rng.uniform() < 0.15;
    let side = SIDE as f32;
    let (x, y) = (rng.range(0.0, side), rng.range(0.0, side));
    let (width, height) = (rng.range(3.0, 8.0), rng.range(3.0, 8.0));
    let (sin, cos) = rng.range(0.0, std::f32::consts::PI).sin_cos();
    let tone = rng.range(0.05, 0.95);
    if covered {
        let corners = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(u, v)| {
            let (u, v) = (0.5 * u * width, 0.5 * v * height);
            [x + cos * u - sin * v, y + sin * u + cos * v]
        });
        canvas.fill(&corners, tone, 1.0);
    }
}

/// Focus, exposure and sensor noise.
fn photograph(canvas: &mut Canvas, rng: &mut Rng) {
    canvas.blur(rng.range(0.0, 0.8));
    let (contrast, brightness) = (rng.range(0.7, 1.15), rng.range(-0.1, 0.1));
    let noise = rng.range(0.005, 0.035);
    for pixel in &mut canvas.pixels {
        // The sum of four uniforms is near enough to normal, and cheaper by far; 0.577 is its deviation.
        let bits = rng.next_u64();
        let sum: u32 = (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xffff).sum();
        let grain = (sum as f32 / 65_535.0 - 2.0) / 0.577;
        *pixel = 0.5 + (*pixel - 0.5) * contrast + brightness + noise * grain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_balanced_and_splits_differ() {
        let data = dataset(1, 10).unwrap();
        assert_eq!(data.classes, classes::FER2013);
        let (validation, test) = (data.validation.unwrap(), data.test.unwrap());
        for (faces, per_class) in [(&data.train, 10), (&validation, 2), (&test, 2)] {
            assert_eq!(faces.counts(CLASSES), [per_class; CLASSES]);
            faces.check(CLASSES).unwrap();
        }
        let n = test.pixels.len();
        assert_ne!(test.pixels, validation.pixels);
        assert_ne!(test.pixels[..], data.train.pixels[..n]);
    }

    #[test]
    fn faces_depend_on_seed_and_index_alone() {
        let few = faces(3, Split::Train, 2).unwrap();
        let more = faces(3, Split::Train, 4).unwrap();
        assert_eq!(few.pixels[..], more.pixels[..few.pixels.len()]);
        assert_ne!(few, faces(4, Split::Train, 2).unwrap());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(pool.install(|| faces(3, Split::Train, 2)).unwrap(), few);
    }

    #[test]
    fn faces_use_the_range_of_grey() {
        let faces = faces(5, Split::Test, 30).unwrap();
        let (mean, std) = faces.statistics();
        assert!((0.3..0.6).contains(&mean) && (0.12..0.35).contains(&std), "{mean} {std}");
        for i in 0..faces.len() {
            let face = faces.face(i);
            let (low, high) = (face.iter().min().unwrap(), face.iter().max().unwrap());
            assert!(high - low > 60, "face {i} is nearly flat");
        }
    }

    #[test]
    fn expressions_move_the_mean_face_of_their_class() {
        // Class means over many identities differ where expressions act, far beyond the noise.
        let faces = faces(6, Split::Train, 150).unwrap();
        let mean = |label: usize| {
            let mut mean = vec![0.0_f32; crate::PIXELS];
            for i in (label..faces.len()).step_by(CLASSES) {
                mean.iter_mut().zip(faces.face(i)).for_each(|(m, &p)| *m += f32::from(p) / 150.0);
            }
            mean
        };
        let means: Vec<Vec<f32>> = (0..CLASSES).map(mean).collect();
        for a in 0..CLASSES {
            for b in 0..a {
                let most = means[a].iter().zip(&means[b]).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                assert!(most > 12.0, "{} and {}: {most}", classes::FER2013[a], classes::FER2013[b]);
            }
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert!(dataset(0, 0).is_err());
        assert!(faces(0, Split::Train, MAX_PER_CLASS + 1).is_err());
    }
}
