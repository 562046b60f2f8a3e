//! Drives the `moue` binary as its users do.

use moue::datasets::{SIDE, Split, classes::FER2013, synthetic};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Enough images for three steps of the usual batch, the last one smaller.
const FEW: [&str; 2] = ["--limit", "70"];

fn moue(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moue"));
    command.args(arguments).env("MOUE_CACHE", "");
    command
}

fn run(arguments: &[&str]) -> Output {
    let output = moue(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    output
}

fn succeed(arguments: &[&str]) -> Output {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The one JSON object on stdout.
fn json(arguments: &[&str]) -> Value {
    let output = succeed(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line on stderr that says what is wrong; others may say what was done.
fn failure(arguments: &[&str], status: i32) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stderr}");
    let is_error = |line: &&str| line.starts_with("moue: ") && !line.starts_with("moue: warning");
    let errors: Vec<&str> = stderr.lines().filter(is_error).collect();
    assert_eq!(errors.len(), 1, "{arguments:?}: {stderr}");
    errors[0].to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Trains in `out` on few synthetic faces.
fn train(out: &Path, more: &[&str]) -> Output {
    run(&[&["train", "--quiet", "--out", text(out)], &FEW[..], more].concat())
}

/// The folder of a run of two epochs and what it printed, shared by the tests that only read.
fn trained() -> &'static (PathBuf, Value) {
    static RUN: OnceLock<(PathBuf, Value)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-trained");
        fs::remove_dir_all(&folder).ok();
        let output = train(&folder, &["--epochs", "2", "--json"]);
        (folder, serde_json::from_slice(&output.stdout).unwrap())
    })
}

fn best() -> PathBuf {
    trained().0.join("best.safetensors")
}

/// A folder `<split>/<class>/N.png` of `count` synthetic faces a class.
fn folder_of_faces(root: &Path, splits: &[Split], classes: &[&str], count: usize) {
    for &split in splits {
        let faces = synthetic::faces(0, split, count).unwrap();
        for i in 0..faces.len() {
            let Some(class) = classes.get(usize::from(faces.labels[i])) else { continue };
            let folder = root.join(split.name()).join(class);
            fs::create_dir_all(&folder).unwrap();
            let side = SIDE as u32;
            image::GrayImage::from_raw(side, side, faces.face(i).to_vec())
                .unwrap()
                .save(folder.join(format!("{i}.png")))
                .unwrap();
        }
    }
}

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
fn predict_goes_on_after_a_broken_image() {
    let folder = TempDir::new().unwrap();
    folder_of_faces(folder.path(), &[Split::Test], &["happy"], 3);
    let images = folder.path().join("test/happy");
    let whole = fs::read(images.join("7.png")).unwrap();
    fs::write(images.join("7.png"), &whole[..whole.len() / 2]).unwrap();
    image::GrayImage::new(100, 60).save(images.join("wide.png")).unwrap();

    let missing = folder.path().join("missing.png");
    let weights = best();
    let arguments = ["predict", "--json", "--weights", text(&weights), text(folder.path()), text(&missing)];
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
        (&["train", "--scale", "nan"], "--scale"),
        (&["train", "--batch", "0"], "--batch"),
        (&["train", "--model", "resnet"], "--model"),
        (&["train", "--model", "dnn", "--cbam", "block1"], "--cbam"),
        (&["train", "--loss", "softmax", "--margin", "0.1"], "--margin"),
        (&["train", "--folds", "5"], "--fold"),
        (&["train", "--folds", "5", "--fold", "5"], "--fold"),
        (&["train", "--resume", "runs/x", "--lr", "0.1"], "--lr"),
        (&["train", "--threads", "0"], "--threads"),
        (&["train", "--no-such-option"], "--no-such-option"),
        (&["eval"], "--weights"),
        (&["eval", "--weights", "x", "--split", "exam"], "--split"),
        (&["predict", "--weights", "x"], "PATH"),
        (&["augment", "--out", "sheet.jpg"], "--out"),
        (&["predict", "x"], "--weights"),
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
    for (data, named) in [
        ("missing", "no such file"),
        ("hole", "fear"),
        ("columns.csv", "emotion"),
        ("row.csv", "row 2"),
        ("nothing", "one folder of images per class"),
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

/// Three epochs of three steps at once, against a stop in the middle of the second, a resume on another number of
/// threads to the end of that epoch, and another one to the end that raises the number of epochs.
#[test]
fn a_resumed_run_is_the_same_to_the_bit() {
    let folder = TempDir::new().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let seed = ["--seed", "5", "--threads", "2"];
    assert!(train(&whole, &[&["--epochs", "3"], &seed[..]].concat()).status.success());

    let stopped = train(&parts, &[&["--epochs", "2", "--stop-after-steps", "4"], &seed[..]].concat());
    assert_eq!(stopped.status.code(), Some(130));
    let message = String::from_utf8(stopped.stderr).unwrap();
    assert!(message.contains(&format!("--resume {}", text(&parts))), "{message}");
    let output = json(&["train", "--threads", "1", "--quiet", "--resume", text(&parts)]);
    assert_eq!(output["epochs"], 2);
    let output = json(&["train", "--quiet", "--resume", text(&parts), "--epochs", "3"]);
    assert_eq!(output["epochs"], 3);
    for file in ["last.safetensors", "best.safetensors"] {
        assert!(fs::read(whole.join(file)).unwrap() == fs::read(parts.join(file)).unwrap(), "{file} differs");
    }
    let lines = fs::read_to_string(parts.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3);
    let fewer = failure(&["train", "--resume", text(&parts), "--epochs", "2"], 2);
    assert!(fewer.contains("--epochs 2"), "{fewer}");
}

#[test]
fn a_damaged_checkpoint_is_replaced_by_the_previous_one() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    train(&run_folder, &["--epochs", "3", "--stop-after-steps", "4"]);
    let newest = run_folder.join("checkpoint.bin");
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let output = succeed(&["train", "--quiet", "--resume", text(&run_folder), "--epochs", "2"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("checkpoint.bin") && stderr.contains("continuing from step 3"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");

    for name in ["checkpoint.bin", "checkpoint-previous.bin"] {
        fs::write(run_folder.join(name), "broken").unwrap();
    }
    let message = failure(&["train", "--resume", text(&run_folder)], 1);
    assert!(message.contains("checkpoint.bin"), "{message}");
}

#[test]
fn a_run_in_use_or_finished_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    fs::create_dir(&run_folder).unwrap();
    let lock = File::create(run_folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let out = text(&run_folder);
    for arguments in [["train", "--out", out, "--limit", "7"].as_slice(), &["train", "--resume", out]] {
        let message = failure(arguments, 1);
        assert!(message.contains("another process") && message.contains(out), "{message}");
    }
    let finished = text(&trained().0);
    let before = fs::read(best()).unwrap();
    let message = failure(&["train", "--limit", "7", "--out", finished], 1);
    assert!(message.contains(finished) && message.contains("--resume"), "{message}");
    assert!(fs::read(best()).unwrap() == before);
}

#[test]
fn other_data_is_refused_at_resume() {
    let folder = TempDir::new().unwrap();
    let (data, run_folder) = (folder.path().join("data"), folder.path().join("run"));
    folder_of_faces(&data, &[Split::Train], &["happy", "sad"], 4);
    let (data_text, out) = (text(&data), text(&run_folder));
    let stop =
        ["train", "--quiet", "--data", data_text, "--out", out, "--batch", "4", "--stop-after-steps", "1"];
    assert_eq!(run(&stop).status.code(), Some(130));
    fs::remove_file(data.join("train/happy/0.png")).unwrap();
    let message = failure(&["train", "--resume", out], 1);
    assert!(message.contains(out) && message.contains("not the images"), "{message}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    let output = train(&run_folder, &["--lr", "1e30"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for part in ["step 2 (epoch 1, batch 2)", "first not finite: ", "(operation ", "image numbers "] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    let saved = |name: &str| run_folder.join(name).exists();
    assert!(!saved("last.safetensors") && !saved("best.safetensors") && !saved("checkpoint.bin"));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let out = file.join("run");
    let message = failure(&["train", "--limit", "7", "--out", text(&out)], 1);
    assert!(message.contains(text(&out)), "{message}");
}

/// A limit on the size of files stands in for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_keeps_the_old_files() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    assert!(train(&run_folder, &["--epochs", "1"]).status.success());
    let files = ["best.safetensors", "last.safetensors", "checkpoint.bin"];
    let read = || files.map(|name| fs::read(run_folder.join(name)).unwrap());
    let before = read();
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" train --quiet --epochs 2 --resume \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_moue"), text(&run_folder)])
        .env("MOUE_CACHE", "")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() == 1 && stderr.contains("safetensors: File too large"), "{stderr}");
    assert!(before == read());
    let left = fs::read_dir(&run_folder).unwrap().map(|e| e.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    let arguments = ["train", "--limit", "70", "--epochs", "1000", "--out", text(&run_folder)];
    let child = moue(&arguments).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let metrics = run_folder.join("metrics.jsonl");
    for _ in 0..600 {
        if metrics.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("continue with: moue train --resume"), "{stderr}");
    assert!(run_folder.join("checkpoint.bin").exists());
}
