//! Tells the expression of faces with trained weights.
//!
//! ```text
//! cargo run --release --example predict -- runs/fer/best.safetensors me.jpg
//! ```

use moue::datasets::read_face;
use moue::{Classifier, Isa};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, images @ ..] = &arguments[..] else {
        eprintln!("usage: predict WEIGHTS IMAGE...");
        return ExitCode::from(2);
    };
    match predict(weights, images) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn predict(weights: &str, images: &[String]) -> moue::Result<()> {
    let mut classifier = Classifier::load(Path::new(weights), Isa::fastest())?;
    // The middle of each image, as 48 x 48 grey values.
    let faces =
        images.iter().map(|path| Ok(read_face(Path::new(path))?)).collect::<moue::Result<Vec<_>>>()?;
    let probabilities = classifier.probabilities(&faces.iter().collect::<Vec<_>>())?;
    for (path, row) in images.iter().zip(&probabilities) {
        let mut ranked: Vec<_> = classifier.classes().iter().zip(row).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(a.1));
        println!("{path}: {}", ranked[0].0);
        for (class, p) in ranked {
            println!("  {class:9} {:5.1} %", 100.0 * p);
        }
    }
    Ok(())
}
