//! What people see while a run works: lines and a progress bar on stderr.

use super::{Progress, Tally};
use crate::output::errln;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use moue_datasets::message::one_line;
use std::time::{Duration, Instant};

/// Time between two updates of the bar: writing text is cheap, but not free.
const INTERVAL: Duration = Duration::from_millis(200);

/// Lines and a bar on stderr; the bar only if that is a terminal.
#[derive(Debug)]
pub(super) struct Console {
    quiet: bool,
    bar: ProgressBar,
    updated: Instant,
}

impl Console {
    /// For a run of `steps` steps of which `done` are done.
    pub(super) fn new(quiet: bool, steps: u64, done: u64) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_position(done);
        let style = ProgressStyle::with_template("{bar:20} {percent:>3} % {msg}, {eta} left");
        bar.set_style(style.expect("a valid template"));
        bar.reset_eta();
        Self { quiet, bar, updated: Instant::now() }
    }

    /// Says a line.
    pub(super) fn say(&self, line: &str) {
        if self.quiet {
        } else if self.bar.is_hidden() {
            errln!("{line}");
        } else {
            self.bar.println(one_line(line));
        }
    }

    /// Shows where the run is.
    pub(super) fn show(&mut self, progress: &Progress, epochs: u64) {
        if self.bar.is_hidden() || self.updated.elapsed() < INTERVAL {
            return;
        }
        self.updated = Instant::now();
        let tally: &Tally = if progress.tally.images > 0 { &progress.tally } else { &progress.last };
        self.bar.set_position(progress.step);
        self.bar.set_message(format!(
            "epoch {}/{epochs}: loss {:.3}, train {:.1} %, {:.0} images/s",
            (progress.epoch + 1).min(epochs),
            tally.mean_loss(),
            100.0 * tally.accuracy(),
            tally.speed(),
        ));
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
