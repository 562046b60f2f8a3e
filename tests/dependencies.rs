//! Every direct dependency has its reason in docs/dependencies.md, and no reason outlives its dependency.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn every_dependency_has_a_reason() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let dependencies = packages.iter().flat_map(|p| p["dependencies"].as_array().expect("dependencies"));
    let names = dependencies.map(|d| d["name"].as_str().expect("a name").to_owned());
    let used: BTreeSet<String> = names.filter(|name| !name.starts_with("moue")).collect();

    let page = include_str!("../docs/dependencies.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let reasoned: BTreeSet<String> =
        rows.filter(|name| !["crate", "---"].contains(name)).map(str::to_owned).collect();
    assert_eq!(used, reasoned);
}
