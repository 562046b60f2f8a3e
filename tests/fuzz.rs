//! The inputs that fuzzing has kept, and damaged copies of them, through the functions that it calls.
//! `tests/reliability/fuzz.sh` is the fuzzing itself.

use moue::Rng;
use moue::datasets::fuzzing::{cache, csv, image, tree};
use moue::fuzzing::{checkpoint, cli, weights};
use std::fs;
use std::path::{Path, PathBuf};

/// Damaged copies of an input.
const COPIES: u64 = 8;

/// Runs `target` on its inputs: minimised ones that reach all that fuzzing has reached, and former faults.
fn run(name: &str, target: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let (corpus, findings) =
        (inputs(&root.join("corpus").join(name)), inputs(&root.join("findings").join(name)));
    assert!(corpus.len() >= 10, "{name} has only {} inputs", corpus.len());
    for path in corpus.into_iter().chain(findings) {
        // Shown if the test fails: the input to look at.
        println!("{}", path.display());
        let bytes = fs::read(&path).unwrap();
        target(&bytes);
        for seed in 0..COPIES {
            target(&damaged(&bytes, seed));
        }
    }
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A copy that lacks its end or has other bytes in some places. The first byte stays: it chooses the form of the input.
fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut copy = bytes.to_vec();
    if seed.is_multiple_of(2) {
        copy.truncate(1 + rng.below(bytes.len().max(1)));
    }
    for _ in 0..seed {
        if copy.len() > 1 {
            let at = 1 + rng.below(copy.len() - 1);
            copy[at] = rng.below(256) as u8;
        }
    }
    copy
}

#[test]
fn csv_files() {
    run("csv", csv);
}

#[test]
fn images() {
    run("image", image);
}

#[test]
fn folders() {
    run("tree", tree);
}

#[test]
fn packed_copies() {
    run("cache", cache);
}

#[test]
fn weights_files() {
    run("weights", weights);
}

#[test]
fn checkpoints() {
    run("checkpoint", checkpoint);
}

#[test]
fn command_lines() {
    run("cli", cli);
}
