//! The command line: one file a command, each with its options and its `run`.

mod augment;
mod calibrate;
mod classifier;
mod crossval;
mod data;
mod eval;
mod examples;
mod export;
mod gradcheck;
mod model;
mod predict;
mod profile;
mod recipe;
mod report;
mod reproduce;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod stop;
mod train;

use crate::error::{Error, Result};
use crate::output::{errln, outln};
use crate::parallel::{self, Link};
use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use moue_datasets::message::excerpt;
use moue_kernels::Isa;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// Facial-expression recognition, trained on a plain CPU.
#[derive(Debug, Parser)]
#[command(name = "moue", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
    /// What the command is called.
    #[arg(skip)]
    name: String,
}

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
struct Global {
    /// Worker threads (default: all cores).
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print one JSON object on stdout, and nothing else there.
    #[arg(long, global = true)]
    json: bool,
    /// No progress and no commentary; warnings and errors stay.
    #[arg(long, global = true)]
    quiet: bool,
}

impl Cli {
    /// Checks what can be checked before any file is read.
    fn check(&self) -> Result<()> {
        match &self.command {
            Command::Crossval(args) => args.check(),
            Command::Gradcheck(args) => args.check(),
            Command::Profile(args) => args.check(),
            Command::Augment(args) => args.check(),
            Command::Report(args) => args.check(),
            Command::Reproduce(args) => args.check(),
            Command::Predict(args) => args.check(self.global.json),
            #[cfg(feature = "serve")]
            Command::Serve(_) => Ok(()),
            Command::Export(_) | Command::Import(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
            Command::Train(_) | Command::Eval(_) | Command::Calibrate(_) => Ok(()),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Args),
    Crossval(crossval::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Export(export::Args),
    Import(export::ImportArgs),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    Gradcheck(gradcheck::Args),
    Profile(profile::Args),
    Augment(augment::Args),
    Report(report::Args),
    Reproduce(reproduce::Args),
    Calibrate(calibrate::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

/// What every command is given.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) isa: Isa,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    /// The other processes, if mpirun started several, and what becomes true when they are to stop.
    pub(crate) link: Option<Arc<dyn Link>>,
    pub(crate) stop: Option<Arc<AtomicBool>>,
}

impl Context {
    /// With `--json` prints `value` alone, else what `human` says.
    pub(crate) fn print<V: serde::Serialize>(&self, value: &V, human: impl FnOnce()) {
        if self.json {
            outln!("{}", serde_json::to_string(value).expect("plain data"));
        } else {
            human();
        }
    }
}

/// Runs the command line: 0 on success, 2 on wrong usage, 130 when a signal ended it early, 1 on any other failure,
/// with one line on stderr.
pub fn main() -> ExitCode {
    let result = match parse(&mut command(), std::env::args_os()) {
        Ok(cli) => run(cli),
        // Help and version go to stdout, with status 0; help in place of a missing command to stderr, with 2.
        Err(error) if is_help(&error) => error.exit(),
        Err(error) => Err(Error::Usage(complaint(error))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where mpirun started several processes, they all came to the same. Pictures have had a line each.
            if parallel::is_first() && !matches!(error, Error::NoPicture) {
                errln!("moue: {error}");
            }
            ExitCode::from(status(&error))
        }
    }
}

fn status(error: &Error) -> u8 {
    match error {
        Error::Usage(_) => 2,
        Error::Interrupted(_) => 130,
        _ => 1,
    }
}

fn parse(command: &mut clap::Command, args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut matches = command.try_get_matches_from_mut(args)?;
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    Ok(Cli { name, ..Cli::from_arg_matches_mut(&mut matches)? })
}

/// Whether this is no mistake, but a wish for help.
fn is_help(error: &clap::Error) -> bool {
    !error.use_stderr() || error.kind() == DisplayHelpOnMissingArgumentOrSubcommand
}

/// What is wrong with the usage, without the reminder of the right one that clap appends.
fn complaint(mut error: clap::Error) -> String {
    // Here and not in the text that comes of it: an argument may hold lines that look like clap's own.
    let quoted: Vec<(ContextKind, String)> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, excerpt(text))),
            _ => None,
        })
        .collect();
    for (kind, text) in quoted {
        error.insert(kind, ContextValue::String(text));
    }
    let message = error.to_string();
    let lines = message.lines().map(str::trim).take_while(|line| !line.starts_with("Usage: "));
    let lines: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// Runs inside a pool of its own: workers that the step's tasks are pushed to directly cost no allocation.
fn run(cli: Cli) -> Result<()> {
    cli.check()?;
    let isa = Isa::from_env().map_err(Error::Usage)?;
    let stop = Arc::new(AtomicBool::new(false));
    let launch = parallel::start(&cli.name, &stop)?;
    if launch.is_some() {
        stop::stop_on_signals(&stop);
    }
    let context = Context {
        isa,
        json: cli.global.json,
        quiet: cli.global.quiet || !parallel::is_first(),
        link: launch.as_ref().map(|launch| launch.link().clone()),
        stop: launch.as_ref().map(|_| stop),
    };
    let threads = cli.global.threads.map_or(0, usize::from);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::Usage(format!("--threads {threads}: {e}")))?;
    let result = pool.install(|| match cli.command {
        Command::Train(args) => train::run(args, &context),
        Command::Crossval(args) => crossval::run(args, &context),
        Command::Eval(args) => eval::run(args, &context),
        Command::Predict(args) => predict::run(args, &context),
        Command::Export(args) => export::run(args, &context),
        Command::Import(args) => export::import(args, &context),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args, &context),
        Command::Gradcheck(args) => gradcheck::run(args, &context),
        Command::Profile(args) => profile::run(args, &context),
        Command::Augment(args) => augment::run(args, &context),
        Command::Report(args) => report::run(args, &context),
        Command::Reproduce(args) => reproduce::run(args, &context),
        Command::Calibrate(args) => calibrate::run(args, &context),
        Command::Completions(args) => shell::completions(args, &context),
        Command::Man(args) => shell::man(args, &context),
    });
    match (&result, &launch) {
        // What all processes know of, so that all of them end here.
        (Ok(()) | Err(Error::Interrupted(_) | Error::Disagreement), _) | (_, None) => result,
        (Err(error), Some(launch)) => {
            // What is everybody's error is the first one's to tell, and that ends the others.
            if !parallel::is_first() {
                thread::sleep(Duration::from_secs(1));
            }
            errln!("moue: rank {}: {error}", launch.link().rank());
            launch.abort(status(error).into())
        }
    }
}

/// Parses an option's value.
fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or("expected a whole number above 0".to_owned())
}

/// Parses an option's value.
fn positive(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && *x > 0.0)
        .ok_or("expected a number above 0".to_owned())
}

/// Parses an option's value.
fn not_negative(text: &str) -> std::result::Result<f64, String> {
    let fits = |x: &f64| x.is_finite() && *x >= 0.0;
    text.parse().ok().filter(fits).ok_or("expected a number of 0 or more".to_owned())
}

/// What the command line makes of arguments (without the program's name) before it reads any file: nothing if they are
/// right or ask for help, else its message.
pub(crate) fn complaint_of(
    command: &mut clap::Command,
    args: impl Iterator<Item = OsString>,
) -> Option<String> {
    let args = std::iter::once("moue".into()).chain(args);
    match parse(command, args) {
        Ok(cli) => cli.check().err().map(|error| error.to_string()),
        Err(error) if is_help(&error) => None,
        Err(error) => Some(Error::Usage(complaint(error)).to_string()),
    }
}

/// The whole command line; made once, as that takes longer than parsing.
pub(crate) fn command() -> clap::Command {
    with_negative_numbers(examples::added(Cli::command()))
}

/// Every option takes `-1` as its value, so that a wrong one is refused by the option's name, and not as an option that
/// there is not.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = command.mut_args(|arg| {
        let takes = arg.get_action().takes_values();
        if takes { arg.allow_negative_numbers(true) } else { arg }
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_negative_numbers))
}
