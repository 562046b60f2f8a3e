//! What happened so far, in Prometheus's text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

/// Upper bounds of the histogram's buckets, in seconds.
const BOUNDS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Answers by status.
    answers: BTreeMap<u16, u64>,
    faces: u64,
    /// Predictions by the first bound that they did not exceed; the last: those that exceeded all.
    taken: [u64; BOUNDS.len() + 1],
    seconds: f64,
}

impl Metrics {
    fn with<R>(&self, f: impl FnOnce(&mut Counts) -> R) -> R {
        f(&mut self.0.lock().expect("nothing panics while it holds the lock"))
    }

    /// Counts an answer.
    pub(super) fn answered(&self, status: u16) {
        self.with(|counts| *counts.answers.entry(status).or_default() += 1);
    }

    /// Counts a prediction of some faces, and how long it took from the whole image to the answer.
    pub(super) fn predicted(&self, faces: usize, taken: Duration) {
        let seconds = taken.as_secs_f64();
        self.with(|counts| {
            counts.faces += faces as u64;
            counts.seconds += seconds;
            counts.taken[BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        });
    }

    /// The text; `waiting` images of at most `queue`.
    pub(super) fn text(&self, waiting: usize, queue: usize) -> String {
        self.with(|counts| {
            let answers = counts.answers.iter().map(|(status, n)| (format!("{{status=\"{status}\"}}"), n));
            let plain = |n: usize| [(String::new(), n)];
            [
                metric("moue_answers_total", "counter", "Answers by HTTP status.", answers),
                metric("moue_faces_total", "counter", "Faces classified.", plain(counts.faces as usize)),
                counts.histogram(),
                metric("moue_queue_images", "gauge", "Images that wait.", plain(waiting)),
                metric("moue_queue_limit", "gauge", "Images that may wait.", plain(queue)),
            ]
            .concat()
        })
    }
}

impl Counts {
    fn histogram(&self) -> String {
        let mut sum = 0;
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut rows: Vec<(String, f64)> = bounds
            .zip(self.taken)
            .map(|(bound, count)| {
                sum += count;
                (format!("_bucket{{le=\"{bound}\"}}"), sum as f64)
            })
            .collect();
        rows.extend([("_sum".to_owned(), self.seconds), ("_count".to_owned(), sum as f64)]);
        metric("moue_predict_seconds", "histogram", "Time from a whole image to its answer.", rows)
    }
}

/// A metric with its values, each behind what follows the name.
fn metric<V: Display>(
    name: &str,
    kind: &str,
    help: &str,
    values: impl IntoIterator<Item = (String, V)>,
) -> String {
    let rows: String = values.into_iter().map(|(end, value)| format!("{name}{end} {value}\n")).collect();
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        metrics.answered(200);
        metrics.answered(503);
        metrics.answered(200);
        for (faces, milliseconds) in [(1, 1), (2, 2), (0, 20_000)] {
            metrics.predicted(faces, Duration::from_millis(milliseconds));
        }
        let text = metrics.text(3, 32);
        for line in [
            "# TYPE moue_answers_total counter",
            "moue_answers_total{status=\"200\"} 2",
            "moue_answers_total{status=\"503\"} 1",
            "moue_faces_total 3",
            "moue_predict_seconds_bucket{le=\"0.001\"} 1",
            "moue_predict_seconds_bucket{le=\"0.003\"} 2",
            "moue_predict_seconds_bucket{le=\"10\"} 2",
            "moue_predict_seconds_bucket{le=\"+Inf\"} 3",
            "moue_predict_seconds_sum 20.003",
            "moue_predict_seconds_count 3",
            "moue_queue_images 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
