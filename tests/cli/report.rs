//! Reports of runs, the paper's experiments, calibration, and folds over copies.

use crate::harness::*;
use moue::datasets::Split;
use moue::datasets::classes::FER2013;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Copies what a run's report reads.
fn copied_run(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in ["config.json", "metrics.jsonl", "best.safetensors"] {
        fs::copy(trained().0.join(file), to.join(file)).unwrap();
    }
}

#[test]
fn a_report_measures_the_run_again() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    copied_run(&run_folder);
    let result = json(&["report", text(&run_folder)]);
    let page = run_folder.join("report/report.html");
    assert_eq!(result["path"], text(&page));
    // What training said of the same images and weights.
    assert_eq!(result["accuracy"], trained().1["test_accuracy"]);
    assert_eq!((&result["images"], &result["split"]), (&70.into(), &"test".into()));
    let number = |key: &str| result[key].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&number("ece")) && number("temperature") > 0.0);
    assert!(result["missing"].is_null());

    let html = fs::read_to_string(&page).unwrap();
    for part in
        ["Confusion", "Reliability diagrams", "taken for", "Augmentation", "dnn-cbam", "synthetic, drawn"]
    {
        assert!(html.contains(part), "{part}");
    }
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http://") && !outside.contains("https://") && !outside.contains("<script"));
    let markdown = fs::read_to_string(page.with_extension("md")).unwrap();
    for name in ["loss.svg", "accuracy.svg", "confusion.svg", "recall.svg", "reliability.svg", "mistakes.png"]
    {
        let file = format!("report-{name}");
        assert!(fs::metadata(page.with_file_name(&file)).unwrap().len() > 500, "{file}");
        assert!(markdown.contains(&format!("(<{file}>)")), "{file}");
    }
    // Another page, of another split; the run's own folder is left as it is.
    let other = folder.path().join("docs/train.html");
    let result = json(&["report", text(&run_folder), "--split", "train", "--out", text(&other)]);
    assert_eq!((&result["split"], &result["path"]), (&"train".into(), &text(&other).into()));
    assert!(fs::read_to_string(&other).unwrap().contains("images that were trained on"));
    // Other data are not taken for the run's own.
    let faces = folder.path().join("faces");
    folder_of_faces(&faces, &[Split::Train, Split::Test], &FER2013, 1);
    let arguments = ["report", text(&run_folder), "--json", "--data", text(&faces), "--out", text(&other)];
    let output = succeed(&arguments);
    assert!(String::from_utf8(output.stderr).unwrap().contains("not on the run's own synthetic"));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["data"], text(&faces));
    let page = fs::read_to_string(&other).unwrap();
    assert!(page.contains(&format!("7 images of test of {}", text(&faces))));
    assert!(page.contains("other data, or changed ones") && page.contains("trained on synthetic faces"));
    assert!(!page.contains("chosen by its accuracy on these same") && !page.contains("synthetic, drawn"));
}

#[test]
fn a_report_without_its_data_has_the_curves() {
    let folder = TempDir::new().unwrap();
    let run_folder = folder.path().join("run");
    copied_run(&run_folder);
    let config = fs::read_to_string(run_folder.join("config.json")).unwrap();
    let changed = config.replace("\"synthetic\"", "\"gone/faces<b>.csv\"");
    assert_ne!(changed, config);
    fs::write(run_folder.join("config.json"), changed).unwrap();
    let output = succeed(&["report", text(&run_folder), "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("curves only") && stderr.contains("gone/faces<b>.csv"), "{stderr}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["accuracy"].is_null() && result["missing"].as_str().unwrap().contains("gone/faces"));
    let html = fs::read_to_string(run_folder.join("report/report.html")).unwrap();
    assert!(html.contains("need its weights and its data: gone/faces&lt;b&gt;.csv") && html.contains("<svg"));
    assert!(!html.contains("Confusion matrix"));

    // What is asked for by name is no reason to shrug.
    let message = failure(&["report", text(&run_folder), "--data", "elsewhere"], 1);
    assert!(message.contains("elsewhere"), "{message}");
    let message = failure(&["report", text(folder.path())], 1);
    assert!(message.contains("not the folder of a run"), "{message}");
    let message = failure(&["report", "runs/x", "--out", "page.txt"], 2);
    assert!(message.contains("--out page.txt"), "{message}");
    fs::write(run_folder.join("metrics.jsonl"), "{\n").unwrap();
    let message = failure(&["report", text(&run_folder)], 1);
    assert!(message.contains("metrics.jsonl: line 1"), "{message}");
}

#[test]
fn a_temperature_is_stored_and_changes_no_answer() {
    let folder = TempDir::new().unwrap();
    let (old, new) = (best(), folder.path().join("calibrated.safetensors"));
    let few = ["--limit", "70", "--split", "validation"];
    let result = json(&[&["calibrate", "--weights", text(&old), "--out", text(&new)], &few[..]].concat());
    assert_eq!((&result["images"], &result["path"]), (&70.into(), &text(&new).into()));
    let number = |key: &str| result[key].as_f64().unwrap();
    assert!(number("nll") < number("nll_before") && number("temperature") != 1.0, "{result}");

    let confusion = |weights: &Path| {
        json(&[&["eval", "--weights", text(weights)], &few[..]].concat())["confusion"].clone()
    };
    assert_eq!(confusion(&old), confusion(&new));
    folder_of_faces(folder.path(), &[moue::datasets::Split::Test], &["happy"], 1);
    let face = folder.path().join("test/happy");
    let predicted = |weights: &Path| {
        json(&["predict", "--weights", text(weights), text(&face)])["results"][0]["faces"][0].clone()
    };
    let (before, after) = (predicted(&old), predicted(&new));
    assert_eq!(before["label"], after["label"]);
    let p = |face: &Value| face["probabilities"][face["label"].as_str().unwrap()].as_f64().unwrap();
    assert!((p(&after) - p(&before)) * (1.0 - number("temperature")) > 0.0, "{before} {after}");
    // Starting from weights that have one already, the same is found.
    let again = json(&[&["calibrate", "--weights", text(&new), "--out", text(&new)], &few[..]].concat());
    assert_eq!(again["temperature"], result["temperature"]);
    assert_eq!(again["nll_before"], result["nll"]);
}

const ONLY: [&str; 2] = ["--only", "fer-dnn-cbam,ckplus-dnn-cbam"];

/// `moue reproduce` on few synthetic faces.
fn reproduce<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let few =
        ["reproduce", "--data", "synthetic", "--limit", "35", "--epochs", "1", "--quiet", "--out", text(out)];
    [&few[..], &ONLY[..], more].concat()
}

fn experiments(result: &Value) -> Vec<(String, String, Value)> {
    let rows = result["experiments"].as_array().unwrap().iter();
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.map(|row| (word(row, "name"), word(row, "state"), row["accuracy"].clone())).collect()
}

/// Stopped in the first run, it goes on to the same result as one that was left alone, and lists and reports what there
/// is without training.
#[test]
fn the_papers_experiments_go_on_where_they_were() {
    let folder = TempDir::new().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));

    let stopped = failure(&reproduce(&parts, &["--stop-after-steps", "1"]), 130);
    assert!(stopped.contains("same command goes on") && stopped.contains("reproduce.html"), "{stopped}");
    let page = parts.join("reproduce.html");
    assert!(fs::read_to_string(&page).unwrap().contains("SYNTHETIC FACES stand in for FER2013"));
    // The end of the time asked for is no failure.
    let over = experiments(&json(&reproduce(&parts, &["--hours", "1e-9"])));
    assert_eq!((over[0].0.as_str(), over[0].1.as_str()), ("fer-dnn-cbam", "not run"));

    let parts_result = json(&reproduce(&parts, &[]));
    let whole_result = json(&reproduce(&whole, &[]));
    assert_eq!(experiments(&parts_result), experiments(&whole_result));
    for (name, state, accuracy) in experiments(&whole_result) {
        let run = ["fer-dnn-cbam", "ckplus-dnn-cbam"].contains(&name.as_str());
        assert_eq!((state == "finished", accuracy.is_f64()), (run, run), "{name}");
    }
    assert_eq!(parts_result["path"], text(&page));
    let last = "fer-dnn-cbam/last.safetensors";
    assert!(fs::read(whole.join(last)).unwrap() == fs::read(parts.join(last)).unwrap());

    let html = fs::read_to_string(&page).unwrap();
    for part in [
        "not run",
        "not stated here",
        "71.5 %",
        "after epoch 1, seed 0",
        // The curves are of what was watched, not of what is tested in the end, and losses of neither.
        "fer-dnn-cbam (to epoch 1, seed 0, images of validation)",
        "from fer-dnn-cbam (to epoch 1, seed 0).",
        "ckplus-dnn-cbam/fold*/last.safetensors",
    ] {
        assert!(html.contains(part), "{part}");
    }
    // One more seed of the model on FER2013; the folds have no more runs.
    let seeds = json(&reproduce(&whole, &["--seeds", "2"]));
    assert!(whole.join("fer-dnn-cbam-seed1/last.safetensors").exists());
    let row = seeds["experiments"].as_array().unwrap().iter().find(|e| e["name"] == "fer-dnn-cbam").unwrap();
    assert!(row["std"].is_f64() && row["of"] == 2 && row["state"] == "finished", "{row}");
    assert!(
        fs::read_to_string(whole.join("reproduce.html")).unwrap().contains("best of 1 epochs, seeds 0, 1,")
    );
    // Reported again from what is there, the page is the same; without the data it says what it lacks.
    fs::remove_file(&page).unwrap();
    json(&reproduce(&parts, &["--report-only"]));
    assert_eq!(fs::read_to_string(&page).unwrap(), html);
    let without = json(&["reproduce", "--report-only", "--epochs", "1", "--out", text(&parts)]);
    let state = |name: &str, result: &Value| experiments(result).into_iter().find(|e| e.0 == name).unwrap().1;
    assert_eq!(
        (state("fer-dnn-cbam", &without), state("fer-vgg", &without)),
        ("finished".into(), "missing data".into())
    );
    assert!(fs::read_to_string(&page).unwrap().contains("needs its data"));

    // Weights that cannot be read cost their own row, and not the report.
    fs::write(parts.join("fer-dnn-cbam/best.safetensors"), "damaged").unwrap();
    let output = succeed(&reproduce(&parts, &["--report-only", "--json"]));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("fer-dnn-cbam, seed 0: could not be measured"), "{told}");
    let damaged = experiments(&serde_json::from_slice(&output.stdout).unwrap());
    let measured = |name: &str| damaged.iter().find(|e| e.0 == name).map(|e| e.2.is_f64()).unwrap();
    assert!(!measured("fer-dnn-cbam") && measured("ckplus-dnn-cbam"));
    assert!(fs::read_to_string(&page).unwrap().contains("could not be measured"));

    // Nor do lines that cannot be read.
    let metrics = whole.join("fer-dnn-cbam/metrics.jsonl");
    let lines = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, "{\n").unwrap();
    let output = succeed(&reproduce(&whole, &["--report-only", "--json"]));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("fer-dnn-cbam") && told.contains("metrics.jsonl: line 1"), "{told}");
    let damaged = experiments(&serde_json::from_slice(&output.stdout).unwrap());
    assert!(damaged.iter().any(|(name, _, accuracy)| name == "ckplus-dnn-cbam" && accuracy.is_f64()));
    assert!(fs::read_to_string(whole.join("reproduce.md")).unwrap().contains("metrics.jsonl: line 1"));
    fs::write(&metrics, lines).unwrap();
    // As many other faces are not those that were trained on.
    let faces = folder.path().join("faces");
    folder_of_faces(&faces, &[Split::Train, Split::Test], &FER2013, 5);
    let few = ["reproduce", "--data", text(&faces), "--limit", "35", "--epochs", "1", "--report-only"];
    let message = failure(&[&few[..], &["--out", text(&whole)]].concat(), 1);
    assert!(message.contains("fer-dnn-cbam: was not trained on the images of"), "{message}");

    let list = json(&["reproduce", "--list", "--data", "synthetic", "--limit", "35", "--out", text(&parts)]);
    assert_eq!((state("fer-dnn-cbam", &list), state("fer-vgg", &list)), ("begun".into(), "not run".into()));
    assert_eq!(state("ckplus-by-person", &list), "missing data");
    let message = failure(&["reproduce", "--only", "ckplus-dnn-cbam", "--data", text(&faces)], 2);
    assert!(message.contains("ckplus-dnn-cbam: needs --ckplus"), "{message}");
    let message = failure(&["reproduce"], 2);
    assert!(message.contains("--data, --ckplus"), "{message}");
    // Somebody's own text is in the report's place: told before anything is trained.
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("reproduce.md"), "my notes").unwrap();
    let message = failure(&reproduce(&own, &[]), 1);
    assert!(message.contains("reproduce.md: is no earlier report's"), "{message}");
    assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
    let message = failure(&["reproduce", "--only", "fer-dnn,resnet"], 2);
    assert!(message.contains("--only resnet") && message.contains("fer-vgg"), "{message}");
    let other = failure(
        &[
            "reproduce",
            "--data",
            "synthetic",
            "--limit",
            "28",
            "--epochs",
            "2",
            "--out",
            text(&parts),
            "--only",
            "fer-dnn-cbam",
        ],
        1,
    );
    assert!(other.contains("fer-dnn-cbam") && other.contains("other options"), "{other}");
}

/// A fold that cannot be cut ends neither the other runs nor the report, but is no success.
#[test]
fn the_other_experiments_are_trained_where_one_fails() {
    let folder = TempDir::new().unwrap();
    let out = folder.path();
    let few =
        ["reproduce", "--data", "synthetic", "--limit", "7", "--epochs", "1", "--quiet", "--out", text(out)];
    let message = failure(&[&few[..], &["--only", "ckplus-dnn-cbam,fer-dnn"]].concat(), 1);
    assert!(message.contains("5 runs failed"), "{message}");
    // What there is is told all the same.
    let told = run(&[&few[..], &["--json", "--only", "ckplus-dnn-cbam"]].concat());
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["path"], text(&out.join("reproduce.html")));
    assert!(out.join("fer-dnn/last.safetensors").exists() && out.join("reproduce.html").exists());
}

/// Its rate has come down: it is neither stretched nor taken for a part of a longer run, and the others go on.
#[test]
fn a_curve_that_was_laid_out_for_other_epochs_is_left_out() {
    let folder = TempDir::new().unwrap();
    let command = |epochs, only| {
        let few =
            ["reproduce", "--data", "synthetic", "--limit", "35", "--quiet", "--json", "--epochs", epochs];
        succeed(&[&few[..], &["--only", only, "--out", text(folder.path())]].concat())
    };
    command("1", "beyond-cosine");
    let output = command("2", "fer-dnn-plus-cbam,beyond-cosine");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("beyond-cosine, seed 0: left out") && told.contains("laid out for 1"), "{told}");
    let result = experiments(&serde_json::from_slice(&output.stdout).unwrap());
    let found =
        |name: &str| result.iter().find(|e| e.0 == name).map(|e| (e.1.as_str(), e.2.is_f64())).unwrap();
    let base = found("fer-dnn-plus-cbam");
    assert_eq!((base, found("beyond-cosine")), (("finished", true), ("other length", false)));
    // Nor is a longer run cut down.
    let output = command("1", "fer-dnn-plus-cbam");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("fer-dnn-plus-cbam, seed 0: left out") && told.contains("has had 2"), "{told}");
    let output = command("2", "fer-dnn-plus-cbam");
    assert!(output.stderr.is_empty());
    let report = fs::read_to_string(folder.path().join("reproduce.md")).unwrap();
    assert!(report.contains("(seed 0, 1 epochs of 1, 2 asked for)"), "{report}");
    let crops = report.lines().find(|line| line.starts_with("| ten-crop |")).unwrap();
    assert!(crops.contains('%') && !crops.contains("not run"), "{crops}");
}

/// The paper's order of augmentation and cut is off unless asked for, and then said aloud.
#[test]
fn leaking_folds_are_told() {
    let folder = TempDir::new().unwrap();
    let command = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let few =
            ["crossval", "--folds", "2", "--epochs", "1", "--json", "--limit", "28", "--out", text(&out)];
        succeed(&[&few[..], more].concat())
    };
    let leaky = command("leaky", &["--paper-folds", "--copies", "2"]);
    let stderr = String::from_utf8(leaky.stderr).unwrap();
    assert!(stderr.contains("warning: the folds are cut after augmentation"), "{stderr}");
    let leaky: Value = serde_json::from_slice(&leaky.stdout).unwrap();
    assert_eq!((&leaky["leaky"], &leaky["copies"]), (&true.into(), &2.into()));
    let clean = command("clean", &["--copies", "2"]);
    assert!(!String::from_utf8(clean.stderr).unwrap().contains("the folds are"));
    let clean: Value = serde_json::from_slice(&clean.stdout).unwrap();
    assert_eq!((&clean["leaky"], &clean["copies"]), (&false.into(), &2.into()));
    // 28 images and two copies of each, in two halves.
    let log = fs::read_to_string(folder.path().join("leaky/fold0/log.txt")).unwrap();
    assert!(log.contains("42 images of synthetic to train on, 42 for test"), "{log}");
    for (more, named) in [
        (&["--paper-folds", "--copies", "0"][..], "--paper-folds"),
        (&["--paper-folds", "--by", "subject"], "--by subject"),
        (&["--copies", "3", "--augment", "none"], "--augment none"),
        (&["--copies", "101"], "--copies"),
    ] {
        let message = failure(&[&["crossval"], more].concat(), 2);
        assert!(message.contains(named), "{message}");
    }
}
