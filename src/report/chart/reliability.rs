//! Accuracy by confidence.

use super::{COLOURS, percent};
use crate::chart::{Canvas, Drawn, FONT, GRID, LABEL, LIMIT, svg};
use crate::report::{BINS, Calibration};
use plotters::prelude::*;

/// Pixels of a panel.
const PANEL: (u32, u32) = (400, 400);

/// A reliability diagram for each calibration, side by side, each with its title. Bars on the diagonal are confidences
/// that can be believed; the line is each bin's share of the images.
pub fn reliability_chart(panels: &[(String, &Calibration)]) -> String {
    svg((PANEL.0 * panels.len().max(1) as u32, PANEL.1), |canvas| {
        let areas = canvas.split_evenly((1, panels.len().max(1)));
        panels.iter().zip(&areas).try_for_each(|((title, calibration), area)| panel(area, title, calibration))
    })
}

fn panel(area: &Canvas<'_>, title: &str, calibration: &Calibration) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, LABEL + 2))
        .margin(10)
        .margin_right(26)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&percent)
        .y_label_formatter(&percent)
        .x_desc("confidence")
        .y_desc("accuracy")
        .label_style((FONT, LABEL))
        .draw()?;
    let edge = |i: usize| i as f64 / BINS as f64;
    let filled = calibration.bins.iter().enumerate().filter(|(_, bin)| bin.images > 0);
    chart.draw_series(filled.map(|(i, bin)| {
        let corners = [(edge(i) + 0.004, 0.0), (edge(i + 1) - 0.004, bin.accuracy)];
        Rectangle::new(corners, COLOURS[0].filled())
    }))?;
    chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], LIMIT.stroke_width(2))])?;
    let images: usize = calibration.bins.iter().map(|bin| bin.images).sum();
    let share = |(i, bin): (usize, &crate::report::Bin)| {
        (edge(i) + 0.5 / BINS as f64, bin.images as f64 / images.max(1) as f64)
    };
    let shares: Vec<(f64, f64)> = calibration.bins.iter().enumerate().map(share).collect();
    chart.draw_series([PathElement::new(shares, COLOURS[1].stroke_width(2))])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Scored;

    #[test]
    fn a_bar_for_each_bin_with_images() {
        let scored = Scored::new(2, vec![2.0, 0.0, 0.1, 0.0], vec![0, 0]);
        let calibration = scored.calibration(1.0);
        let chart = reliability_chart(&[("before".into(), &calibration), ("after".into(), &calibration)]);
        assert_eq!(chart.matches("fill=\"#0072B2\"").count(), 4, "{chart}");
        assert!(chart.contains("before") && chart.contains("after"));
        assert!(reliability_chart(&[]).starts_with("<svg"));
    }
}
