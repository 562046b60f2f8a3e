//! The machine that works.

use crate::report::Table;
use moue_datasets::message::excerpt;
use moue_kernels::Isa;
use std::fs;

/// Table 3: processor, cores, instruction set, memory, system and version, as far as the system tells.
pub(super) fn platform(isa: Isa) -> Table {
    let cpu = field("/proc/cpuinfo", "model name", ':');
    let memory = field("/proc/meminfo", "MemTotal", ':').and_then(|text| gibibytes(&text));
    let system = field("/etc/os-release", "PRETTY_NAME", '=').map(|name| name.trim_matches('"').to_owned());
    let cores = std::thread::available_parallelism().map_or("not known".to_owned(), |n| n.to_string());
    let architecture = std::env::consts::ARCH;
    let mut table = Table::new("Platform", &["", "paper", "this machine"]);
    for (name, value) in [
        ("processor", cpu),
        ("cores that it may use", Some(cores)),
        ("threads of this command", Some(rayon::current_num_threads().to_string())),
        ("instruction set of the kernels", Some(format!("{} on {architecture}", isa.name()))),
        ("memory", memory),
        ("system", Some(system.unwrap_or(std::env::consts::OS.to_owned()))),
        ("software", Some(format!("moue {}", env!("CARGO_PKG_VERSION")))),
    ] {
        let value = value.map_or("not known".to_owned(), excerpt);
        table.row([name, super::NOT_STATED, &value]);
    }
    table
}

/// What stands behind `name` and `mark` in a file of lines.
fn field(path: &str, name: &str, mark: char) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(mark)?.1.trim().to_owned())
}

/// `16310524 kB` as `15.6 GiB`.
fn gibibytes(text: &str) -> Option<String> {
    let kilobytes: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some(format!("{:.1} GiB", kilobytes / f64::from(1 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_gibibytes() {
        assert_eq!(gibibytes("16310524 kB").as_deref(), Some("15.6 GiB"));
        assert_eq!(gibibytes("much"), None);
    }
}
