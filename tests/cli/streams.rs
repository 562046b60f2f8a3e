//! `moue predict` on what comes while it runs: frames of a film, a folder that is watched, readers that leave.

use crate::harness::*;
use moue::datasets::Split;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use tempfile::TempDir;

const ASTRONAUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/astronaut.jpg");

fn start(arguments: &[&str]) -> Child {
    let weights = best();
    moue(&[&["predict", "--weights", text(&weights)], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Each frame is told before the next one comes, and its face is followed.
#[test]
fn frames_are_told_as_they_come() {
    let photo = fs::read(ASTRONAUT).unwrap();
    let mut child = start(&["--frames", "mjpeg", "--smooth", "0.5", "--json"]);
    let mut film = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..3 {
        film.write_all(&photo).unwrap();
        film.flush().unwrap();
        let frame: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&frame["frame"], &frame["error"]), (&number.into(), &Value::Null));
        assert_eq!(frame["faces"].as_array().unwrap().len(), 1);
        assert_eq!(frame["faces"][0]["track"], 0);
        let p = frame["faces"][0]["probabilities"].as_object().unwrap();
        assert!((p.values().map(|p| p.as_f64().unwrap()).sum::<f64>() - 1.0).abs() < 1e-5);
    }
    film.write_all(&photo[..1000]).unwrap();
    drop(film);
    let last: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert!(last["error"].as_str().unwrap().contains("within a frame"), "{last}");
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
    // Nothing that can be read is no success.
    let mut child = start(&["--frames", "mjpeg", "--json"]);
    child.stdin.take().unwrap().write_all(&photo[..1000]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn raw_frames_are_smoothed() {
    let faces = moue::datasets::synthetic::faces(0, Split::Test, 2).unwrap();
    let film = [faces.face(0), faces.face(13), faces.face(13)].concat();
    let probabilities = |smooth: &str| {
        let mut child = start(&["--frames", "gray:48x48", "--smooth", smooth, "--csv"]);
        child.stdin.take().unwrap().write_all(&film).unwrap();
        let output = child.wait_with_output().unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        let row =
            |line: &str| line.split(',').skip(9).take(7).map(|p| p.parse().unwrap()).collect::<Vec<f64>>();
        table.lines().skip(1).map(row).collect::<Vec<_>>()
    };
    let (raw, smooth) = (probabilities("0"), probabilities("0.75"));
    assert_eq!(raw.len(), 3);
    assert_eq!((&raw[0], &raw[1]), (&smooth[0], &raw[2]));
    assert_ne!(raw[0], raw[1]);
    for class in 0..7 {
        let second = 0.75 * raw[0][class] + 0.25 * raw[1][class];
        let third = 0.75 * second + 0.25 * raw[2][class];
        assert!((smooth[1][class] - second).abs() < 1e-6 && (smooth[2][class] - third).abs() < 1e-6);
    }
}

#[cfg(unix)]
#[test]
fn a_watched_folder_tells_what_appears() {
    let folder = TempDir::new().unwrap();
    fs::copy(ASTRONAUT, folder.path().join("old.jpg")).unwrap();
    let mut child = start(&["--watch", text(folder.path())]);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("watching"), "{line}");
    let new = folder.path().join("new.jpg");
    fs::copy(ASTRONAUT, &new).unwrap();
    fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with(text(&new)), "{line}");
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");

    let weights = best();
    let inside = folder.path().join("seen");
    let arguments = ["predict", "--weights", text(&weights), "--watch", text(folder.path()), "--annotate"];
    let message = failure(&[&arguments[..], &[text(&inside)]].concat(), 2);
    assert!(message.contains("watched"), "{message}");
}

/// Results come while there are pictures to come, and a reader that has seen enough ends the command.
#[test]
fn results_stream() {
    let mut child = start(&["--files-from", "-"]);
    let mut list = child.stdin.take().unwrap();
    writeln!(list, "{ASTRONAUT}").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.starts_with(ASTRONAUT), "{line}");
    drop(stdout);
    writeln!(list, "{ASTRONAUT}").unwrap();
    drop(list);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(141));
}
