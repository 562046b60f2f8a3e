//! Connections: accepted up to a number, with a limit on the time that a client may take, and brought to an end.

use super::routes::Service;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::io;
use std::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections at a time; the system lets others wait.
const CONNECTIONS: usize = 128;
/// How often the wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// What requests that are under way at the end still have.
const GRACE: Duration = Duration::from_secs(10);

/// Answers requests until `stop` is set, and then those that are under way.
pub(super) fn serve(listener: net::TcpListener, service: Arc<Service>, stop: &AtomicBool) -> io::Result<()> {
    // One thread: the work is done elsewhere.
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async { accept(TcpListener::from_std(listener)?, service, stop).await })
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: &AtomicBool) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(service.limits.timeout);
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(Ok(permit)) = timeout(TICK, free.clone().acquire_owned()).await else { continue };
        let stream = match timeout(TICK, listener.accept()).await {
            Ok(Ok((stream, _))) => stream,
            // Out of file descriptors, or a client that is gone already.
            Ok(Err(_)) => {
                sleep(TICK).await;
                continue;
            }
            Err(_) => continue,
        };
        let service = service.clone();
        let answer = service_fn(move |request| service.clone().answer(request));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), answer));
        tokio::spawn(async move {
            // What goes wrong with a connection is its client's trouble.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop((listener, service));
    let _ = timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}
