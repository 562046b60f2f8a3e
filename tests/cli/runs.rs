//! Runs that are stopped, resumed, shared or broken.

use crate::harness::*;
use moue::datasets::Split;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// With all that is added to the paper's recipe.
#[test]
fn a_resumed_run_is_the_same_to_the_bit() {
    resumes(&["--average", "0.9", "--weight-decay", "0.5", "--smoothing", "0.1", "--erase", "0.5"]);
}

#[test]
fn so_it_is_with_another_optimiser_and_sampling() {
    resumes(&["--optimizer", "sgd", "--balance"]);
}

/// They are asked about the same versions of the same faces, whatever the number of threads.
#[test]
fn so_it_is_with_teachers() {
    let teacher = best();
    let taught = ["--loss", "softmax", "--teacher", text(&teacher), "--teacher", text(&teacher)];
    resumes(&[&taught[..], &["--teacher-share", "0.5", "--smoothing", "0.1", "--mixup", "0.2"]].concat());

    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let start = ["train", "--quiet", "--loss", "softmax", "--limit", "35", "--out", text(&out)];
    let missing = failure(&[&start[..], &["--teacher", "nowhere.safetensors"]].concat(), 1);
    assert!(missing.contains("nowhere.safetensors") && !out.exists(), "{missing}");
    // What is found out when the data is open leaves no folder either.
    let faces = folder.path().join("faces");
    folder_of_faces(&faces, &[Split::Train], &["happy", "sad"], 3);
    let two = failure(&[&start[..], &["--teacher", text(&teacher), "--data", text(&faces)]].concat(), 1);
    assert!(two.contains("a teacher of angry") && !out.exists(), "{two}");
    let plan = succeed(&[&start[..], &["--teacher", text(&teacher), "--plan"]].concat()).stdout;
    assert!(String::from_utf8(plan).unwrap().contains("soft_cross_entropy"));

    // A teacher that changes on the way would make another run of it.
    let changing = folder.path().join("teacher.safetensors");
    fs::copy(&teacher, &changing).unwrap();
    let stop = ["--teacher", text(&changing), "--epochs", "2", "--stop-after-steps", "1"];
    assert_eq!(run(&[&start[..], &stop[..]].concat()).status.code(), Some(130));
    assert!(fs::read_to_string(out.join("log.txt")).unwrap().contains("0.7 of the target by"));
    let other = folder.path().join("other");
    assert!(train(&other, &["--epochs", "1", "--seed", "9"]).status.success());
    fs::copy(other.join("best.safetensors"), &changing).unwrap();
    let changed = failure(&["train", "--resume", text(&out)], 1);
    assert!(changed.contains("not the teachers"), "{changed}");
}

/// Each fold's faces have a mean of their own; teachers see them as they were trained.
#[test]
fn folds_have_teachers_too() {
    let folder = TempDir::new().unwrap();
    let teacher = best();
    let output = run(&[
        &["crossval", "--limit", "35", "--folds", "2", "--epochs", "1", "--loss", "softmax"][..],
        &["--teacher", text(&teacher), "--out", text(folder.path())],
    ]
    .concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && message.contains("warning: --teacher: weights"), "{message}");
    assert!(!message.contains("--init"), "{message}");
}

/// Three epochs of three steps at once, against a stop in the middle of the second, a resume on another number of
/// threads to the end of that epoch, and another one to the end that raises the number of epochs.
fn resumes(recipe: &[&str]) {
    let folder = TempDir::new().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let seed = [&["--seed", "5", "--threads", "2"], recipe].concat();
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

/// The weights decide the network and the loss, unless another loss is asked for; with mixup and stronger augmentation,
/// as one would fine-tune.
#[test]
fn a_run_starts_from_trained_weights() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("fine");
    let options =
        ["--limit", "35", "--epochs", "1", "--init", "pretrained", "--mixup", "0.2", "--augment", "strong"];
    let tuned = json(&[&["train", "--quiet", "--out", text(&out), "--lr", "1e-5"], &options[..]].concat());
    assert_eq!((&tuned["model"], &tuned["loss"]), (&"dnn-cbam".into(), &"softmax".into()));
    let log = fs::read_to_string(out.join("log.txt")).unwrap();
    assert!(
        log.contains("starts from the weights that ship with moue") && !log.contains("head is new"),
        "{log}"
    );
    let best = out.join("best.safetensors");
    let again = folder.path().join("again");
    let margin = ["train", "--limit", "35", "--epochs", "1", "--init", text(&best), "--loss", "am-softmax"];
    assert_eq!(json(&[&margin[..], &["--out", text(&again)]].concat())["loss"], "am-softmax");
    assert!(fs::read_to_string(again.join("log.txt")).unwrap().contains("head is new"));
    let message = failure(&["train", "--init", "pretrained", "--model", "dnn"], 2);
    assert!(message.contains("--init") && message.contains("--model"), "{message}");
    let fewer = failure(&["train", "--init", "pretrained", "--identity-blocks", "0"], 2);
    assert!(fewer.contains("--identity-blocks") && fewer.contains("can only be added"), "{fewer}");
    let missing = failure(&["train", "--init", "nowhere.safetensors"], 1);
    assert!(missing.contains("nowhere.safetensors"), "{missing}");
}

/// Halved behind every fifth epoch that is no better than the best, also by a process that takes over; no fold is to
/// steer its own training.
#[test]
fn a_plateau_cuts_the_learning_rate() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    // Nothing is learnt at such a rate: soon no epoch is better than the best.
    assert!(train(&run, &["--schedule", "plateau", "--lr", "1e-30", "--epochs", "9"]).status.success());
    succeed(&["train", "--quiet", "--resume", text(&run), "--epochs", "16"]);
    let (mut rate, mut best, mut since) = (1e-30, 0.0, 0);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    for line in metrics.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["lr"], rate, "{metrics}");
        let accuracy = row["validation_accuracy"].as_f64().unwrap();
        since = if accuracy > best { 0 } else { since + 1 };
        best = accuracy.max(best);
        if since == 5 {
            (rate, since) = (rate / 2.0, 0);
        }
    }
    assert!(rate < 1e-30, "{metrics}");
    let message = failure(&["crossval", "--schedule", "plateau"], 2);
    assert!(message.contains("--schedule plateau"), "{message}");
}

/// The second call finds both folds finished; a fold that is missing is trained, and one of other options is refused.
#[test]
fn a_cross_validation_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let out = text(folder.path());
    let command =
        [&["crossval", "--quiet", "--folds", "2", "--epochs", "1", "--out", out], &FEW[..]].concat();
    let first = json(&command);
    let folds: Vec<f64> = first["folds"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(folds.len(), 2);
    assert!((first["mean"].as_f64().unwrap() - (folds[0] + folds[1]) / 2.0).abs() < 1e-12);
    let metrics = fs::read_to_string(folder.path().join("fold1/metrics.jsonl")).unwrap();
    assert!(metrics.contains(&format!("\"test_accuracy\":{}", folds[1])), "{metrics}");
    fs::remove_dir_all(folder.path().join("fold0")).unwrap();
    let again = json(&command);
    assert_eq!((&again["folds"], &again["std"]), (&first["folds"], &first["std"]));
    let message = failure(&[&command[..], &["--seed", "1"]].concat(), 1);
    assert!(message.contains("fold0") && message.contains("other options"), "{message}");
    let message = failure(&[&command[..], &["--copies", "1"]].concat(), 1);
    assert!(message.contains("fold0") && message.contains("other options"), "{message}");
    let message = failure(&[&command[..], &["--by", "subject"]].concat(), 1);
    assert!(message.contains("subjects"), "{message}");
    // What failed before its first checkpoint left nothing to refuse.
    let seed = [&command[..], &["--seed", "1"]].concat();
    for fold in ["fold0", "fold1"] {
        let files = fs::read_dir(folder.path().join(fold)).unwrap().map(|file| file.unwrap());
        for file in files.filter(|file| file.file_name() != "config.json") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    assert_eq!(json(&seed)["folds"].as_array().unwrap().len(), 2);

    // A cosine was laid out for its number of epochs.
    let out = folder.path().join("cosine");
    let command = |epochs| {
        let cosine = ["crossval", "--quiet", "--folds", "2", "--schedule", "cosine", "--epochs", epochs];
        [&cosine[..], &["--out", text(&out)], &FEW[..]].concat()
    };
    json(&command("1"));
    let message = failure(&command("2"), 1);
    assert!(message.contains("fold0") && message.contains("laid out for 1 epochs"), "{message}");
}

/// Killed before the first checkpoint, even with the first epoch's weights written already.
#[test]
fn a_run_without_a_checkpoint_starts_again() {
    let folder = TempDir::new().unwrap();
    let (whole, run_folder) = (&trained().0, folder.path().join("run"));
    fs::create_dir(&run_folder).unwrap();
    fs::copy(whole.join("config.json"), run_folder.join("config.json")).unwrap();
    fs::write(run_folder.join("best.safetensors"), "of the first epoch").unwrap();
    succeed(&["train", "--quiet", "--resume", text(&run_folder)]);
    for file in ["last.safetensors", "best.safetensors"] {
        assert!(
            fs::read(whole.join(file)).unwrap() == fs::read(run_folder.join(file)).unwrap(),
            "{file} differs"
        );
    }
    let message = failure(&["train", "--resume", text(folder.path())], 1);
    assert!(
        message.contains(text(folder.path())) && message.contains("not the folder of a run"),
        "{message}"
    );
    assert!(
        ["lock", "log.txt"].iter().all(|name| !folder.path().join(name).exists()),
        "left something there"
    );
}

/// Starting again would overwrite weights of later epochs.
#[test]
fn a_run_that_lost_its_checkpoints_is_left_alone() {
    let folder = TempDir::new().unwrap();
    for file in ["config.json", "metrics.jsonl", "best.safetensors"] {
        fs::copy(trained().0.join(file), folder.path().join(file)).unwrap();
    }
    let message = failure(&["train", "--resume", text(folder.path())], 1);
    assert!(message.contains("no checkpoint to resume from"), "{message}");
    assert!(fs::read(best()).unwrap() == fs::read(folder.path().join("best.safetensors")).unwrap());
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
    folder_of_faces(&data, &[Split::Train, Split::Test], &["happy", "sad"], 4);
    let (data_text, out) = (text(&data), text(&run_folder));
    let stop =
        ["train", "--quiet", "--data", data_text, "--out", out, "--batch", "4", "--stop-after-steps", "1"];
    assert_eq!(run(&stop).status.code(), Some(130));
    // Accuracies on other images could not be compared with those before.
    for file in ["train/happy/0.png", "test/happy/0.png"] {
        let (file, kept) = (data.join(file), folder.path().join("kept.png"));
        fs::rename(&file, &kept).unwrap();
        let message = failure(&["train", "--resume", out], 1);
        assert!(message.contains(out) && message.contains("not the images"), "{message}");
        fs::rename(&kept, &file).unwrap();
    }
    succeed(&["train", "--quiet", "--resume", out, "--epochs", "1"]);
}

#[test]
fn data_that_were_moved_are_the_same_data() {
    let folder = TempDir::new().unwrap();
    let (data, moved, out) =
        (folder.path().join("data"), folder.path().join("moved"), folder.path().join("out"));
    folder_of_faces(&data, &[Split::Train], &["happy", "sad"], 4);
    let command = |data: &Path| {
        let options = ["--folds", "3", "--epochs", "1", "--batch", "4", "--out", text(&out)];
        json(&[&["crossval", "--quiet", "--data", text(data)], &options[..]].concat())
    };
    let first = command(&data);
    fs::rename(&data, &moved).unwrap();
    assert_eq!(command(&moved)["folds"], first["folds"]);
}

#[test]
fn the_last_epoch_stands_for_a_best_one_that_is_gone() {
    let folder = TempDir::new().unwrap();
    for file in ["config.json", "checkpoint.bin", "metrics.jsonl", "last.safetensors"] {
        fs::copy(trained().0.join(file), folder.path().join(file)).unwrap();
    }
    let output = succeed(&["train", "--quiet", "--json", "--resume", text(folder.path())]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("the last epoch's weights stand for it"), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert!(report["weights"].as_str().unwrap().ends_with("last.safetensors"), "{report}");
    assert!(
        report["test_accuracy"].is_f64() && report["last_accuracy"] == last["validation_accuracy"],
        "{report}"
    );
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
    // The first of two epochs.
    assert_eq!(train(&run_folder, &["--epochs", "2", "--stop-after-steps", "3"]).status.code(), Some(130));
    let files = ["best.safetensors", "last.safetensors", "checkpoint.bin"];
    let read = || files.map(|name| fs::read(run_folder.join(name)).unwrap());
    let before = read();
    let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" train --quiet --resume \"$1\"";
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

/// Starts a long training in `run_folder` and sends it `signal` once `file` is there.
#[cfg(unix)]
fn interrupted(run_folder: &Path, more: &[&str], file: &str, signal: &str) -> Output {
    let few = ["train", "--limit", "70", "--seed", "5", "--out", text(run_folder)];
    let child = moue(&[&few[..], more].concat()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let file = run_folder.join(file);
    for _ in 0..6000 {
        if file.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn signals_save_a_checkpoint() {
    for signal in ["-INT", "-TERM"] {
        let folder = TempDir::new().unwrap();
        let run_folder = folder.path().join("run");
        let output = interrupted(&run_folder, &["--epochs", "1000"], "metrics.jsonl", signal);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal}: {stderr}");
        assert!(stderr.contains("continue with: moue train --resume"), "{signal}: {stderr}");
        assert!(run_folder.join("checkpoint.bin").exists());
    }
}

/// Killed in its first epoch, where only `--checkpoint-every` has saved anything.
#[cfg(unix)]
#[test]
fn a_killed_run_continues_to_the_same_bits() {
    let folder = TempDir::new().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let options = ["--seed", "5", "--batch", "1", "--epochs", "2"];
    assert!(train(&whole, &options).status.success());

    let options = ["--batch", "1", "--epochs", "2", "--checkpoint-every", "0"];
    let output = interrupted(&killed, &options, "checkpoint.bin", "-KILL");
    assert_eq!(output.status.code(), None, "{output:?}");
    assert!(!killed.join("metrics.jsonl").exists(), "no epoch was over");
    succeed(&["train", "--quiet", "--resume", text(&killed)]);
    for file in ["last.safetensors", "best.safetensors"] {
        assert!(
            fs::read(whole.join(file)).unwrap() == fs::read(killed.join(file)).unwrap(),
            "{file} differs"
        );
    }
}
