//! What all charts share: SVG text on a white canvas, without fonts or bitmaps.
//!
//! Colours are few and exact, so that a page can replace them where it is dark: see `report/style.css`.

use plotters::coord::Shift;
use plotters::prelude::*;
use std::io;

pub(crate) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

pub(crate) const FONT: &str = "sans-serif";
/// Pixels.
pub(crate) const TITLE: u32 = 20;
/// Pixels.
pub(crate) const LABEL: u32 = 13;
pub(crate) const MEASURED: RGBColor = RGBColor(31, 119, 180);
pub(crate) const LIMIT: RGBColor = RGBColor(200, 200, 200);
pub(crate) const GRID: RGBColor = RGBColor(230, 230, 230);

/// What `draw` puts on a white canvas of `size` pixels.
pub(crate) fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = canvas.fill(&WHITE).and_then(|()| draw(&canvas)).and_then(|()| canvas.present());
        drawn.expect("a string takes any drawing");
    }
    text
}
