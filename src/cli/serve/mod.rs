//! `moue serve`: a page and a service on this machine.

mod http;
mod metrics;
mod routes;
mod worker;

use super::Context;
use super::classifier::ClassifierArgs;
use super::predict::{Explained, Recogniser};
use super::stop::stop_signal;
use crate::error::{Error, Result};
use crate::output::{errln, outln};
use metrics::Metrics;
use routes::{Limits, Service};
use serde_json::json;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

/// Serve a page that tells the expressions in photos, and a service for programs, until Ctrl-C or SIGTERM.
///
/// GET / is the page. POST /predict takes the bytes of an image and answers with what `moue predict --json` has in its
/// results; POST /predict?explain adds heat maps to the first twelve faces, as `moue predict --explain` draws them. GET
/// /metrics is for Prometheus, GET /healthz for whoever watches the service. Nothing is stored, and nothing
/// leaves the machine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    classifier: ClassifierArgs,
    /// Address to listen at. There is no password: others should reach it only by way of a server that asks for one.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port to listen at; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 8642)]
    port: u16,
    /// Largest image in MB (a larger one is answered with status 413).
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    max_mb: u16,
    /// Images that may wait for their turn (one more is answered with status 503).
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    queue: u16,
    /// Seconds in which a request must have come in, and in which it must be answered.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout: u16,
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let classifier = args.classifier.load(context)?;
    // Errors name it as files are named.
    let place = format!("--bind {} --port {}", args.bind, args.port);
    let listener = TcpListener::bind((args.bind, args.port)).map_err(Error::io(&place))?;
    listener.set_nonblocking(true).map_err(Error::io(&place))?;
    let address = format!("http://{}/", listener.local_addr().map_err(Error::io(&place))?);

    let (sender, jobs) = mpsc::channel(usize::from(args.queue));
    let limits = Limits {
        bytes: usize::from(args.max_mb) * 1_000_000,
        timeout: Duration::from_secs(args.timeout.into()),
    };
    let weights = classifier.weights();
    let about = json!({ "status": "ok", "model": weights.model.name(), "classes": weights.classes });
    let service = Arc::new(Service::new(sender, limits, &about, Metrics::default()));
    let mut explained = Explained::new(weights, None, context.isa)?;
    let mut recogniser = Recogniser::new(classifier);
    let stop = stop_signal();
    if !args.bind.is_loopback() {
        errln!("moue: warning: --bind {}: whoever reaches this machine can send it images", args.bind);
    }
    context.print(&json!({ "address": address }), || outln!("{address} (Ctrl-C ends it)"));
    // The images are classified here, on a thread of the pool: one of its own would use other threads than asked for.
    let served = thread::scope(|scope| {
        let serving = scope.spawn(|| http::serve(listener, service, &stop));
        worker::work(jobs, |image, explain| {
            let mut prediction = recogniser.recognise_bytes(image)?;
            if explain {
                prediction.explain(&mut explained);
            }
            Ok(prediction)
        });
        serving.join().expect("no panic in the server")
    });
    served.map_err(Error::io(place))
}
