//! Processes that mpirun started: what is said without MPI. With it, tests/mpi/run.sh trains.

use crate::harness::*;
use tempfile::TempDir;

/// What a command says where mpirun has started `size` processes of which this is number `rank`.
fn launched(arguments: &[&str], size: &str, rank: &str) -> (Option<i32>, String) {
    let mut command = moue(arguments);
    command.env("OMPI_COMM_WORLD_SIZE", size).env("OMPI_COMM_WORLD_RANK", rank);
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn processes_that_mpirun_started_are_told_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let train = ["train", "--out", text(folder.path())];
    let (status, said) = launched(&["gradcheck", "--op", "relu"], "2", "0");
    assert_eq!(status, Some(2));
    assert_eq!(
        said,
        "moue: moue gradcheck is work for one process, but mpirun started 2: only train is shared\n"
    );
    assert_eq!(launched(&train, "3", "0").0, Some(2));
    // One line, not one a process.
    assert_eq!(launched(&train, "3", "1"), (Some(2), String::new()));
    if !cfg!(feature = "mpi") {
        let (status, said) = launched(&train, "2", "0");
        assert_eq!(status, Some(2));
        assert!(said.contains("built without MPI: cargo build --release --features mpi"), "{said}");
    }
    assert!(launched(&["gradcheck", "--op", "relu", "--quiet"], "1", "0").0 == Some(0));
}
