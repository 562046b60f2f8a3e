//! Standard over depthwise-separable convolution, measured beside theory.

use super::{Canvas, Drawn, FONT, GRID, LABEL, LIMIT, MEASURED, TITLE, svg};
use crate::profile::{Comparison, Pass, reached};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Pixels.
const SIZE: (u32, u32) = (900, 720);

/// Bars of the ratios of `comparisons`, measured beside theory, one panel a direction, as SVG text. The title ends
/// with `setting` and is followed by the geometric means of what is reached.
pub fn ratio_chart(comparisons: &[Comparison], setting: &str) -> String {
    let of = |pass| comparisons.iter().filter(|c| c.pass == pass).collect::<Vec<_>>();
    let panels = [("forward", of(Pass::Forward)), ("backward", of(Pass::Backward))];
    let means = panels.each_ref().map(|(name, rows)| format!("{name} {:.2}", reached(rows.iter().copied())));
    let title = format!("Standard 3x3 over depthwise-separable convolution: {setting}");
    let subtitle =
        format!("geometric mean of measured over theory: {:.2} ({})", reached(comparisons), means.join(", "));
    svg(SIZE, |canvas| {
        let canvas = canvas.titled(&title, (FONT, TITLE))?.titled(&subtitle, (FONT, LABEL + 3))?;
        for (area, (name, rows)) in canvas.split_evenly((2, 1)).iter().zip(&panels) {
            panel(area, name, rows)?;
        }
        Ok(())
    })
}

fn panel(area: &Canvas<'_>, name: &str, rows: &[&Comparison]) -> Drawn {
    let top = rows.iter().map(|c| c.ratio().max(c.layer.theory())).fold(1.0, f64::max) * 1.3;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(52)
        .build_cartesian_2d(-0.5..rows.len() as f64 - 0.5, 0.0..top)?;
    let layer = |x: &f64| {
        // Between two bars nothing is written.
        let i = (x.fract() == 0.0).then_some(*x as usize);
        i.and_then(|i| rows.get(i)).map_or(String::new(), |c| c.layer.to_string())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_labels(rows.len())
        .x_label_formatter(&layer)
        .y_desc(format!("{name}: times as fast"))
        .label_style((FONT, LABEL))
        .draw()?;
    let theory = |c: &Comparison| c.layer.theory();
    let bars =
        [("measured", -0.36, MEASURED, Comparison::ratio as fn(&_) -> _), ("theory", 0.0, LIMIT, theory)];
    for (label, left, colour, value) in bars {
        let bar = |(i, c): (usize, &&Comparison)| {
            let left = i as f64 + left;
            Rectangle::new([(left, 0.0), (left + 0.36, value(c))], colour.filled())
        };
        chart
            .draw_series(rows.iter().enumerate().map(bar))?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        let style = (FONT, LABEL).into_text_style(area).pos(Pos::new(HPos::Center, VPos::Bottom));
        let number = |(i, c): (usize, &&Comparison)| {
            Text::new(format!("{:.2}", value(c)), (i as f64 + left + 0.18, value(c)), style.clone())
        };
        chart.draw_series(rows.iter().enumerate().map(number))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, LABEL))
        .background_style(WHITE)
        .draw()
}
