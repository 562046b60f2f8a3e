//! Running the binary and what tests share.

use moue::datasets::{SIDE, Split, synthetic};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Enough images for three steps of the usual batch, the last one smaller.
pub(crate) const FEW: [&str; 2] = ["--limit", "70"];

pub(crate) fn moue(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moue"));
    command.args(arguments).env("MOUE_CACHE", "");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    let output = moue(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    output
}

pub(crate) fn succeed(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The one JSON object on stdout.
pub(crate) fn json(arguments: &[&str]) -> Value {
    let output = succeed(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line on stderr that says what is wrong; others may say what was done.
pub(crate) fn failure(arguments: &[&str], status: i32) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stderr}");
    let shows = |line: &str| line.chars().count() < 2010 && !line.contains(char::is_control);
    assert!(stderr.lines().all(shows), "{arguments:?}: {stderr}");
    let is_error = |line: &&str| line.starts_with("moue: ") && !line.starts_with("moue: warning");
    let errors: Vec<&str> = stderr.lines().filter(is_error).collect();
    assert_eq!(errors.len(), 1, "{arguments:?}: {stderr}");
    errors[0].to_owned()
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Trains in `out` on few synthetic faces.
pub(crate) fn train(out: &Path, more: &[&str]) -> Output {
    run(&[&["train", "--quiet", "--out", text(out)], &FEW[..], more].concat())
}

/// The folder of a run of two epochs and what it printed, shared by the tests that only read.
pub(crate) fn trained() -> &'static (PathBuf, Value) {
    static RUN: OnceLock<(PathBuf, Value)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-trained");
        fs::remove_dir_all(&folder).ok();
        let output = train(&folder, &["--epochs", "2", "--json"]);
        (folder, serde_json::from_slice(&output.stdout).unwrap())
    })
}

pub(crate) fn best() -> PathBuf {
    trained().0.join("best.safetensors")
}

/// A folder `<split>/<class>/N.png` of `count` synthetic faces a class.
pub(crate) fn folder_of_faces(root: &Path, splits: &[Split], classes: &[&str], count: usize) {
    for &split in splits {
        let faces = synthetic::faces(0, split, count).unwrap();
        for i in 0..faces.len() {
            let Some(class) = classes.get(usize::from(faces.labels[i])) else { continue };
            let folder = root.join(split.name()).join(class);
            fs::create_dir_all(&folder).unwrap();
            save_face(faces.face(i), &folder.join(format!("{i}.png")));
        }
    }
}

/// Writes a face as an image file.
pub(crate) fn save_face(face: &[u8], path: &Path) {
    let side = SIDE as u32;
    image::GrayImage::from_raw(side, side, face.to_vec()).unwrap().save(path).unwrap();
}
