//! Foreign text in messages: names, fields and decoders' words go through here, so that a message is one line of
//! bounded length whatever a file or an argument holds.

use std::fmt::{Display, Write};
use std::path::Path;

/// Most characters of a whole message.
pub const LONGEST: usize = 2000;

/// Most characters of a path.
const PATH: usize = 400;

/// Most characters of a reason.
const REASON: usize = 1000;

/// Most characters of a piece of text that a file or an argument gave.
const EXCERPT: usize = 200;

/// `text` as one line of at most [`LONGEST`] characters.
pub fn one_line(text: impl Display) -> String {
    shortened(text, LONGEST)
}

/// `text` as one line of at most 200 characters, for texts that someone else wrote.
pub fn excerpt(text: impl Display) -> String {
    shortened(text, EXCERPT)
}

/// `text` as one line of at most 1000 characters, for reasons that quote more than one text.
pub fn reason(text: impl Display) -> String {
    shortened(text, REASON)
}

/// `path` as one line of at most 400 characters, and `""` for an empty one.
pub fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { "\"\"".to_owned() } else { shortened(path.display(), PATH) }
}

/// Escapes what would end the line or change how it is read, and leaves out the middle of what is too long.
fn shortened(text: impl Display, longest: usize) -> String {
    let text = text.to_string();
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_disturbing(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    let length = line.chars().count();
    if length <= longest {
        return line;
    }
    // Start and end: an option's name may stand behind its value, a file's name stands behind its folders.
    let kept = (longest - 30) / 2;
    let at = |i| line.char_indices().nth(i).map_or(line.len(), |(at, _)| at);
    let mut short = line[..at(kept)].to_owned();
    write!(short, "[{} characters]", length - 2 * kept).expect("strings take everything");
    short.push_str(&line[at(length - kept)..]);
    short
}

/// Control characters, the other line ends of Unicode, and what reverses the direction of writing.
fn is_disturbing(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_or_turns_a_line_is_escaped() {
        assert_eq!(
            one_line("a\nb\r\u{1b}[31m\u{85}\u{2028}\u{202e}c"),
            r"a\nb\r\u{1b}[31m\u{85}\u{2028}\u{202e}c"
        );
        assert_eq!(one_line("caf\u{e9} `\u{1f642}` \\ 'x'"), "caf\u{e9} `\u{1f642}` \\ 'x'");
    }

    #[test]
    fn long_texts_keep_start_and_end() {
        assert_eq!(excerpt("\u{e9}".repeat(200)), "\u{e9}".repeat(200));
        for (text, end) in [("\u{e9}".repeat(201), "\u{e9}"), ("\n".repeat(9000), "\\n")] {
            let short = excerpt(format!("start {text}"));
            assert!(short.starts_with("start ") && short.ends_with(end), "{short}");
            assert!(
                (170..=200).contains(&short.chars().count()) && short.contains(" characters]"),
                "{short}"
            );
        }
        assert!(one_line("x".repeat(1 << 20)).len() <= LONGEST);
        assert!(shown(Path::new(&"x/".repeat(2000))).len() <= 400);
        assert_eq!(shown(Path::new("")), "\"\"");
    }
}
