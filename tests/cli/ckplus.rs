//! CK+, as its archives unpack, through its protocols.

use crate::harness::*;
use moue::datasets::{Split, synthetic};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Synthetic faces in the place of the last frames of labelled sequences: `persons` who make each of six expressions.
fn tree(root: &Path, persons: usize) {
    // Classes of FER2013, which the faces are drawn by, and the codes of CK+.
    let codes = [(0, 1), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)];
    let faces = synthetic::faces(0, Split::Train, persons).unwrap();
    for person in 0..persons {
        for (sequence, (class, code)) in codes.into_iter().enumerate() {
            let place = format!("S{:03}/{:03}", 10 + person, 1 + sequence);
            let stem = place.replace('/', "_");
            let frames = root.join("cohn-kanade-images").join(&place);
            let emotion = root.join("Emotion").join(&place);
            fs::create_dir_all(&frames).unwrap();
            fs::create_dir_all(&emotion).unwrap();
            save_face(faces.face(7 * person + class), &frames.join(format!("{stem}_00000011.png")));
            fs::write(emotion.join(format!("{stem}_00000011_emotion.txt")), format!("   {code}.0e+00\n"))
                .unwrap();
        }
    }
}

#[test]
fn folds_by_image_warn_of_persons_and_folds_by_person_do_not() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("ck+");
    tree(&root, 6);
    let command = |by: &str, parts: &str| {
        let out = folder.path().join(by);
        let few = ["crossval", "--data", text(&root), "--epochs", "1", "--json", "--quiet", "--by", by];
        let output = succeed(&[&few[..], &["--out", text(&out)]].concat());
        let log = fs::read_to_string(out.join("fold4/log.txt")).unwrap();
        assert!(log.contains(parts), "{log}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((result["folds"].as_array().unwrap().len(), &result["by"]), (5, &by.into()));
        String::from_utf8(output.stderr).unwrap()
    };
    let told = command("image", "29 images of");
    assert!(told.contains("warning: the folds are cut by image: a person may be in both parts"), "{told}");
    assert_eq!(command("subject", "30 images of"), "");
}

/// All four experiments, each with its five folds, beside what the paper says.
#[test]
fn the_papers_experiments_on_ckplus() {
    let folder = TempDir::new().unwrap();
    let (root, out) = (folder.path().join("ck+"), folder.path().join("runs"));
    tree(&root, 6);
    let names = ["ckplus-dnn-cbam", "ckplus-paper-folds", "ckplus-same-copies", "ckplus-by-person"];
    let few = ["reproduce", "--ckplus", text(&root), "--quiet", "--out", text(&out)];
    let listed = json(&[&few[..], &["--list"]].concat());
    let row = |result: &Value, name: &str| {
        result["experiments"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
    };
    // The paper's 300 epochs, in five folds.
    assert!(names.iter().all(|name| row(&listed, name)["of"] == 1500), "{listed}");

    let output = succeed(&[&few[..], &["--epochs", "1", "--json"]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    let warnings = |name: &str| told.matches(&format!("warning: {name}: the folds are")).count();
    assert_eq!(names.map(warnings), [1, 2, 1, 0], "{told}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in names {
        let row = row(&result, name);
        assert!(row["state"] == "finished" && row["accuracy"].is_f64() && row["std"].is_f64(), "{row}");
    }
    assert_eq!(row(&result, "fer-dnn")["state"], "missing data");
    let page = fs::read_to_string(out.join("reproduce.md")).unwrap();
    let table = page.split("## Table 5").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(table.contains("But for the last row the folds are cut by image"), "{table}");
    assert_eq!(table.matches(" 36 images of 5 of 5 folds").count(), 2, "{table}");
    assert_eq!(table.matches(" 216 images of 5 of 5 folds").count(), 2, "{table}");
    // What goes on names the data set that is yet to be given.
    assert!(page.contains("moue reproduce --data FER2013 --ckplus"), "{page}");
}
