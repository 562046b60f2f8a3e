//! Weights for other engines and back, and what shells know of the command line.

use crate::harness::*;
use std::fs;
use tempfile::TempDir;

#[test]
fn exports_tell_what_they_wrote() {
    let folder = TempDir::new().unwrap();
    let weights = best();
    for format in ["onnx", "safetensors"] {
        let out = folder.path().join(format);
        let written = json(&["export", "--weights", text(&weights), "--format", format, "--out", text(&out)]);
        assert_eq!(written["path"], text(&out));
        assert_eq!(written["bytes"], fs::metadata(&out).unwrap().len());
        assert!(written["bytes"].as_u64().unwrap() > 4 * 490_000, "{written}");
    }
}

/// What comes back from PyTorch's layouts says the same of every face.
#[test]
fn an_exported_model_can_be_imported() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (there, back) = (path("there"), path("back"));
    succeed(&["export", "--weights", text(&best()), "--format", "safetensors", "--out", text(&there)]);
    json(&["import", "--weights", text(&there), "--out", text(&back)]);
    let matrix = |weights| json(&[&["eval", "--weights", weights], &FEW[..]].concat())["confusion"].clone();
    assert_eq!(matrix(text(&back)), matrix(text(&best())));

    // Neither reader takes the other's files, and both say what to do.
    let message = failure(&["eval", "--weights", text(&there), "--limit", "7"], 1);
    assert!(message.contains("moue import"), "{message}");
    let message = failure(&["import", "--weights", text(&best()), "--out", text(&path("x"))], 1);
    assert!(message.contains(text(&best())) && message.contains("no description"), "{message}");
    assert!(!path("x").exists());
    let message = failure(&["export", "--weights", text(&best()), "--format", "tflite", "--out", "x"], 2);
    assert!(message.contains("onnx, safetensors"), "{message}");
    let nowhere = path("no/such/folder");
    let message =
        failure(&["export", "--weights", text(&best()), "--format", "onnx", "--out", text(&nowhere)], 1);
    assert!(message.contains(text(&nowhere)), "{message}");
}

/// A file's name need not be Unicode.
#[cfg(unix)]
#[test]
fn paths_are_bytes() {
    use std::os::unix::ffi::OsStrExt;

    let folder = TempDir::new().unwrap();
    let name = |name| folder.path().join(std::ffi::OsStr::from_bytes(name));
    let weights = best();
    let commands = [
        (&["man"][..], name(b"man\xff")),
        (&["augment", "--limit", "7"], name(b"sheet\xff.png")),
        (&["export", "--format", "onnx", "--weights", text(&weights)], name(b"moue\xff.onnx")),
    ];
    for (command, out) in commands {
        let output = moue(command).args(["--json", "--out"]).arg(&out).output().unwrap();
        let written: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(output.status.success() && out.exists(), "{command:?}");
        assert!(written["path"].as_str().unwrap().contains('\u{fffd}'), "{written}");
    }
}

#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = String::from_utf8(succeed(&["completions", shell]).stdout).unwrap();
        for word in ["crossval", "gradcheck", "am-softmax"] {
            assert!(script.contains(word), "{word} for {shell}");
        }
        assert_eq!(json(&["completions", shell])["script"], script);
    }
    assert!(failure(&["completions", "dos"], 2).contains("powershell"));

    let folder = TempDir::new().unwrap();
    let out = folder.path().join("man1");
    let written = json(&["man", "--out", text(&out)]);
    let files: Vec<String> = serde_json::from_value(written["files"].clone()).unwrap();
    for name in ["moue.1", "moue-train.1", "moue-profile-step.1"] {
        assert!(files.iter().any(|file| file == name), "{name} in {files:?}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), files.len());
    let page = fs::read_to_string(out.join("moue-predict.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains("moue predict"), "{page}");
}

#[test]
fn help_shows_examples() {
    let help = String::from_utf8(succeed(&["export", "--help"]).stdout).unwrap();
    assert!(help.contains("Examples:") && help.contains("--format onnx --out moue.onnx"), "{help}");
}
