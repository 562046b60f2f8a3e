//! A confusion matrix as a heat map.

use super::short;
use crate::chart::{FONT, GRID, LABEL, MEASURED, svg};
use crate::report::Confusion;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Up to this many classes cells are large enough for numbers.
const NUMBERED: usize = 12;
/// Pixels of the whole matrix if cells have no numbers.
const SMALL: i32 = 640;
/// Width and height of a cell with numbers, pixels.
const CELL: (i32, i32) = (74, 52);
/// Pixels left of and above the cells.
const MARGIN: (i32, i32) = (104, 64);
/// Share from which a cell is dark enough for white numbers.
const DARK: f64 = 0.55;

/// Rows are true classes, columns recognised ones; a cell has its share of the row, and its count below.
pub fn confusion_chart(classes: &[String], confusion: &Confusion) -> String {
    let n = classes.len() as i32;
    let numbered = classes.len() <= NUMBERED;
    let (width, height) = if numbered { CELL } else { ((SMALL / n).max(3), (SMALL / n).max(3)) };
    let size = (MARGIN.0 + n * width + 12, MARGIN.1 + n * height + 12);
    let at = |row: usize, column: usize| (MARGIN.0 + column as i32 * width, MARGIN.1 + row as i32 * height);
    svg((size.0 as u32, size.1 as u32), |canvas| {
        let text = |size: u32, h, v| (FONT, size).into_text_style(canvas).pos(Pos::new(h, v));
        let title = |words: &str, place, h| {
            canvas.draw(&Text::new(words.to_owned(), place, text(LABEL, h, VPos::Center)))
        };
        title("recognised as", (MARGIN.0 + n * width / 2, 18), HPos::Center)?;
        title("true class", (MARGIN.0 - 10, MARGIN.1 - 20), HPos::Right)?;
        let rows = confusion.normalised().into_iter().zip(confusion.counts());
        for (i, (shares, counts)) in rows.enumerate() {
            if numbered {
                let (name, (x, y)) = (short(&classes[i]), at(i, 0));
                title(&name, (x - 10, y + height / 2), HPos::Right)?;
                title(&name, (at(0, i).0 + width / 2, MARGIN.1 - 20), HPos::Center)?;
            }
            for (j, count) in counts.iter().enumerate() {
                let (x, y) = at(i, j);
                let corners = [(x, y), (x + width, y + height)];
                let share = shares.as_ref().map_or(0.0, |shares| shares[j]);
                if share > 0.0 {
                    canvas.draw(&Rectangle::new(corners, MEASURED.mix(share).filled()))?;
                }
                canvas.draw(&Rectangle::new(corners, GRID))?;
                if numbered && shares.is_some() {
                    let colour = if share > DARK { WHITE } else { BLACK };
                    let style = |size| text(size, HPos::Center, VPos::Center).color(&colour);
                    let (x, y) = (x + width / 2, y + height / 2);
                    canvas.draw(&Text::new(
                        format!("{:.1} %", 100.0 * share),
                        (x, y - 8),
                        style(LABEL + 1),
                    ))?;
                    canvas.draw(&Text::new(count.to_string(), (x, y + 11), style(LABEL - 2)))?;
                }
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_counts_stand_in_the_cells() {
        let names = ["angry", "a class of a long name", "none"].map(str::to_owned);
        let confusion = Confusion::of(3, [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1)]);
        let chart = confusion_chart(&names, &confusion);
        for part in ["75.0 %", "25.0 %", "100.0 %", "a class of a.", "true class"] {
            assert!(chart.contains(part), "{part} in {chart}");
        }
        // A class without images has no shares: two rows of three.
        assert_eq!(chart.matches(" %").count(), 6);
        let many: Vec<String> = (0..256).map(|i| i.to_string()).collect();
        assert!(!confusion_chart(&many, &Confusion::of(256, [(0, 255)])).contains(" %"));
        assert!(confusion_chart(&many[..1], &Confusion::of(1, [])).starts_with("<svg"));
    }
}
