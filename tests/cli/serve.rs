//! `moue serve`, spoken to in plain HTTP.

use crate::harness::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use moue::datasets::{SIDE, Split, synthetic};
use serde_json::Value;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running service; killed if a test ends before it.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An answer's status, head and body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.to_lowercase().starts_with(&header.to_lowercase()))
    }
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let weights = best();
        let arguments = ["serve", "--weights", text(&weights), "--port", "0", "--json"];
        let mut child = moue(&[&arguments, options].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = serde_json::from_str::<Value>(&line).unwrap()["address"].as_str().unwrap().to_owned();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, method, path, body);
        answer(stream)
    }

    /// Sends a signal and tells how the service ended.
    fn stop(mut self, signal: &str) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

fn send(stream: &mut TcpStream, method: &str, path: &str, body: &[u8]) {
    let len = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: moue\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

/// All that comes until the service closes the connection.
fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => {}
    }
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes.split_off(end + 4) }
}

fn face() -> Vec<u8> {
    let faces = synthetic::faces(0, Split::Test, 1).unwrap();
    let side = SIDE as u32;
    let mut png = Cursor::new(Vec::new());
    let image = image::GrayImage::from_raw(side, side, faces.face(3).to_vec()).unwrap();
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

#[test]
fn an_image_is_answered_as_predict_does() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("face.png");
    std::fs::write(&path, face()).unwrap();
    let told = json(&["predict", "--weights", text(&best()), text(&path)]);
    let answer = server.ask("POST", "/predict", &face());
    assert_eq!(answer.status, 200, "{}", answer.head);
    assert!(
        answer.has("content-type: application/json")
            && answer.has("content-security-policy: default-src 'none'")
    );
    assert_eq!(answer.json()["faces"], told["results"][0]["faces"]);
    assert_eq!(answer.json()["error"], Value::Null);

    // With heat maps: the same, and a picture of three panels.
    let explained = server.ask("POST", "/predict?explain", &face()).json();
    assert_eq!(explained["faces"][0]["probabilities"], answer.json()["faces"][0]["probabilities"]);
    let picture = explained["faces"][0]["explanation"].as_str().unwrap();
    let png = STANDARD.decode(picture.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
    let picture = image::load_from_memory(&png).unwrap();
    assert!(picture.width() > 2 * picture.height(), "{} x {}", picture.width(), picture.height());
    assert_eq!(server.ask("POST", "/predict?explode", &face()).status, 400);

    let health = server.ask("GET", "/healthz", b"");
    assert_eq!((health.status, health.json()["model"].clone()), (200, "dnn-cbam".into()));
    for (path, kind) in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let page = server.ask("GET", path, b"");
        assert!(page.status == 200 && page.has(&format!("content-type: {kind}")), "{path}: {}", page.head);
    }
    let page = String::from_utf8(server.ask("GET", "/", b"").body).unwrap();
    assert!(!page.contains("onclick") && !page.contains("http"), "nothing inline, nothing from elsewhere");
    assert!(server.ask("HEAD", "/", b"").body.is_empty());
    let metrics = String::from_utf8(server.ask("GET", "/metrics", b"").body).unwrap();
    assert!(metrics.contains("moue_predict_seconds_count 2\n"), "{metrics}");
    assert!(metrics.contains("moue_answers_total{status=\"200\"}"), "{metrics}");
}

#[test]
fn bad_requests_are_told_apart() {
    let server = Server::start(&["--max-mb", "1", "--timeout", "1"]);
    let broken = &face()[..300];
    for (method, path, body, status) in [
        ("POST", "/predict", b"These are words, not an image.".to_vec(), 422),
        ("POST", "/predict", broken.to_vec(), 422),
        ("POST", "/predict", Vec::new(), 400),
        ("GET", "/predict", Vec::new(), 405),
        ("POST", "/", Vec::new(), 405),
        ("DELETE", "/metrics", Vec::new(), 405),
        ("GET", "/../../etc/passwd", Vec::new(), 404),
        ("POST", "/predict", vec![0; 1_000_001], 413),
        ("POST", "/predict", vec![0; 3_000_000], 413),
    ] {
        let answer = server.ask(method, path, &body);
        assert_eq!(answer.status, status, "{method} {path} with {} bytes", body.len());
        assert!(answer.json()["error"].is_string());
        assert_eq!(answer.has("allow: "), status == 405, "{}", answer.head);
    }
    // Announced, and far too large: nobody waits for it.
    let mut stream = server.connect();
    write!(stream, "POST /predict HTTP/1.1\r\nHost: moue\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
    assert_eq!(answer(stream).status, 413);
    // Chunks without an end, of no announced size.
    let mut stream = server.connect();
    write!(stream, "POST /predict HTTP/1.1\r\nHost: moue\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [&b"10000\r\n"[..], &[0; 0x10000], b"\r\n"].concat();
    while stream.write_all(&chunk).is_ok() {}
    // No HTTP at all.
    let mut stream = server.connect();
    stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    assert_eq!(answer(stream).status, 400);
    assert_eq!(server.ask("POST", "/predict", &face()).status, 200, "and it still works");
}

/// Clients that stop in the middle do not keep their connection.
#[test]
fn slow_clients_are_given_up() {
    let server = Server::start(&["--timeout", "1"]);
    let body = "POST /predict HTTP/1.1\r\nHost: moue\r\nContent-Length: 1000\r\n\r\n123";
    for (begin, answer) in [("POST /pre", ""), (body, "HTTP/1.1 408")] {
        let mut stream = server.connect();
        let start = Instant::now();
        stream.write_all(begin.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "closed after {:?}", start.elapsed());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with(answer) && text.is_empty() == answer.is_empty(), "{text}");
    }
    assert_eq!(server.ask("POST", "/predict", &face()).status, 200);
}

/// With more images than may wait, some are turned away at once and told when to come again; the others are right.
#[test]
fn a_full_queue_turns_images_away() {
    let server = Server::start(&["--queue", "1"]);
    // Large enough that decoding takes a while.
    let mut png = Cursor::new(Vec::new());
    image::GrayImage::new(3000, 3000).write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let ask = || server.ask("POST", "/predict", &png);
        let all: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let right: Vec<&Answer> = answers.iter().filter(|a| a.status == 200).collect();
    let away: Vec<&Answer> = answers.iter().filter(|a| a.status == 503).collect();
    assert_eq!(right.len() + away.len(), 24);
    assert!(!right.is_empty() && !away.is_empty(), "{} answered", right.len());
    assert!(right.iter().all(|a| a.body == right[0].body));
    assert!(away.iter().all(|a| a.has("retry-after: 1")));
}

/// A signal ends the service with status 0 once requests under way are answered; idle connections do not delay it.
#[test]
fn signals_end_it_after_the_last_answer() {
    for signal in ["-TERM", "-INT"] {
        let server = Server::start(&[]);
        let idle = server.connect();
        let mut late = server.connect();
        let body = face();
        let head = format!("POST /predict HTTP/1.1\r\nHost: moue\r\nContent-Length: {}\r\n\r\n", body.len());
        late.write_all(head.as_bytes()).unwrap();
        late.write_all(&body[..100]).unwrap();
        // Both connections are accepted and the request has begun.
        assert_eq!(server.ask("GET", "/healthz", b"").status, 200);
        thread::sleep(Duration::from_millis(200));
        let rest = thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            late.write_all(&body[100..]).unwrap();
            answer(late)
        });
        assert_eq!(server.stop(signal), Some(0), "{signal}");
        assert_eq!(rest.join().unwrap().status, 200);
        drop(idle);
    }
}

#[test]
fn a_taken_port_is_named() {
    let server = Server::start(&[]);
    let port = server.address.rsplit(':').next().unwrap();
    let message = failure(&["serve", "--weights", text(&best()), "--port", port], 1);
    assert!(message.contains(&format!("--port {port}")), "{message}");
    let message = failure(&["serve", "--weights", text(&best()), "--bind", "everywhere"], 2);
    assert!(message.contains("--bind"), "{message}");
}
