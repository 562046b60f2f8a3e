//! Foreign text in messages, and files that would take all memory or time if they were believed.

use crate::harness::*;
use moue::datasets::Split;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The message of a command that fails with nothing else on stderr.
fn only_line(arguments: &[&str], status: i32) -> String {
    let message = failure(arguments, status);
    let stderr = String::from_utf8(run(arguments).stderr).unwrap();
    assert_eq!(stderr, format!("{message}\n"));
    message
}

/// Neither a field nor the name of a folder ends the line.
#[test]
fn data_stays_within_the_line() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("field.csv"), "emotion,pixels,Usage\n\"1\nmoue: 2\",1,Training\n").unwrap();
    fs::write(path("header.csv"), "\"emo\ntion\",pixels,\"\u{1b}[31m\"\n").unwrap();
    fs::write(path("endless.csv"), format!("emotion,pixels,Usage\n1,\"{}", "1".repeat(3 << 20))).unwrap();
    fs::create_dir_all(path("empty/train/ha\nppy\u{2028}")).unwrap();
    folder_of_faces(&path("empty"), &[Split::Train], &["sad"], 1);
    for (data, said) in [
        (
            "field.csv",
            r"row 2 (the header is row 1): emotion: expected a code from 0 to 6, found `1\nmoue: 2`",
        ),
        ("header.csv", r"found [emo\ntion, pixels, \u{1b}[31m]"),
        ("endless.csv", "expected rows of at most 1024 KiB"),
        ("empty", r"ha\nppy\u{2028}: no image of class `ha\nppy`"),
    ] {
        let data = path(data);
        let message = only_line(&["train", "--data", text(&data), "--out", text(&path("run"))], 1);
        assert!(message.contains(text(&data)) && message.contains(said), "{message}");
    }
}

/// An argument is quoted by its start and end, and lines in it are not taken for clap's.
#[test]
fn arguments_stay_within_the_line() {
    let long = "x".repeat(100_000);
    let option = format!("--{long}");
    let split = format!("exam\nUsage: {long}");
    for (arguments, named) in [
        (&["train", option.as_str()][..], "unexpected argument '--xxx"),
        (&["train", "--epochs", &long], "--epochs"),
        (&["eval", "--weights", "w", "--split", &split], r"exam\nUsage: xxx"),
        (&["gradcheck", "--op", &long], "--op xxx"),
        (&["augment", "--out", &long], "--out xxx"),
        (&[&long], "unrecognized subcommand"),
    ] {
        let message = only_line(arguments, 2);
        assert!(message.len() < 1000 && message.contains(named), "{message}");
    }
}

/// The JSON field too; and a pipe with an image's name is left alone, as reading it would wait for ever.
#[cfg(unix)]
#[test]
fn predict_reports_strange_files_in_one_line() {
    let folder = TempDir::new().unwrap();
    folder_of_faces(folder.path(), &[Split::Test], &["happy"], 1);
    fs::write(folder.path().join("bro\nken.png"), "no image").unwrap();
    let pipe = folder.path().join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pattern = folder.path().join("p*.png");
    let output = run(&["predict", "--weights", text(&best()), text(&pattern)]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && stderr.contains("pipe.png: neither a file nor a folder"),
        "{stderr}"
    );
    let output = succeed(&["predict", "--json", "--weights", text(&best()), text(folder.path())]);
    let results = serde_json::from_slice::<Value>(&output.stdout).unwrap()["results"].clone();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 2, "{results:?}");
    let broken = results.iter().find(|r| r["path"].as_str().unwrap().ends_with("bro\nken.png")).unwrap();
    assert!(!broken["error"].as_str().unwrap().contains(char::is_control), "{broken}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.lines().count() == 1 && stderr.contains(r"bro\nken.png"), "{stderr}");
}

/// A configuration or description that asks for the impossible is refused by name and nothing is started.
#[test]
fn absurd_runs_are_not_resumed() {
    let folder = TempDir::new().unwrap();
    let config = fs::read_to_string(trained().0.join("config.json")).unwrap();
    for (old, new, said) in [
        (r#""batch": 32"#, r#""batch": 0"#, "batch 0"),
        (r#""classes": 7"#, r#""classes": 99999999999"#, "classes 99999999999"),
        (r#""classes": 7"#, r#""classes": 8"#, "a model of 8 classes"),
        (r#""epochs": 2"#, r#""epochs": 18446744073709551615"#, "epochs 18446744073709551615"),
    ] {
        let changed = config.replace(old, new);
        assert_ne!(changed, config, "{old}");
        fs::write(folder.path().join("config.json"), changed).unwrap();
        let message = only_line(&["train", "--resume", text(folder.path())], 1);
        assert!(message.contains(text(folder.path())) && message.contains(said), "{message}");
        assert!(!folder.path().join("last.safetensors").exists());
    }
}

/// Lengths of 2^63 and offsets that overflow cost neither memory nor a panic.
#[test]
fn headers_that_lie_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("w.safetensors");
    let weights = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        only_line(&["eval", "--limit", "7", "--weights", text(&file)], 1)
    };
    let header = |json: &str| [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    assert!(weights(&[&(1_u64 << 63).to_le_bytes()[..], b"{}"].concat()).contains("header is cut off"));
    // Eight tensors whose ends add up to 2^64 - 8.
    let length = (1_u64 << 61) - 1;
    let tensor = |i: u64| {
        let (start, end) = (i * length, (i + 1) * length);
        format!(r#""{i}":{{"dtype":"U8","shape":[{length}],"data_offsets":[{start},{end}]}}"#)
    };
    let tensors: Vec<String> = (0..8).map(tensor).collect();
    let message = weights(&header(&format!("{{{}}}", tensors.join(","))));
    assert!(message.contains("bytes of tensors are promised, 0 are there"), "{message}");
    assert!(weights(&header(&"[".repeat(100_000))).contains("safetensors"));
    assert!(Path::new(&file).exists());
}
