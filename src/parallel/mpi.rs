//! Ranks that mpirun started.

use super::{Link, Stream};
use crate::output::errln;
use mpi::Threading;
use mpi::collective::SystemOperation;
pub(super) use mpi::environment::Universe;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

/// Tests for a message before the thread sleeps in between: a message within a machine takes a few microseconds.
const SPINS: u32 = 64;
/// Sleep between two tests.
const NAP: Duration = Duration::from_micros(20);

/// Part of the time that mpirun leaves after SIGTERM for which a peer may stay silent...
const PATIENCE: f64 = 0.7;
/// ...and its limit in seconds: peers hear of each other some forty times a step.
const MOST: f64 = 5.0;

#[derive(Debug)]
pub(super) struct Mpi {
    rank: usize,
    size: usize,
    /// Set by SIGTERM: mpirun sends it when any process has ended, or when it is told to stop.
    stop: Arc<AtomicBool>,
    patience: Duration,
}

/// Starts MPI with as many processes as expected.
pub(super) fn connect(size: usize, stop: Arc<AtomicBool>) -> Result<(Mpi, Universe), String> {
    let (universe, threading) =
        mpi::initialize_with_threading(Threading::Multiple).ok_or("MPI is running already")?;
    if threading < Threading::Multiple {
        return Err(format!("this MPI offers {threading:?} to threads; moue wants MPI_THREAD_MULTIPLE"));
    }
    let world = universe.world();
    let (rank, found) = (world.rank() as usize, world.size() as usize);
    if found != size {
        return Err(format!(
            "MPI has {found} processes where mpirun says {size}: is it the MPI of another mpirun?"
        ));
    }
    Ok((Mpi { rank, size, stop, patience: patience() }, universe))
}

/// How long a peer may stay silent once this process was told to end: less than mpirun waits until it kills.
fn patience() -> Duration {
    let seconds = env::var("OMPI_MCA_odls_base_sigkill_timeout").ok().and_then(|text| text.parse().ok());
    let seconds: f64 = seconds.filter(|s: &f64| (0.0..1e6).contains(s)).unwrap_or(1.0);
    Duration::from_secs_f64((seconds * PATIENCE).min(MOST))
}

/// Ends all processes.
pub(super) fn abort(status: i32) -> ! {
    SimpleCommunicator::world().abort(status)
}

impl Mpi {
    /// Waits for the request. If this process is told to end and nothing comes for a while, a peer is gone: then this
    /// one ends, too, as nobody can go on without it.
    fn wait<'a, D: ?Sized, S: Scope<'a>>(&self, mut request: Request<'a, D, S>) {
        let (mut tests, mut told) = (0, None);
        loop {
            match request.test() {
                Ok(_) => return,
                Err(again) => request = again,
            }
            tests += 1;
            if tests < SPINS {
                thread::yield_now();
                continue;
            }
            thread::sleep(NAP);
            if self.stop.load(Ordering::Relaxed) {
                let since = *told.get_or_insert_with(Instant::now);
                if since.elapsed() > self.patience {
                    self.lost();
                }
            }
        }
    }

    fn lost(&self) -> ! {
        errln!(
            "moue: rank {}: another process has ended; nothing before the last checkpoint is lost: moue train --resume",
            self.rank,
        );
        process::exit(1)
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn swap(&self, stream: Stream, partner: usize, ours: &[u8], theirs: &mut [u8]) {
        let world = SimpleCommunicator::world();
        let peer = world.process_at_rank(partner as i32);
        let tag = stream as i32;
        scope(|scope| {
            let receive = peer.immediate_receive_into_with_tag(scope, theirs, tag);
            let send = peer.immediate_send_with_tag(scope, ours, tag);
            self.wait(receive);
            self.wait(send);
        });
    }

    fn sum(&self, values: &mut [f32]) {
        let ours = values.to_vec();
        let sum = SystemOperation::sum();
        scope(|scope| {
            self.wait(SimpleCommunicator::world().immediate_all_reduce_into(scope, &ours[..], values, sum));
        });
    }
}
