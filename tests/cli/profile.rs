//! `moue profile`: keys of its JSON and its charts.

use crate::harness::*;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The chart at `path`: one SVG element whose tags are all closed, with each of `texts` in it.
fn check_svg(path: &Path, texts: &[&str]) {
    let svg = fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "a bare > in {text:?}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{svg}");
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for text in texts {
        assert!(svg.contains(text), "{text} in {svg}");
    }
}

fn numbers(row: &Value, keys: &[&str]) {
    for key in keys {
        assert!(row[key].is_number(), "{key} in {row}");
    }
}

#[test]
fn dsconv_compares_winograd_where_it_pays() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("dsconv.svg");
    let result = json(&["profile", "dsconv", "--batch", "1", "--reps", "1", "--svg", text(&path)]);
    let rows = result["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 14);
    for row in rows {
        numbers(row, &["std_ms", "std_gflops", "ds_ms", "ds_gflops", "ratio", "theory", "ratio_over_theory"]);
        assert!(row["theory_inside"].as_f64().unwrap() < row["theory"].as_f64().unwrap(), "{row}");
        let pays = row["hw"].as_u64().unwrap() > 6;
        assert!(if pays { row["winograd_ms"].is_f64() } else { row["winograd_ms"].is_null() }, "{row}");
        let ratio = row["std_ms"].as_f64().unwrap() / row["ds_ms"].as_f64().unwrap();
        assert!((ratio / row["ratio"].as_f64().unwrap() - 1.0).abs() < 1e-9, "against the direct one: {row}");
    }
    let mean = format!("{:.2}", result["geomean_ratio_over_theory"].as_f64().unwrap());
    check_svg(
        &path,
        &["batch 1", "geometric mean", &mean, "forward", "backward", "128-&gt;256 @ 6", "theory"],
    );
}

#[test]
fn step_stands_under_the_roofline() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("step.svg");
    let result = json(&["profile", "step", "--batch", "2", "--reps", "1", "--svg", text(&path)]);
    numbers(&result, &["images_per_second", "ms_per_step", "gflops", "fraction_of_peak", "arena_bytes"]);
    assert_eq!(result["allocations_per_step"], 0.0);
    let (peak, bandwidth) = (&result["peak_gflops"], &result["bandwidth_gb_s"]);
    let (peak, bandwidth) = (peak.as_f64().unwrap(), bandwidth.as_f64().unwrap());
    let ops = result["ops"].as_array().unwrap();
    for op in ops {
        numbers(op, &["forward_ms", "backward_ms"]);
        let key = |key: &str| op[key].as_f64().unwrap_or_else(|| panic!("{key} in {op}"));
        assert!(key("bytes") > 0.0 && key("fraction_of_roofline") > 0.0, "{op}");
        let roof = peak.min(bandwidth * key("intensity"));
        assert!((roof - key("roofline_gflops")).abs() <= 1e-9 * roof, "{op}");
        if roof > 0.0 {
            let fraction = key("gflops") / roof;
            assert!((key("fraction_of_roofline") / fraction - 1.0).abs() < 1e-9, "{op}");
        }
    }
    assert!(ops.iter().any(|op| op["roofline_gflops"] == 0.0), "a norm computes nothing that is counted");
    check_svg(
        &path,
        &["Roofline: training step", "batch 2", "FLOP/byte", "conv3x3", "-&gt;", "Winograd", "<circle"],
    );
    let table = succeed(&["profile", "step", "--batch", "2", "--reps", "1"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("of roof") && table.contains("Winograd"), "{table}");
}

#[test]
fn inference_is_timed_by_operation_too() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("infer.svg");
    // One face for all threads, and chunks of two for each.
    for batch in ["1", "9"] {
        let result = json(&["profile", "infer", "--batch", batch, "--reps", "1", "--svg", text(&path)]);
        numbers(&result, &["us_per_image", "gflops", "peak_gflops", "bandwidth_gb_s"]);
        for op in result["ops"].as_array().unwrap() {
            numbers(op, &["us_per_image", "gflops", "bytes", "roofline_gflops", "fraction_of_roofline"]);
        }
        check_svg(&path, &["Roofline: inference", &format!("batch {batch}"), "<circle"]);
    }
}

#[test]
fn a_chart_that_cannot_be_written_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("no/such/folder/chart.svg");
    for command in [&["dsconv", "--batch", "1"][..], &["step", "--batch", "2"], &["infer"]] {
        let message = failure(&[&["profile"], command, &["--reps", "1", "--svg", text(&path)]].concat(), 1);
        assert!(message.contains(text(&path)) && message.contains("No such file"), "{message}");
    }
}
