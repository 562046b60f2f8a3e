//! Recall of each class.

use super::{COLOURS, short};
use crate::chart::{FONT, GRID, LABEL, svg};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Pixels.
const WIDTH: i32 = 620;
/// Where bars start and where 100 % is, pixels.
const AXIS: (i32, i32) = (104, 534);
/// Pixels from bar to bar, and of a bar.
const ROW: (i32, i32) = (30, 18);

/// A bar for each class, labelled; a class without images has none.
pub fn recall_chart(classes: &[String], recall: &[Option<f64>]) -> String {
    let height = ROW.0 * classes.len() as i32 + 16;
    svg((WIDTH as u32, height as u32), |canvas| {
        let text = |h| (FONT, LABEL).into_text_style(canvas).pos(Pos::new(h, VPos::Center));
        for quarter in 0..=4 {
            let x = AXIS.0 + quarter * (AXIS.1 - AXIS.0) / 4;
            canvas.draw(&PathElement::new([(x, 4), (x, height - 8)], GRID))?;
        }
        for (i, (class, recall)) in classes.iter().zip(recall).enumerate() {
            let y = 8 + ROW.0 * i as i32 + ROW.0 / 2;
            canvas.draw(&Text::new(short(class), (AXIS.0 - 10, y), text(HPos::Right)))?;
            let Some(recall) = recall else {
                canvas.draw(&Text::new("no images", (AXIS.0 + 8, y), text(HPos::Left)))?;
                continue;
            };
            let end = AXIS.0 + (recall * f64::from(AXIS.1 - AXIS.0)).round() as i32;
            let corners = [(AXIS.0, y - ROW.1 / 2), (end, y + ROW.1 / 2)];
            canvas.draw(&Rectangle::new(corners, COLOURS[0].filled()))?;
            canvas.draw(&Text::new(format!("{:.1} %", 100.0 * recall), (end + 8, y), text(HPos::Left)))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_the_recall() {
        let chart = recall_chart(&["a", "b", "c"].map(str::to_owned), &[Some(1.0), Some(0.5), None]);
        for part in ["width=\"430\"", "width=\"215\"", "100.0 %", "50.0 %", "no images"] {
            assert!(chart.contains(part), "{part} in {chart}");
        }
    }
}
