//! Printing that does not panic: `println!` does when the reader has gone away, as in `moue profile step | head -1`.

use moue_datasets::message::one_line;
use serde::Serializer;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process;

/// Exit status of a command whose reader has gone away: what a shell shows for one that SIGPIPE ended.
const BROKEN_PIPE: i32 = 128 + 13;

/// Writes to stdout. Nobody needs the rest of a command that cannot be read: it ends here, quietly if the reader has
/// gone away, with status 1 and the reason if the text cannot be written otherwise (a full disk).
pub(crate) fn write_out(text: Arguments<'_>) {
    if let Err(error) = io::stdout().lock().write_fmt(text) {
        if error.kind() == ErrorKind::BrokenPipe {
            process::exit(BROKEN_PIPE);
        }
        write_err(format_args!("moue: stdout: {error}"));
        process::exit(1);
    }
}

/// Writes one line to stderr, whatever foreign text is in it; where stderr is closed, there is nobody to tell.
pub(crate) fn write_err(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", one_line(text));
}

/// As one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./+-=:@%".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A path in JSON, which knows Unicode alone.
pub(crate) fn lossily<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// `print!` that does not panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::write_out(format_args!($($text)*)) };
}

/// `println!` that does not panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::write_out(format_args!("{}\n", format_args!($($text)*))) };
}

/// `eprintln!` that does not panic, for one line.
macro_rules! errln {
    ($($text:tt)*) => { $crate::output::write_err(format_args!($($text)*)) };
}

pub(crate) use {errln, out, outln};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_are_quoted_where_they_must_be() {
        assert_eq!(quoted("/data/fer2013"), "/data/fer2013");
        assert_eq!(quoted("my 'own' data"), r"'my '\''own'\'' data'");
    }
}
