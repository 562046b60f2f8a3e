//! Requests and their answers.

use super::metrics::Metrics;
use super::worker::Job;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::timeout;

const JSON: &str = "application/json";

/// The page's files: path, type, content.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
];

/// Everything comes from here, and nothing goes elsewhere; data: is its empty icon and heat maps.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Sent with every answer.
const HEADERS: [(header::HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

/// How many times the limit is read and thrown away of an image that is too large: a client that is still sending
/// would take an answer before that for a broken connection.
const DISCARDED: usize = 4;

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of an image.
    pub(super) bytes: usize,
    /// For the request's head, for its body, and for the answer.
    pub(super) timeout: Duration,
}

type Answer = Response<Full<Bytes>>;

/// What all connections share.
pub(super) struct Service {
    jobs: mpsc::Sender<Job>,
    pub(super) limits: Limits,
    about: String,
    metrics: Metrics,
}

impl Service {
    pub(super) fn new(jobs: mpsc::Sender<Job>, limits: Limits, about: &Value, metrics: Metrics) -> Self {
        Self { jobs, limits, about: about.to_string(), metrics }
    }

    /// Answers a request, whatever it is.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let mut answer = self.route(request).await;
        for (name, value) in HEADERS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        self.metrics.answered(answer.status().as_u16());
        Ok(answer)
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == path) {
            return if reads { text(kind, *content) } else { wrong_method("GET, HEAD") };
        }
        match path {
            "/healthz" | "/metrics" if !reads => wrong_method("GET, HEAD"),
            "/healthz" => text(JSON, self.about.clone()),
            "/metrics" => {
                let queue = self.jobs.max_capacity();
                let waiting = queue - self.jobs.capacity();
                text("text/plain; version=0.0.4; charset=utf-8", self.metrics.text(waiting, queue))
            }
            "/predict" if request.method() != Method::POST => wrong_method("POST"),
            "/predict" => {
                let explain = match request.uri().query() {
                    None | Some("") => false,
                    Some("explain") => true,
                    Some(_) => return failure(StatusCode::BAD_REQUEST, "expected no query, or `explain`"),
                };
                match self.image(request.into_body()).await {
                    Ok(image) => self.predict(image, explain).await,
                    Err(answer) => answer,
                }
            }
            _ => failure(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    /// The bytes of an image, or what its sender is told.
    async fn image(&self, mut body: Incoming) -> Result<Bytes, Answer> {
        let Limits { bytes, timeout: time } = self.limits;
        let announced = body.size_hint().lower();
        if announced > (DISCARDED * bytes) as u64 {
            return Err(self.too_large());
        }
        let whole = match timeout(time, read(&mut body, bytes)).await {
            Err(_) => return Err(failure(StatusCode::REQUEST_TIMEOUT, "the image took too long to come in")),
            Ok(Err(_)) => return Err(failure(StatusCode::BAD_REQUEST, "the request broke off")),
            Ok(Ok(whole)) => whole,
        };
        let Some(image) = whole else {
            let _ = timeout(time, discard(&mut body, (DISCARDED - 1) * bytes)).await;
            return Err(self.too_large());
        };
        if image.is_empty() {
            return Err(failure(StatusCode::BAD_REQUEST, "expected the bytes of an image"));
        }
        Ok(image.into())
    }

    fn too_large(&self) -> Answer {
        let limit = self.limits.bytes / 1_000_000;
        let mut answer =
            failure(StatusCode::PAYLOAD_TOO_LARGE, &format!("the image is larger than {limit} MB"));
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    async fn predict(&self, image: Bytes, explain: bool) -> Answer {
        let begin = Instant::now();
        let (answer, answered) = oneshot::channel();
        match self.jobs.try_send(Job { image, explain, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return busy("too many images are waiting"),
            Err(TrySendError::Closed(_)) => return busy("the service is ending"),
        }
        let Ok(answered) = timeout(self.limits.timeout, answered).await else {
            return busy("the image did not get its turn in time");
        };
        match answered {
            Ok(Ok(prediction)) => {
                self.metrics.predicted(prediction.faces(), begin.elapsed());
                let mut answer = text(JSON, serde_json::to_string(&prediction).expect("plain data"));
                if prediction.is_failed() {
                    *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
                }
                answer
            }
            Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error),
            Err(_) => busy("the service is ending"),
        }
    }
}

/// The whole body, or nothing once it is longer than `limit`.
async fn read(body: &mut Incoming, limit: usize) -> hyper::Result<Option<Vec<u8>>> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole))
}

/// Throws up to `most` bytes of a body away.
async fn discard(body: &mut Incoming, most: usize) {
    let mut len = 0;
    while let Some(Ok(frame)) = body.frame().await {
        len += frame.data_ref().map_or(0, Bytes::len);
        if len > most {
            return;
        }
    }
}

fn text(kind: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(content.into()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn failure(status: StatusCode, error: &str) -> Answer {
    let mut answer = text(JSON, json!({ "error": error }).to_string());
    *answer.status_mut() = status;
    answer
}

fn wrong_method(allowed: &'static str) -> Answer {
    let mut answer = failure(StatusCode::METHOD_NOT_ALLOWED, &format!("expected {allowed}"));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn busy(error: &str) -> Answer {
    let mut answer = failure(StatusCode::SERVICE_UNAVAILABLE, error);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
