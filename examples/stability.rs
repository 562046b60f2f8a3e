//! How often a label flips when a face is framed, lit or contrasted a little differently: the figures in docs/predict.md.
//!
//! `cargo run --release --example stability -- WEIGHTS DATA [FACES]`

use image::{GrayImage, imageops};
use moue::datasets::{Dataset, Face, Faces, OpenOptions, PIXELS, SIDE, Split};
use moue::faces::{Finder, Square, resample};
use moue::{Classifier, Isa, Views};
use rayon::prelude::*;
use std::error::Error;
use std::path::Path;

/// A face in the picture that it is cut from.
pub(crate) struct Framed {
    pub(crate) picture: GrayImage,
    pub(crate) around: Square,
}

/// A change after which a face should be told the same.
pub(crate) struct Change {
    pub(crate) name: String,
    apply: Box<dyn Fn(&Framed) -> Face + Sync>,
}

/// The share of faces whose label each change flips.
pub(crate) type Flips = Vec<(String, f64)>;

/// All that is measured: the frame moved and scaled by a tenth of its side, gamma and contrast.
pub(crate) fn changes() -> Vec<Change> {
    let framed = |name: &str, x: f32, y: f32, scale: f32| Change {
        name: name.to_owned(),
        apply: Box::new(move |face| {
            let Square { x: left, y: top, side } = face.around;
            let grown = side * (scale - 1.0) / 2.0;
            let moved = Square { x: left + x * side - grown, y: top + y * side - grown, side: side * scale };
            resample(&face.picture, moved)
        }),
    };
    let toned = |name: String, tone: fn(f32, f32, f32) -> f32, strength: f32| Change {
        name,
        apply: Box::new(move |face| {
            let cut = resample(&face.picture, face.around);
            let mean = cut.iter().map(|x| f32::from(*x)).sum::<f32>() / PIXELS as f32;
            cut.map(|x| tone(f32::from(x), mean, strength).round().clamp(0.0, 255.0) as u8)
        }),
    };
    let gamma = |strength| {
        let tone = |x: f32, _: f32, strength: f32| 255.0 * (x / 255.0).powf(strength);
        toned(format!("gamma {strength}"), tone, strength)
    };
    let contrast = |strength| {
        let tone = |x: f32, mean: f32, strength: f32| mean + strength * (x - mean);
        toned(format!("contrast {strength}"), tone, strength)
    };
    vec![
        framed("10 % left", -0.1, 0.0, 1.0),
        framed("10 % right", 0.1, 0.0, 1.0),
        framed("10 % up", 0.0, -0.1, 1.0),
        framed("10 % down", 0.0, 0.1, 1.0),
        framed("10 % larger", 0.0, 0.0, 0.9),
        framed("10 % smaller", 0.0, 0.0, 1.1),
        gamma(0.7),
        gamma(1.4),
        contrast(0.7),
        contrast(1.3),
    ]
}

/// How often each change flips the label.
pub(crate) fn measure(classifier: &mut Classifier, faces: &[Framed]) -> moue::Result<Flips> {
    let mut labels = |cut: &(dyn Fn(&Framed) -> Face + Sync)| {
        let cut: Vec<Face> = faces.par_iter().map(cut).collect();
        let cut: Vec<&Face> = cut.iter().collect();
        let answers = classifier.probabilities(&cut)?;
        let best = |p: &Vec<f32>| (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b]));
        Ok::<Vec<_>, moue::Error>(answers.iter().map(best).collect())
    };
    let before = labels(&|face| resample(&face.picture, face.around))?;
    let flips = changes().into_iter().map(|Change { name, apply }| {
        let after = labels(&*apply)?;
        let flipped = before.iter().zip(after).filter(|(a, b)| **a != *b).count();
        Ok((name, flipped as f64 / faces.len() as f64))
    });
    flips.collect()
}

/// The faces of a data set: what lies outside of them shows their nearest pixel.
pub(crate) fn whole(faces: &Faces, count: usize) -> Vec<Framed> {
    let face = |i: usize| {
        let picture = GrayImage::from_raw(SIDE as u32, SIDE as u32, faces.face(i).to_vec());
        let around = Square { x: 0.0, y: 0.0, side: SIDE as f32 };
        Framed { picture: picture.expect("a face's pixels"), around }
    };
    (0..faces.len()).step_by(faces.len().div_ceil(count.max(1)).max(1)).map(face).collect()
}

/// The faces that are found in a photo, with its surroundings.
pub(crate) fn found(photo: GrayImage) -> Vec<Framed> {
    let cuts = Finder::default().faces(&photo);
    cuts.iter().map(|cut| Framed { picture: photo.clone(), around: cut.around }).collect()
}

/// The photo of an astronaut and its mirror image.
pub(crate) fn astronaut() -> Vec<Framed> {
    let bytes = include_bytes!("../tests/fixtures/astronaut.jpg");
    let photo = moue::datasets::decode::decode_grey(bytes).expect("a whole picture");
    let mirrored = imageops::flip_horizontal(&photo);
    [photo, mirrored].into_iter().flat_map(found).collect()
}

#[allow(dead_code)] // A test uses the functions above.
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, data, ..] = &arguments[..] else {
        return Err("usage: stability WEIGHTS DATA [FACES]".into());
    };
    let count: usize = arguments.get(2).map_or(Ok(1000), |text| text.parse())?;
    let dataset = Dataset::open(data, &OpenOptions::default())?;
    let split = dataset.split(Split::Validation).or_else(|_| dataset.split(Split::Test))?;
    let faces = whole(split, count);
    for views in [Views::One, Views::Flip, Views::TenCrop] {
        let mut classifier = Classifier::load(Path::new(weights), Isa::fastest())?.with_views(views);
        for (name, faces) in [("data set", &faces), ("astronaut and mirror image", &astronaut())] {
            let flips = measure(&mut classifier, faces)?;
            println!("{views:?}, {} faces ({name}): labels flipped", faces.len());
            for (change, share) in &flips {
                println!("  {change:<14} {:>5.1} %", 100.0 * share);
            }
            let mean = flips.iter().map(|(_, share)| share).sum::<f64>() / flips.len() as f64;
            println!("  {:<14} {:>5.1} %", "mean", 100.0 * mean);
        }
    }
    Ok(())
}
