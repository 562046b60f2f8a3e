//! `moue predict`: inputs come from a thread of their own, are recognised some at a time, and told at once.

mod draw;
mod explained;
mod frames;
mod inputs;
mod pictures;
mod recognise;
mod report;
mod seal;
#[cfg(feature = "serve")]
mod service;
mod watch;

use super::classifier::ClassifierArgs;
use super::{Context, stop::stop_signal};
use crate::error::{Error, Result};
use crate::faces::{Detector, Finder, Mode, Tracker};
use crate::output::errln;
#[cfg(feature = "serve")]
pub(super) use explained::Explained;
use frames::Pixels;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use inputs::Item;
use moue_datasets::message::shown;
use pictures::Pictures;
#[cfg(feature = "serve")]
pub(super) use recognise::Prediction;
pub(super) use recognise::Recogniser;
use report::{Format, Report};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Pictures that are recognised together: enough faces for the network's batches, few enough that results come soon
/// and that folders of any size take little memory.
const CHUNK: usize = 32;

/// Weight of the past without `--smooth`.
const SMOOTH: f32 = 0.7;

/// Tell the expression of faces.
///
/// Faces are found in photos, as many as there are; a small square picture in which none is found is taken for a face,
/// and so is one of up to 48 x 48 pixels. Boxes are x, y, width, height in pixels of the upright picture. A photo
/// without a face is no error. Files that cannot be read are reported and left out; the exit status is 1 only if
/// nothing could be read.
///
/// `moue predict --annotate seen photos/ 'more/*.jpg'` looks through a folder and a pattern and leaves
/// copies with boxes in `seen`; `ffmpeg -i film.mp4 -f mjpeg - | moue predict --frames mjpeg` follows the
/// faces of a film.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Pictures, folders to search for them, quoted patterns such as 'photos/*.jpg', or - for a picture on stdin.
    #[arg(required_unless_present_any = ["files_from", "watch", "frames"], value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read more paths from a file, one a line (- for stdin).
    #[arg(long, value_name = "LIST")]
    files_from: Option<PathBuf>,
    #[command(flatten)]
    classifier: ClassifierArgs,
    /// What a picture is taken for.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Mode::Auto)]
    face: Mode,
    /// Longer side in pixels of the copy in which faces are searched; a face must have 40 of its pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=2048))]
    detail: u32,
    /// Print CSV, one row a face.
    #[arg(long)]
    csv: bool,
    /// Write copies of the pictures with boxes, labels and probabilities into this folder.
    #[arg(long, value_name = "DIR")]
    annotate: Option<PathBuf>,
    /// Write a picture for each face that shows what its label rests on into this folder.
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    /// Layer of the network whose maps are shown [default: the last one of at least 12 x 12 places].
    #[arg(long, value_name = "NAME", requires = "explain")]
    explain_layer: Option<String>,
    /// Recognise the pictures that appear in this folder until interrupted; JSON is one object a line.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["paths", "files_from", "frames"])]
    watch: Option<PathBuf>,
    /// Recognise a film's frames on stdin as they come: mjpeg, gray:WIDTHxHEIGHT or rgb24:WIDTHxHEIGHT, as ffmpeg
    /// writes them; JSON is one object a line.
    #[arg(long, value_name = "FORMAT", conflicts_with_all = ["paths", "files_from", "annotate", "explain"])]
    frames: Option<Pixels>,
    /// Weight of the past, 0 to less than 1, in the probabilities of each face through the frames [default: 0.7].
    #[arg(long, value_name = "S", value_parser = weight_of_the_past)]
    smooth: Option<f32>,
}

impl Args {
    /// Checks what can be checked before any file is read.
    pub(super) fn check(&self, json: bool) -> Result<()> {
        if self.csv && json {
            return Err(Error::Usage("--csv and --json exclude each other".to_owned()));
        }
        // Clap asks for no missing option where another one excludes it.
        if self.smooth.is_some() && self.frames.is_none() {
            return Err(Error::Usage("--smooth goes with --frames".to_owned()));
        }
        let listed = self.files_from.as_deref().into_iter();
        let readers =
            self.paths.iter().map(PathBuf::as_path).chain(listed).filter(|path| inputs::is_stdin(path));
        match readers.count() {
            0 | 1 => Ok(()),
            n => Err(Error::Usage(format!("stdin (-) can be read once, not {n} times"))),
        }
    }

    fn finder(&self) -> Finder {
        let detector = Detector { longest: self.detail, ..Detector::default() };
        Finder { mode: self.face, detector, ..Finder::default() }
    }

    fn is_live(&self) -> bool {
        self.watch.is_some() || self.frames.is_some()
    }

    fn format(&self, json: bool) -> Format {
        match (json, self.csv) {
            (true, _) if self.is_live() => Format::JsonLines,
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Text,
        }
    }
}

pub(super) fn run(args: Args, context: &Context) -> Result<()> {
    let classifier = args.classifier.load(context)?;
    let mut report = Report::new(args.format(context.json), classifier.classes());
    let pictures = Pictures::new(&args, &classifier, context)?;
    let mut recogniser = Recogniser { classifier, finder: args.finder() };
    let tracker = args.frames.is_some().then(|| Tracker::new(args.smooth.unwrap_or(SMOOTH)));
    let source = Source::open(&args, &pictures.folders()?, context)?;
    report.begin();
    let told = tell(source, &mut recogniser, tracker, &mut report, pictures);
    // After an error, too: what was told until then is whole.
    report.finish();
    let told = told?;
    if told.pictures > 0 && told.failed == told.pictures && args.watch.is_none() {
        return Err(Error::NoPicture);
    }
    Ok(())
}

/// Where pictures come from.
struct Source {
    items: Receiver<Item>,
    /// Most of them that are recognised together.
    chunk: usize,
    bar: ProgressBar,
}

impl Source {
    /// Pictures in the folders `written` are not looked for: they are those of an earlier call.
    fn open(args: &Args, written: &[PathBuf], context: &Context) -> Result<Self> {
        let bar = |total: Option<usize>| progress(total.filter(|_| !context.quiet));
        if let Some(pixels) = args.frames {
            // As many as can be looked at side by side; more in store would only be late.
            let chunk = rayon::current_num_threads();
            return Ok(Self::feed(frames::items(pixels, std::io::stdin()), chunk, bar(None)));
        }
        if let Some(folder) = &args.watch {
            let appearing = watch::Appearing::new(folder, stop_signal())?;
            if !context.quiet {
                errln!("watching {}", shown(folder));
            }
            return Ok(Self::feed(appearing, CHUNK, bar(None)));
        }
        let items: Vec<Item> = args.paths.iter().flat_map(|path| inputs::expand(path, written)).collect();
        let total = args.files_from.is_none().then_some(items.len());
        let listed = args.files_from.as_deref().map(|list| inputs::listed(list, written)).transpose()?;
        Ok(Self::feed(items.into_iter().chain(listed.into_iter().flatten()), CHUNK, bar(total)))
    }

    /// Reads ahead in a thread of its own, so that what is there already is recognised while more is waited for.
    fn feed(items: impl Iterator<Item = Item> + Send + 'static, chunk: usize, bar: ProgressBar) -> Self {
        let (sender, receiver) = sync_channel(chunk);
        thread::spawn(move || {
            for item in items {
                if sender.send(item).is_err() {
                    break;
                }
            }
        });
        Self { items: receiver, chunk, bar }
    }

    /// The next items: all that are there, at least one; none at the end.
    fn next(&self) -> Vec<Item> {
        let first = self.items.recv().ok();
        let more = self.items.try_iter().take(self.chunk - 1);
        first.map_or_else(Vec::new, |first| std::iter::once(first).chain(more).collect())
    }
}

/// A bar on stderr if that is a terminal and there is something to wait for.
fn progress(total: Option<usize>) -> ProgressBar {
    let Some(total) = total.filter(|total| *total > CHUNK) else { return ProgressBar::hidden() };
    let style =
        ProgressStyle::with_template("{bar:20} {pos}/{len} pictures, {eta} left").expect("a valid template");
    ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr()).with_style(style)
}

/// How many pictures there were.
#[derive(Default)]
struct Told {
    pictures: usize,
    failed: usize,
}

/// Recognises and tells everything.
fn tell(
    source: Source,
    recogniser: &mut Recogniser,
    mut tracker: Option<Tracker>,
    report: &mut Report,
    mut pictures: Pictures,
) -> Result<Told> {
    let mut told = Told::default();
    loop {
        let items = source.next();
        if items.is_empty() {
            break;
        }
        let mut predictions = recogniser.recognise(&items)?;
        if let Some(tracker) = &mut tracker {
            let classes = recogniser.classifier.classes();
            predictions.iter_mut().for_each(|prediction| prediction.smooth(tracker, classes));
        }
        source.bar.suspend(|| {
            for prediction in &predictions {
                if let Some(error) = &prediction.error {
                    errln!("moue: {}: {error}", prediction.name());
                }
                report.tell(prediction);
            }
        });
        told.failed += predictions.iter().filter(|prediction| prediction.error.is_some()).count();
        pictures.write(&items, &predictions)?;
        told.pictures += items.len();
        source.bar.inc(items.len() as u64);
    }
    source.bar.finish_and_clear();
    Ok(told)
}

/// Parses an option's value.
fn weight_of_the_past(text: &str) -> std::result::Result<f32, String> {
    let weight = text.parse().ok().filter(|x| (0.0..1.0).contains(x));
    weight.ok_or("expected a number from 0 to less than 1".to_owned())
}
