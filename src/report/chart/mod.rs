//! Charts of results as SVG text.

mod bars;
mod confusion;
mod curves;
mod reliability;

pub use bars::recall_chart;
pub use confusion::confusion_chart;
pub use curves::{Curve, Scale, curve_chart};
pub use reliability::reliability_chart;

use plotters::style::RGBColor;

/// Colours that can be told apart by the colour-blind too (Okabe and Ito 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Most characters of a class name in a chart.
const NAME: usize = 12;

/// A class name that fits in a chart.
fn short(name: &str) -> String {
    let mut short: String = name.chars().filter(|c| !c.is_control()).take(NAME).collect();
    if name.chars().count() > NAME {
        short.push('.');
    }
    short
}

/// 0 to 1 as percent.
fn percent(x: &f64) -> String {
    format!("{:.0} %", 100.0 * x)
}
