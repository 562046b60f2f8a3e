//! Values by epoch.

use super::{COLOURS, percent};
use crate::chart::{FONT, GRID, LABEL, svg};
use plotters::prelude::*;

/// Pixels.
const SIZE: (u32, u32) = (660, 380);

/// Up to this many points are marked one by one: a run of one epoch is nothing else.
const MARKED: usize = 30;

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Curve {
    /// What it shows.
    pub label: String,
    /// Epoch (from 1) and value, in order.
    pub points: Vec<(f64, f64)>,
}

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Shares from 0 to 1, shown as percent.
    Share,
    /// Numbers of 0 or more.
    Number,
}

/// Lines over epochs; `name` says what the values are. Nothing but axes without a point.
pub fn curve_chart(name: &str, scale: Scale, curves: &[Curve]) -> String {
    let points =
        || curves.iter().flat_map(|curve| &curve.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let (first, last) = points().fold((1.0_f64, 1.0_f64), |(a, b), (x, _)| (a.min(*x), b.max(*x)));
    let (first, last) = if first < last { (first, last) } else { (first - 0.5, last + 0.5) };
    let low = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let room = 0.08 * (high - low).max(1e-3 * high.abs()).max(1e-6);
    let top = if scale == Scale::Share { (high + room).min(1.005) } else { high + room };
    let label = |y: &f64| if scale == Scale::Share { percent(y) } else { number(*y) };
    svg(SIZE, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .margin(12)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(first..last, (low - room).max(0.0)..top)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_labels(12)
            .y_labels(6)
            .x_label_formatter(&|x| if x.fract() == 0.0 { x.to_string() } else { String::new() })
            .y_label_formatter(&label)
            .x_desc("epoch")
            .y_desc(name)
            .label_style((FONT, LABEL))
            .axis_desc_style((FONT, LABEL + 1))
            .draw()?;
        for (i, curve) in curves.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let points = || curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            chart
                .draw_series([PathElement::new(points().collect::<Vec<_>>(), colour.stroke_width(2))])?
                .label(curve.label.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
            if curve.points.len() <= MARKED {
                chart.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
            }
        }
        let corner = match scale {
            Scale::Share => SeriesLabelPosition::LowerRight,
            Scale::Number => SeriesLabelPosition::UpperRight,
        };
        chart
            .configure_series_labels()
            .position(corner)
            .margin(14)
            .legend_area_size(26)
            .label_font((FONT, LABEL))
            .background_style(WHITE)
            .border_style(GRID)
            .draw()
    })
}

/// Tick labels of up to three digits behind the point.
fn number(y: f64) -> String {
    ((y * 1e3).round() / 1e3).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        Curve { label: "a < b".into(), points: points.to_vec() }
    }

    #[test]
    fn lines_and_points_are_drawn() {
        let chart = curve_chart("loss", Scale::Number, &[curve(&[(1.0, 2.0), (2.0, 1.5), (3.0, 1.0)])]);
        assert!(chart.contains("a &lt; b") && chart.contains("epoch"), "{chart}");
        assert_eq!(chart.matches("<circle").count(), 3);
        assert_eq!(chart.matches("stroke=\"#0072B2\" stroke-width=\"2\"").count(), 1, "{chart}");
    }

    #[test]
    fn few_or_strange_values_are_no_reason_to_fail() {
        for points in [&[][..], &[(1.0, 0.5)], &[(1.0, f64::NAN), (2.0, 0.5)], &[(1.0, 0.0), (2.0, 0.0)]] {
            for scale in [Scale::Share, Scale::Number] {
                let chart = curve_chart("x", scale, &[curve(points)]);
                assert!(chart.trim_end().ends_with("</svg>") && !chart.contains("NaN"), "{chart}");
            }
        }
        assert!(curve_chart("x", Scale::Share, &[]).starts_with("<svg"));
        let many: Vec<(f64, f64)> = (1..=100).map(|i| (f64::from(i), 0.5)).collect();
        assert_eq!(curve_chart("x", Scale::Share, &[curve(&many)]).matches("<circle").count(), 0);
    }
}
