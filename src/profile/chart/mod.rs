//! Charts of measurements as SVG text.

mod ratio;
mod roofline;

use crate::chart::{Canvas, Drawn, FONT, GRID, LABEL, LIMIT, MEASURED, TITLE, svg};
pub use ratio::ratio_chart;
pub use roofline::roofline_chart;
