//! Gradients of a whole model on every instruction set; `moue gradcheck` checks all models on one. And what that
//! command prints.

use moue::Isa;
use moue::gradcheck::{Options, Suite, sweep};
use serde_json::Value;
use std::process::Command;

#[test]
fn the_papers_model_has_the_right_gradients() {
    let suite = Suite::models();
    for isa in Isa::available() {
        let options = Options { isa, ..Options::default() };
        let mut checked = 0;
        for result in suite.run(&options, Some("dnn-cbam block4 am-softmax")) {
            let (name, report) = result.expect("the model compiles");
            assert!(report.ok(), "{name} on {isa:?}: {report:#?}");
            checked += 1;
        }
        assert_eq!(checked, 1, "of one model");
    }
}

#[test]
fn names_are_unique_and_known() {
    let mut names: Vec<String> = [Suite::operations(), Suite::models()]
        .iter()
        .flat_map(|suite| suite.names().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(names.iter().any(|name| name == "conv3x3"));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

fn gradcheck(arguments: &[&str]) -> String {
    let moue = Command::new(env!("CARGO_BIN_EXE_moue")).arg("gradcheck").args(arguments).output();
    let output = moue.expect("moue starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_line_for_each_operation_and_a_row_for_each_shape() {
    let shapes = sweep().count();
    let table = gradcheck(&["--op", "relu"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "head, f64, f32, total: {table}");
    assert!(lines[1].starts_with("relu ") && lines[2].starts_with("relu f32 "), "{table}");
    assert!(lines[1..3].iter().all(|line| line.contains(&format!(" {shapes} ")) && line.ends_with(" ok")));

    let output: Value = serde_json::from_str(&gradcheck(&["--op", "relu", "--json"])).expect("JSON");
    assert_eq!(output["ok"], true);
    let checks = output["checks"].as_array().expect("checks");
    assert_eq!(checks.len(), 2 * shapes);
    for (i, check) in checks.iter().enumerate() {
        assert_eq!(check["op"], if i < shapes { "relu" } else { "relu f32" });
        assert!(check["max_rel_error"].as_f64() <= check["tolerance"].as_f64() && check["ok"] == true);
    }
    let first =
        sweep().next().map(|at| format!("{0}x{1}x{2}x{3} -> {0}x{1}x{2}x{3}", at.n, at.h, at.w, at.c));
    assert_eq!(checks[0]["shape"], first.expect("a shape"));
}
