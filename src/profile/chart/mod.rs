//! Charts of measurements as SVG text.

mod ratio;
mod roofline;

use plotters::coord::Shift;
use plotters::prelude::*;
pub use ratio::ratio_chart;
pub use roofline::roofline_chart;
use std::io;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

const FONT: &str = "sans-serif";
/// Pixels.
const TITLE: u32 = 20;
/// Pixels.
const LABEL: u32 = 13;
const MEASURED: RGBColor = RGBColor(31, 119, 180);
const LIMIT: RGBColor = RGBColor(200, 200, 200);
const GRID: RGBColor = RGBColor(230, 230, 230);

/// What `draw` puts on a white canvas of `size` pixels.
fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> String {
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let drawn = canvas.fill(&WHITE).and_then(|()| draw(&canvas)).and_then(|()| canvas.present());
        drawn.expect("a string takes any drawing");
    }
    text
}
