//! Where the face detector's square lies in a data set's faces, and what a network makes of faces that are cut out again
//! by it: where `Framing::default` and the figures in docs/predict.md come from.
//!
//! `cargo run --release --example framing -- DATA [WEIGHTS [IMAGES]]`

use image::{GrayImage, imageops};
use moue::datasets::{Dataset, Face, Faces, OpenOptions, PIXELS, SIDE, Split};
use moue::faces::{Detector, Framing, Square, resample};
use moue::{Classifier, Isa};
use rayon::prelude::*;
use std::error::Error;
use std::path::Path;

/// How many times as large a face is when it is looked for.
const ENLARGED: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let data = arguments.first().ok_or("usage: framing DATA [WEIGHTS [IMAGES]]")?;
    let images: usize = arguments.get(2).map_or(Ok(2000), |text| text.parse())?;
    let dataset = Dataset::open(data, &OpenOptions { cap: Some(images), ..OpenOptions::default() })?;
    let framing = measure(dataset.split(Split::Train)?);
    look(dataset.split(Split::Train)?);
    if let Some(weights) = arguments.get(1) {
        let mut classifier = Classifier::load(Path::new(weights), Isa::fastest())?;
        let split = dataset.split(Split::Validation).or_else(|_| dataset.split(Split::Test))?;
        compare(&mut classifier, split, &dataset.classes, framing)?;
    }
    Ok(())
}

/// The face, enlarged, and what was found in it.
fn find(face: &[u8]) -> (GrayImage, Option<Square>) {
    let image = GrayImage::from_raw(SIDE as u32, SIDE as u32, face.to_vec()).expect("a face's pixels");
    let side = ENLARGED * SIDE as u32;
    let image = imageops::resize(&image, side, side, imageops::FilterType::CatmullRom);
    let found = Detector::default().find(&image).first().map(|found| found.place);
    (image, found)
}

/// Prints quartiles of side and offsets; returns their medians.
fn measure(faces: &Faces) -> Framing {
    let whole = Square { x: 0.0, y: 0.0, side: (ENLARGED as usize * SIDE) as f32 };
    let centre = |square: Square| (square.x + square.side / 2.0, square.y + square.side / 2.0);
    let measured: Vec<[f32; 3]> = (0..faces.len())
        .into_par_iter()
        .filter_map(|i| {
            let place = find(faces.face(i)).1?;
            let (image, found) = (centre(whole), centre(place));
            Some([whole.side, image.0 - found.0, image.1 - found.1].map(|length| length / place.side))
        })
        .collect();
    println!("found {} of {} training faces", measured.len(), faces.len());
    let medians = ["side", "right", "down"].iter().enumerate().map(|(k, name)| {
        let mut values: Vec<f32> = measured.iter().map(|m| m[k]).collect();
        values.sort_by(f32::total_cmp);
        let quartile = |q: usize| values.get(q * values.len() / 4).copied().unwrap_or(f32::NAN);
        println!("{name:>5}: quartiles {:.3} {:.3} {:.3}", quartile(1), quartile(2), quartile(3));
        quartile(2)
    });
    let medians: Vec<f32> = medians.collect();
    Framing { side: medians[0], right: medians[1], down: medians[2] }
}

/// Prints how much detail the faces have, and how much the face of a photo has after some ways of reducing it.
fn look(faces: &Faces) {
    let mut values: Vec<f32> = (0..faces.len()).map(|i| detail(faces.face(i))).collect();
    values.sort_by(f32::total_cmp);
    let quartile = |q: usize| values.get(q * values.len() / 4).copied().unwrap_or(f32::NAN);
    println!("detail of training faces: quartiles {:.3} {:.3} {:.3}", quartile(1), quartile(2), quartile(3));
    let photo = moue::datasets::decode::decode_grey(include_bytes!("../tests/fixtures/astronaut.jpg"));
    let photo = photo.expect("a whole picture");
    let Some(found) = Detector::default().find(&photo).first().copied() else { return };
    let around = Framing::default().around(found.place);
    let [x, y, w, h] = around.within(photo.width(), photo.height());
    let cut = imageops::crop_imm(&photo, x, y, w, h).to_image();
    println!("detail of the astronaut: {:.3} as photos are cut", detail(&resample(&photo, around)));
    for filter in
        [imageops::FilterType::Nearest, imageops::FilterType::CatmullRom, imageops::FilterType::Lanczos3]
    {
        let reduced = imageops::resize(&cut, SIDE as u32, SIDE as u32, filter);
        println!("detail of the astronaut: {:.3} {filter:?}", detail(reduced.as_raw()));
    }
}

/// How much pixels differ from the mean of their four neighbours, in standard deviations of the face.
fn detail(face: &[u8]) -> f32 {
    let at = |x: usize, y: usize| f32::from(face[y * SIDE + x]);
    let mean = face.iter().map(|x| f32::from(*x)).sum::<f32>() / face.len() as f32;
    let variance = face.iter().map(|x| (f32::from(*x) - mean).powi(2)).sum::<f32>() / face.len() as f32;
    let inside = (1..SIDE - 1).flat_map(|y| (1..SIDE - 1).map(move |x| (x, y)));
    let difference = inside.map(|(x, y)| {
        let around = at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1);
        (at(x, y) - around / 4.0).abs()
    });
    difference.sum::<f32>() / ((SIDE - 2) * (SIDE - 2)) as f32 / variance.sqrt().max(1.0)
}

/// Prints how many faces are recognised as they are, and cut out by the detector's square in several framings.
fn compare(
    classifier: &mut Classifier,
    faces: &Faces,
    classes: &[String],
    framing: Framing,
) -> Result<(), Box<dyn Error>> {
    let found: Vec<(usize, GrayImage, Square)> = (0..faces.len())
        .into_par_iter()
        .filter_map(|i| {
            let (image, place) = find(faces.face(i));
            Some((i, image, place?))
        })
        .collect();
    println!("found {} of {} test faces; accuracy on those:", found.len(), faces.len());
    let mut recognised = |name: &str, cut: &(dyn Fn(&GrayImage, Square) -> Face + Sync)| {
        let cut: Vec<Face> = found.par_iter().map(|(_, image, place)| cut(image, *place)).collect();
        let cut: Vec<&[u8; PIXELS]> = cut.iter().collect();
        let answers = classifier.probabilities(&cut)?;
        let right = found.iter().zip(&answers).filter(|((i, ..), p)| {
            let best = (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0);
            classifier.classes()[best] == classes[usize::from(faces.labels[*i])]
        });
        println!("{:>6.2} %  {name}", 100.0 * right.count() as f64 / found.len().max(1) as f64);
        Ok::<_, moue::Error>(())
    };
    let side = (ENLARGED as usize * SIDE) as f32;
    recognised("as they are", &|image, _| resample(image, Square { x: 0.0, y: 0.0, side }))?;
    recognised("in the median framing", &|image, place| framing.cut(image, place))?;
    recognised("in Framing::default()", &|image, place| Framing::default().cut(image, place))?;
    for side in [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5] {
        let around = Framing { side, right: 0.0, down: 0.0 };
        recognised(&format!("{side} sides of the square"), &|image, place| around.cut(image, place))?;
        let below = Framing { side, ..framing };
        recognised(&format!("{side} sides, at the median place"), &|image, place| below.cut(image, place))?;
    }
    Ok(())
}
