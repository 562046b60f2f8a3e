//! A report as a list of blocks, which is written as one HTML page and as Markdown with pictures beside it.

use super::{html, markdown};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use image::{ImageBuffer, ImageFormat, PixelWithColorType};
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// A report. Texts are plain: what has a meaning in HTML or Markdown is escaped when it is written.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Heading of the whole.
    pub title: String,
    /// What it consists of.
    pub blocks: Vec<Block>,
}

/// A part of a report.
#[derive(Clone, Debug)]
pub enum Block {
    /// Heading of the blocks that follow.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// What must not be overlooked.
    Warning(String),
    /// A command to type.
    Command(String),
    /// Rows and columns.
    Table(Table),
    /// A chart or a sheet of faces.
    Figure(Figure),
    /// Faces, each with a line of its own; beside the page, one sheet of them.
    Faces(Gallery),
}

/// A table; the first cell of each row is its heading.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// Rows, as long as `columns`.
    pub rows: Vec<Vec<String>>,
    /// Shown on demand: a chart says the same.
    pub folded: bool,
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Part of the file's name.
    pub name: &'static str,
    /// What is to be seen, for those who cannot.
    pub alt: String,
    /// What it shows.
    pub caption: String,
    /// Its content.
    pub image: Image,
}

/// Content of a picture.
#[derive(Clone, Debug)]
pub enum Image {
    /// SVG text.
    Svg(String),
    /// A PNG file.
    Png(Vec<u8>),
}

/// Single faces.
#[derive(Clone, Debug)]
pub struct Gallery {
    /// All of them in one picture, in the order of `faces`.
    pub sheet: Figure,
    /// A PNG file and what it shows, each.
    pub faces: Vec<(Vec<u8>, String)>,
}

impl Document {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    /// Adds a paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Text(text.into()));
    }

    /// Adds a warning.
    pub fn warning(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Warning(text.into()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.blocks.push(Block::Table(table));
    }

    /// Adds a picture.
    pub fn figure(&mut self, figure: Figure) {
        self.blocks.push(Block::Figure(figure));
    }

    fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Figure(figure) => Some(figure),
            Block::Faces(gallery) => Some(&gallery.sheet),
            _ => None,
        })
    }

    /// Checks that a report at `page` replaces nothing but an earlier one.
    ///
    /// # Errors
    /// [`Error::Format`] where `NAME.md` is someone's own.
    pub fn check(page: &Path) -> Result<()> {
        let markdown = page.with_extension("md");
        let own = |text: Vec<u8>| !text.trim_ascii_end().ends_with(markdown::MARK.as_bytes());
        if !page.exists() && fs::read(&markdown).is_ok_and(own) {
            let reason = "is no earlier report's, and a new one would replace it: move it away, or choose another --out";
            return Err(Error::format(&markdown, reason));
        }
        Ok(())
    }

    /// Writes the page at `page` (`NAME.html`), and beside it `NAME.md` and the pictures, `NAME-PICTURE.svg` or
    /// `.png`. The page needs none of them.
    ///
    /// # Errors
    /// As [`Self::check`]; [`Error::Io`] with the file that cannot be written.
    pub fn save(&self, page: &Path) -> Result<()> {
        Self::check(page)?;
        let markdown = page.with_extension("md");
        let folder = page.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let stem = page.file_stem().unwrap_or_default().to_string_lossy();
        for figure in self.figures() {
            write_atomically(&folder.join(figure.file(&stem)), figure.image.bytes())?;
        }
        write_atomically(&markdown, markdown::render(self, &stem).as_bytes())?;
        write_atomically(page, html::render(self).as_bytes())
    }
}

impl Figure {
    /// Name of its file beside the page `stem`.
    pub(super) fn file(&self, stem: &str) -> String {
        let extension = match self.image {
            Image::Svg(_) => "svg",
            Image::Png(_) => "png",
        };
        format!("{stem}-{}.{extension}", self.name)
    }
}

impl Image {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Svg(text) => text.as_bytes(),
            Self::Png(bytes) => bytes,
        }
    }
}

impl Table {
    /// A table with this caption and these columns.
    pub fn new(caption: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&c| c.to_owned()).collect();
        Self { caption: caption.into(), columns, rows: Vec::new(), folded: false }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

/// `picture` as a PNG file.
pub(crate) fn png<P>(picture: &ImageBuffer<P, Vec<u8>>) -> Vec<u8>
where
    P: PixelWithColorType<Subpixel = u8>,
{
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("memory takes any picture");
    bytes.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;

    #[test]
    fn a_page_is_whole_and_its_pictures_stand_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("a/b/run.html");
        let mut document = Document::new("Run <1> & co");
        document.text("a | b * c");
        let mut table = Table::new("Counts", &["class", "<n>"]);
        table.row(["x|y", "1"]);
        document.table(table);
        let svg = |text: &str| Figure {
            name: "loss",
            alt: "a \"line\"".into(),
            caption: "Loss".into(),
            image: Image::Svg(text.into()),
        };
        document.figure(svg("<svg width=\"1\"></svg>"));
        let face = png(&GrayImage::new(48, 48));
        let sheet = Figure { name: "faces", image: Image::Png(face.clone()), ..svg("") };
        document.blocks.push(Block::Faces(Gallery { sheet, faces: vec![(face, "sad <3".into())] }));
        document.save(&page).unwrap();
        let read = |name: &str| fs::read_to_string(page.with_file_name(name)).unwrap();
        // Beside a page that is there, an older report's has no mark.
        fs::write(page.with_file_name("run.md"), "my own").unwrap();
        document.save(&page).unwrap();
        fs::remove_file(&page).unwrap();
        document.save(&page).unwrap();
        fs::remove_file(&page).unwrap();
        fs::write(page.with_file_name("run.md"), "my own").unwrap();
        assert!(document.save(&page).unwrap_err().to_string().contains("run.md: is no earlier report's"));
        assert_eq!(read("run.md"), "my own");
        fs::remove_file(page.with_file_name("run.md")).unwrap();
        document.save(&page).unwrap();
        let html = read("run.html");
        for part in [
            "<title>Run &lt;1&gt; &amp; co</title>",
            "<th scope=\"col\">&lt;n&gt;</th>",
            "<th scope=\"row\">x|y</th>",
            "aria-label=\"a &quot;line&quot;\"",
            "<svg width=\"1\"></svg>",
            "src=\"data:image/png;base64,iVBOR",
            "sad &lt;3",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        // Nothing is fetched.
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("url("), "{html}");
        let text = read("run.md");
        for part in [
            "# Run \\<1\\> \\& co",
            "a \\| b \\* c",
            "| class | \\<n\\> |\n| --- | --- |\n| x\\|y | 1 |",
            "(<run-loss.svg>)",
            "sad \\<3",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(read("run-loss.svg"), "<svg width=\"1\"></svg>");
        assert!(image::open(page.with_file_name("run-faces.png")).is_ok());
    }
}
