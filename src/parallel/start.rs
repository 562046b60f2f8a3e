//! Finding out whether mpirun started this process, and joining the others.

use super::Link;
use crate::error::{Error, Result};
use std::env;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Variables in which launchers tell a process how many there are and which one it is: Open MPI, then MPICH
/// and Intel MPI.
const SIZE: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
const RANK: [&str; 2] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"];

fn number(names: [&str; 2]) -> Option<usize> {
    names.iter().find_map(|name| env::var(name).ok()?.parse().ok())
}

/// Whether this process is the one of its launcher that speaks.
pub(crate) fn is_first() -> bool {
    number(RANK).unwrap_or(0) == 0
}

/// The connection to the other processes that mpirun started. Dropping it ends MPI: on the thread that made it.
#[cfg_attr(not(feature = "mpi"), allow(dead_code, reason = "nothing to connect to"))]
pub(crate) struct Launch {
    link: Arc<dyn Link>,
    #[cfg(feature = "mpi")]
    _universe: super::mpi::Universe,
}

impl Launch {
    pub(crate) fn link(&self) -> &Arc<dyn Link> {
        &self.link
    }

    /// Ends all processes, as this one cannot go on.
    pub(crate) fn abort(&self, status: i32) -> ! {
        #[cfg(feature = "mpi")]
        super::mpi::abort(status);
        #[cfg(not(feature = "mpi"))]
        std::process::exit(status)
    }
}

/// Joins the other processes if mpirun started more than one; `command` is what was asked for. `stop` becomes true
/// when the processes are to end.
///
/// # Errors
/// A command that only one process can work on, a build without MPI, or an MPI that fails.
pub(crate) fn start(command: &str, stop: &Arc<AtomicBool>) -> Result<Option<Launch>> {
    let Some(size) = number(SIZE).filter(|size| *size > 1) else { return Ok(None) };
    if command != "train" {
        let text = format!(
            "moue {command} is work for one process, but mpirun started {size}: only train is shared"
        );
        return Err(Error::Usage(text));
    }
    if !size.is_power_of_two() {
        return Err(Error::Usage(format!(
            "mpirun started {size} processes: their number must be a power of two"
        )));
    }
    connect(size, stop)
}

#[cfg(feature = "mpi")]
fn connect(size: usize, stop: &Arc<AtomicBool>) -> Result<Option<Launch>> {
    let (link, universe) = super::mpi::connect(size, stop.clone()).map_err(Error::Usage)?;
    Ok(Some(Launch { link: Arc::new(link), _universe: universe }))
}

#[cfg(not(feature = "mpi"))]
fn connect(size: usize, _: &Arc<AtomicBool>) -> Result<Option<Launch>> {
    let text = format!(
        "mpirun started {size} processes, but this moue was built without MPI: cargo build --release --features mpi",
    );
    Err(Error::Usage(text))
}
