//! The `moue` command.

fn main() -> std::process::ExitCode {
    moue::cli::main()
}
