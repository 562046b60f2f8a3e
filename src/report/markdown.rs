//! A report as Markdown, with its pictures in files beside it.

use super::document::{Block, Document, Figure, Table};
use std::fmt::Write;

/// The last line of every report: what is without it is someone's own.
pub(super) const MARK: &str = "<!-- report by moue -->";

/// `stem` is the file's name without extension, which its pictures' names begin with.
pub(super) fn render(document: &Document, stem: &str) -> String {
    let mut text = format!("# {}\n", escaped(&document.title));
    for block in &document.blocks {
        let part = match block {
            Block::Heading(heading) => format!("## {}", escaped(heading)),
            Block::Text(paragraph) => escaped(paragraph),
            Block::Warning(warning) => format!("> **Note.** {}", escaped(warning)),
            Block::Command(command) => fenced(command),
            Block::Table(rows) => table(rows),
            Block::Figure(figure) => picture(figure, stem),
            Block::Faces(gallery) => {
                let lines = gallery.faces.iter().enumerate();
                let lines: Vec<String> =
                    lines.map(|(i, (_, line))| format!("{}. {}", i + 1, escaped(line))).collect();
                format!("{}\n\n{}", picture(&gallery.sheet, stem), lines.join("\n"))
            }
        };
        write!(text, "\n{part}\n").expect("strings take everything");
    }
    text + "\n" + MARK + "\n"
}

fn table(table: &Table) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("| {} |", cells.join(" | "))
    };
    let rule = format!("| {} |", vec!["---"; table.columns.len()].join(" | "));
    let mut lines =
        vec![format!("**{}**", escaped(&table.caption)), String::new(), line(&table.columns), rule];
    lines.extend(table.rows.iter().map(|row| line(row)));
    lines.join("\n")
}

fn picture(figure: &Figure, stem: &str) -> String {
    format!("![{}](<{}>)\n\n{}", escaped(&figure.alt), figure.file(stem), escaped(&figure.caption))
}

/// As code, between fences that it does not hold.
fn fenced(code: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}\n{code}\n{fence}")
}

/// With a backslash before what would be read as markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '&' | '~') {
            out.push('\\');
        }
        out.push(if c == '\n' { ' ' } else { c });
    }
    out
}
