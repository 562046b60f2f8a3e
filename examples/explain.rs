//! Which layer's Grad-CAM tells most: the figures in docs/predict.md.
//!
//! The hottest fifth of each face is blurred, and in a second experiment all but that fifth. A map that shows what the
//! label rests on makes the label's probability fall far in the first and little in the second; the map of another
//! face is the control (Petsiuk et al. 2018: deletion and insertion).
//!
//! `cargo run --release --example explain -- WEIGHTS DATA [FACES]`

use image::{GrayImage, imageops};
use moue::datasets::{Dataset, Face, OpenOptions, SIDE, Split};
use moue::explain::{Explainer, HeatMap, layers};
use moue::{Classifier, Isa, Weights};
use std::error::Error;
use std::path::Path;

/// The share of a face that is taken for hot.
const HOT: f64 = 0.2;

/// Standard deviation of the blur, in pixels: neither eyes nor mouth are left.
const BLUR: f32 = 5.0;

/// One kind of maps: one for each face.
struct Kind {
    name: String,
    maps: Vec<HeatMap>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, data, ..] = &arguments[..] else {
        return Err("usage: explain WEIGHTS DATA [FACES]".into());
    };
    let count: usize = arguments.get(2).map_or(Ok(300), |text| text.parse())?;
    let dataset = Dataset::open(data, &OpenOptions::default())?;
    let split = dataset.split(Split::Validation).or_else(|_| dataset.split(Split::Test))?;
    let step = split.len().div_ceil(count.max(1)).max(1);
    let faces: Vec<Face> =
        (0..split.len()).step_by(step).map(|i| split.face(i).try_into().expect("a face's pixels")).collect();
    let weights = Weights::load(Path::new(weights))?;
    let kinds = kinds(&weights, &faces)?;
    let mut classifier = Classifier::new(weights, Isa::fastest())?;
    println!("{} faces; probability of the label, mean: blurred where hot, blurred elsewhere", faces.len());
    for Kind { name, maps } in &kinds {
        let others: Vec<HeatMap> = maps.iter().cycle().skip(1).take(maps.len()).cloned().collect();
        let (hot, rest) = blurred(&mut classifier, &faces, maps)?;
        let (other_hot, other_rest) = blurred(&mut classifier, &faces, &others)?;
        println!(
            "{name:>18}  {hot:.3}  {rest:.3}; with the map of another face  {other_hot:.3}  {other_rest:.3}"
        );
    }
    Ok(())
}

/// The maps of every layer, and the attention.
fn kinds(weights: &Weights, faces: &[Face]) -> moue::Result<Vec<Kind>> {
    let mut kinds = Vec::new();
    for name in layers(weights) {
        let mut explainer = Explainer::new(weights, &name, Isa::fastest())?;
        let explained: Vec<_> = faces.iter().map(|face| explainer.explain(face, None)).collect();
        if kinds.is_empty() {
            let maps: Vec<HeatMap> = explained.iter().filter_map(|e| e.attention.clone()).collect();
            if !maps.is_empty() {
                kinds.push(Kind { name: "spatial attention".to_owned(), maps });
            }
        }
        kinds.push(Kind { name, maps: explained.into_iter().map(|e| e.grad_cam).collect() });
    }
    Ok(kinds)
}

/// Mean probability of the labels of whole faces after the hot places were blurred, and after the others were.
fn blurred(classifier: &mut Classifier, faces: &[Face], maps: &[HeatMap]) -> moue::Result<(f64, f64)> {
    let all: Vec<&Face> = faces.iter().collect();
    let labels: Vec<usize> = classifier.probabilities(&all)?.iter().map(|p| best(p)).collect();
    let mut mean = |blur_hot: bool| {
        let cut: Vec<Face> = faces.iter().zip(maps).map(|(face, map)| blur(face, map, blur_hot)).collect();
        let answers = classifier.probabilities(&cut.iter().collect::<Vec<_>>())?;
        let sum: f64 = answers.iter().zip(&labels).map(|(p, &label)| f64::from(p[label])).sum();
        Ok::<f64, moue::Error>(sum / faces.len() as f64)
    };
    Ok((mean(true)?, mean(false)?))
}

fn best(p: &[f32]) -> usize {
    (0..p.len()).max_by(|&a, &b| p[a].total_cmp(&p[b])).unwrap_or(0)
}

/// The face, blurred at the hottest places of the map or at all others.
fn blur(face: &Face, map: &HeatMap, hot: bool) -> Face {
    let map = map.resized(SIDE);
    let mut order: Vec<usize> = (0..face.len()).collect();
    order.sort_by(|&a, &b| map.values[b].total_cmp(&map.values[a]));
    let count = (HOT * face.len() as f64) as usize;
    let image = GrayImage::from_raw(SIDE as u32, SIDE as u32, face.to_vec()).expect("a face's pixels");
    let smooth = imageops::blur(&image, BLUR).into_raw();
    let mut out = *face;
    let places = if hot { &order[..count] } else { &order[count..] };
    places.iter().for_each(|&i| out[i] = smooth[i]);
    out
}
