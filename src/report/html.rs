//! A report as one HTML page that fetches nothing.

use super::document::{Block, Document, Figure, Gallery, Image, Table};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Forbids the browser to fetch or run anything, so that a mistake here cannot let a page do it.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// Headings from which a page has a list of them.
const CONTENTS_FROM: usize = 4;

pub(super) fn render(document: &Document) -> String {
    let headings: Vec<&str> = document.blocks.iter().filter_map(heading).collect();
    let mut section = 0;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="generator" content={ "moue " (env!("CARGO_PKG_VERSION")) };
                title { (document.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    h1 { (document.title) }
                    @if headings.len() >= CONTENTS_FROM { (contents(&headings)) }
                    @for block in &document.blocks { (self::block(block, &mut section)) }
                }
                footer { "Written by moue " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

fn heading(block: &Block) -> Option<&str> {
    match block {
        Block::Heading(text) => Some(text),
        _ => None,
    }
}

fn contents(headings: &[&str]) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul { @for (i, text) in headings.iter().enumerate() { li { a href={ "#s" (i + 1) } { (text) } } } }
        }
    }
}

/// `section` counts the headings so far.
fn block(block: &Block, section: &mut usize) -> Markup {
    match block {
        Block::Heading(text) => {
            *section += 1;
            html! { h2 id={ "s" (section) } { (text) } }
        }
        Block::Text(text) => html! { p { (text) } },
        Block::Warning(text) => html! { p.warning role="note" { strong { "Note. " } (text) } },
        Block::Command(text) => html! { pre tabindex="0" { code { (text) } } },
        Block::Table(table) if table.folded => html! {
            details { summary { (table.caption) } (rows(table)) }
        },
        Block::Table(table) => rows(table),
        Block::Figure(figure) => html! { figure { (picture(figure)) figcaption { (figure.caption) } } },
        Block::Faces(gallery) => faces(gallery),
    }
}

fn rows(table: &Table) -> Markup {
    html! {
        // Wide tables scroll by themselves, also by keyboard.
        div.scroll tabindex="0" role="region" aria-label=(table.caption) {
            table {
                caption { (table.caption) }
                thead { tr { @for column in &table.columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn picture(figure: &Figure) -> Markup {
    match &figure.image {
        Image::Svg(text) => html! {
            div.chart role="img" aria-label=(figure.alt) { (PreEscaped(text.as_str())) }
        },
        Image::Png(bytes) => html! { div.sheet { img src=(png_uri(bytes)) alt=(figure.alt); } },
    }
}

fn faces(gallery: &Gallery) -> Markup {
    html! {
        figure {
            ul.faces {
                @for (face, line) in &gallery.faces {
                    li { img src=(png_uri(face)) alt={ "Face: " (line) } width="96" height="96"; span { (line) } }
                }
            }
            figcaption { (gallery.sheet.caption) }
        }
    }
}

/// A PNG file as an address that holds it whole.
pub(crate) fn png_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
