//! Drives the `moue` binary as its users do.

mod ckplus;
mod export;
mod harness;
mod messages;
mod parallel;
mod photos;
mod profile;
mod report;
mod runs;
#[cfg(feature = "serve")]
mod serve;
mod streams;

use harness::*;
use moue::datasets::{Split, classes::FER2013};
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use tempfile::TempDir;

#[test]
fn train_reports_what_the_contract_names() {
    let (folder, report) = trained();
    for key in ["train_accuracy", "test_accuracy", "images_per_second", "seconds"] {
        assert!(report[key].is_f64(), "{key} in {report}");
    }
    assert_eq!(report["model"], "dnn-cbam");
    assert_eq!(report["loss"], "am-softmax");
    assert_eq!(report["epochs"], 2);
    assert_eq!(report["weights"], text(&best()));
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let rows: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    for key in ["epoch", "step", "loss", "train_accuracy", "validation_accuracy", "images_per_second", "lr"] {
        assert!(rows.iter().all(|row| row[key].is_number()), "{key} in {metrics}");
    }
    assert_eq!((&rows[1]["epoch"], &rows[1]["step"]), (&2.into(), &6.into()));
}

#[test]
fn eval_counts_every_image_once() {
    let result = json(&[&["eval", "--weights", text(&best()), "--split", "test"], &FEW[..]].concat());
    assert_eq!(result["images"], 70);
    assert_eq!(result["classes"], serde_json::json!(FER2013));
    let rows: Vec<Vec<u64>> = serde_json::from_value(result["confusion"].clone()).unwrap();
    assert!(rows.len() == 7 && rows.iter().all(|row| row.len() == 7 && row.iter().sum::<u64>() == 10));
    let right: u64 = (0..7).map(|i| rows[i][i]).sum();
    assert_eq!(result["accuracy"], right as f64 / 70.0);
    assert_eq!(result["per_class"][3], rows[3][3] as f64 / 10.0);
    assert!(result["seconds"].is_f64());
    // What training said of the same images and weights.
    assert_eq!(result["accuracy"], trained().1["test_accuracy"]);
    let table = succeed(&["eval", "--weights", text(&best()), "--limit", "70"]);
    assert!(String::from_utf8(table.stdout).unwrap().contains("surprise"));
}

#[test]
fn eval_takes_the_weights_that_ship_unless_told() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pretrained/fer2013.safetensors");
    let confusion = |more: &[&str]| json(&[&["eval"], more, &FEW[..]].concat())["confusion"].clone();
    assert_eq!(confusion(&[]), confusion(&["--weights", shipped]));
    assert_eq!(confusion(&[]), confusion(&["--weights", "pretrained"]));
    assert_ne!(confusion(&[]), confusion(&["--weights", text(&best())]));
}

#[test]
fn predict_goes_on_after_a_broken_image() {
    let folder = TempDir::new().unwrap();
    folder_of_faces(folder.path(), &[Split::Test], &["happy"], 3);
    let images = folder.path().join("test/happy");
    let whole = fs::read(images.join("7.png")).unwrap();
    fs::write(images.join("7.png"), &whole[..whole.len() / 2]).unwrap();
    image::GrayImage::new(100, 60).save(images.join("wide.png")).unwrap();

    let missing = folder.path().join("missing.png");
    let weights = best();
    let whole = ["predict", "--face", "whole", "--json", "--weights"];
    let arguments = [&whole[..], &[text(&weights), text(folder.path()), text(&missing)]].concat();
    let output = succeed(&arguments);
    let results = serde_json::from_slice::<Value>(&output.stdout).unwrap()["results"].clone();
    let results = results.as_array().unwrap();
    assert_eq!(results.len(), 5);
    let stderr = String::from_utf8(output.stderr).unwrap();
    for result in results {
        let path = result["path"].as_str().unwrap();
        if path == text(&missing) || path.ends_with("7.png") && !path.ends_with("wide.png") {
            assert!(result["error"].is_string() && stderr.contains(path), "{result} {stderr}");
            assert_eq!(result["faces"], serde_json::json!([]));
            continue;
        }
        assert!(result["error"].is_null(), "{result}");
        let face = &result["faces"][0];
        let p: Vec<f64> = FER2013.iter().map(|c| face["probabilities"][c].as_f64().unwrap()).collect();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        let label = FER2013.iter().position(|c| face["label"] == *c).unwrap();
        assert!(p.iter().all(|x| *x <= p[label]));
        let place = if path.ends_with("wide.png") { [20, 0, 60, 60] } else { [0, 0, 48, 48] };
        assert_eq!(face["box"], serde_json::json!(place));
    }
    let nothing = failure(&["predict", "--quiet", "--weights", "nowhere", text(&missing)], 1);
    assert!(nothing.contains("nowhere"), "{nothing}");
    let all_bad = run(&["predict", "--weights", text(&best()), text(&missing)]);
    assert_eq!(all_bad.status.code(), Some(1));
    let told = String::from_utf8(all_bad.stderr).unwrap();
    assert!(told.contains(text(&missing)) && told.lines().count() == 1, "{told}");
}

/// Where the tested images chose the epoch, the accuracy is said to be that of a choice.
#[test]
fn training_says_what_chose_the_epoch() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let few = ["train", "--quiet", "--limit", "14", "--epochs", "1", "--out", text(&out)];
    let told = |more: &[&str]| String::from_utf8(succeed(&[&few[..], more].concat()).stdout).unwrap();
    let line = told(&["--folds", "2", "--fold", "0"]);
    assert!(
        line.contains("(epoch 1, chosen by these images; ") && line.contains(" after the last)"),
        "{line}"
    );
    fs::remove_dir_all(&out).unwrap();
    let line = told(&[]);
    assert!(line.contains(": test ") && !line.contains("chosen"), "validation chose: {line}");
}

#[test]
fn augment_draws_a_sheet() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("sheet.png");
    json(&["augment", "--limit", "14", "--draws", "3", "--scale", "1", "--out", text(&out)]);
    assert_eq!(image::open(&out).unwrap().width(), 2 + 4 * 50);
}

#[test]
fn wrong_usage_is_named_with_status_2() {
    for (arguments, named) in [
        (&["train", "--epochs", "0"][..], "--epochs"),
        (&["train", "--lr", "fast"], "--lr"),
        (&["train", "--lr", "-1"], "--lr"),
        (&["train", "--seed", "-1"], "--seed"),
        (&["train", "--checkpoint-every", "-1"], "--checkpoint-every"),
        (&["train", "--identity-blocks", "-1"], "--identity-blocks"),
        (&["crossval", "--copies", "-1"], "--copies"),
        (&["predict", "--smooth", "-0.1", "face.png"], "--smooth"),
        (&["train", "--scale", "nan"], "--scale"),
        (&["train", "--batch", "0"], "--batch"),
        (&["train", "--model", "resnet"], "--model"),
        (&["train", "--model", "dnn", "--cbam", "block1"], "--cbam"),
        (&["train", "--model", "vgg-cbam", "--cbam", "block1"], "--cbam"),
        (&["train", "--cbam", "pools"], "--cbam"),
        (&["train", "--model", "vgg", "--identity-blocks", "1"], "--identity-blocks"),
        (&["train", "--identity-blocks", "9"], "--identity-blocks"),
        (&["train", "--identity-blocks", "1,1,1"], "--identity-blocks"),
        (&["train", "--model", "cnn-svm", "--widths", "32,64,128,256"], "--widths"),
        (&["train", "--widths", "32,64,128"], "--widths"),
        (&["train", "--widths", "32,64,128,513"], "--widths"),
        (&["train", "--model", "dnn", "--attention", "se"], "--attention"),
        (&["train", "--loss", "softmax", "--margin", "0.1"], "--margin"),
        (&["train", "--teacher", "pretrained"], "--teacher"),
        (&["train", "--loss", "softmax", "--teacher-share", "0.5"], "--teacher"),
        (&[&["train", "--loss", "softmax"][..], &["--teacher=pretrained"; 17]].concat()[..], "--teacher"),
        (
            &["train", "--loss", "softmax", "--teacher", "pretrained", "--teacher-share", "0"],
            "--teacher-share",
        ),
        (&["train", "--folds", "5"], "--fold"),
        (&["train", "--by", "subject"], "--folds"),
        (&["train", "--folds", "5", "--fold", "5"], "--fold"),
        (&["train", "--resume", "runs/x", "--lr", "0.1"], "--lr"),
        (&["train", "--threads", "0"], "--threads"),
        (&["train", "--threads", "60000"], "--threads"),
        (&["train", "--limit", "0"], "--limit"),
        (&["train", "--no-such-option"], "--no-such-option"),
        (&["eval", "--weights", "x", "--split", "exam"], "--split"),
        (&["predict", "--weights", "x"], "PATH"),
        (&["augment", "--out", "sheet.jpg"], "--out"),
        (&["predict", "--weights", "x", "--csv", "--json", "p"], "--csv"),
        (&["predict", "--weights", "x", "-", "--files-from", "-"], "stdin"),
        (&["predict", "--weights", "x", "--watch", "d", "p"], "--watch"),
        (&["predict", "--weights", "x", "--frames", "mpeg"], "--frames"),
        (&["predict", "--weights", "x", "--frames", "mjpeg", "--smooth", "1"], "--smooth"),
        (&["predict", "--weights", "x", "p", "--smooth", "0.5"], "--frames"),
        (&["predict", "--weights", "x", "p", "--face", "half"], "--face"),
        (&["predict", "--weights", "x", "p", "--detail", "0"], "--detail"),
        (&["predict", "--weights", "x", "p", "--explain-layer", "out"], "--explain"),
        (&["evil"], "eval"),
    ] {
        let message = failure(arguments, 2);
        assert!(message.contains(named) && !message.contains("Usage"), "{arguments:?}: {message}");
    }
}

#[test]
fn broken_weights_are_named() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let good = fs::read(best()).unwrap();
    for (path, reason) in [
        (folder.path().join("missing"), "No such file"),
        (folder.path().to_owned(), "directory"),
        (file("words", b"These are not weights, just words."), "safetensors"),
        (file("truncated", &good[..good.len() - 1000]), "safetensors"),
        (file("empty", b""), "safetensors"),
    ] {
        let message = failure(&["eval", "--limit", "7", "--weights", text(&path)], 1);
        assert!(message.contains(text(&path)) && message.contains(reason), "{message}");
    }
}

#[test]
fn broken_data_is_named() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    folder_of_faces(&path("hole"), &[Split::Train], &["angry", "disgust"], 2);
    fs::create_dir_all(path("hole/train/fear")).unwrap();
    fs::write(path("columns.csv"), "label,pixels,Usage\n0,1 2 3,Training\n").unwrap();
    fs::write(path("row.csv"), "emotion,pixels,Usage\n0,1 2 3,Training\n").unwrap();
    fs::create_dir(path("nothing")).unwrap();
    folder_of_faces(&path("tests"), &[Split::Test], &["happy", "sad"], 2);
    for (data, named) in [
        ("missing", "no such file"),
        ("hole", "fear"),
        ("columns.csv", "emotion"),
        ("row.csv", "row 2"),
        ("nothing", "one folder of images per class"),
        ("tests", "no training split"),
    ] {
        let data = path(data);
        let out = path("run");
        let message = failure(&["train", "--data", text(&data), "--out", text(&out)], 1);
        assert!(message.contains(text(&data)) && message.contains(named), "{message}");
        assert!(!out.exists(), "nothing is created for data that cannot be read");
    }
}

#[test]
fn classes_are_matched_by_name() {
    let folder = TempDir::new().unwrap();
    let (known, unknown) = (folder.path().join("known"), folder.path().join("unknown"));
    // Synthetic labels 0, 1, 2 under the names of others, spelt differently.
    folder_of_faces(&known, &[Split::Test], &["Happiness", "joyless", "sad"], 2);
    fs::remove_dir_all(known.join("test/joyless")).unwrap();
    folder_of_faces(&unknown, &[Split::Test], &["happy", "sleepy"], 2);
    let weights = best();
    let result = json(&["eval", "--weights", text(&weights), "--data", text(&known)]);
    let counts: Vec<u64> = (0..7)
        .map(|i| result["confusion"][i].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum())
        .collect();
    assert_eq!(counts, [0, 0, 0, 2, 2, 0, 0]);
    assert_eq!((&result["split"], &result["per_class"][0]), (&"test".into(), &Value::Null));
    let message = failure(&["eval", "--weights", text(&weights), "--data", text(&unknown)], 1);
    assert!(message.contains("`sleepy`") && message.contains("unknown"), "{message}");
}

#[test]
fn folds_are_trained_and_tested() {
    let folder = TempDir::new().unwrap();
    let more =
        ["--epochs", "1", "--folds", "5", "--fold", "1", "--model", "dnn", "--loss", "softmax", "--json"];
    let output = train(&folder.path().join("run"), &more);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["model"], &report["test_split"]), (&"dnn".into(), &"test".into()));
}

/// A reader that has gone away ends a command as SIGPIPE would, without a word.
#[test]
fn closed_pipes_are_no_panic() {
    for arguments in [
        &["profile", "infer", "--reps", "1"][..],
        &["profile", "infer", "--reps", "1", "--json"],
        &["gradcheck", "--op", "add"],
        &["train", "--plan"],
    ] {
        let mut child = moue(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
    }
    // Nobody reads what is wrong either.
    let mut child = moue(&["eval", "--weights", "missing"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
