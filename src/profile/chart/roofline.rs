//! The roofline with a dot for each operation.

use super::{FONT, GRID, LABEL, LIMIT, MEASURED, TITLE, svg};
use crate::profile::{OpProfile, Roofline};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Pixels.
const SIZE: (u32, u32) = (1100, 620);
/// Pixels beside the plot for the list of the largest operations.
const LIST: u32 = 400;
/// Operations in that list.
const LARGEST: usize = 10;
/// Pixels from one of its lines to the next.
const LINE: i32 = 20;

/// Both roofs over log-log axes and a dot for each of `ops` with counted arithmetic, as SVG text; dots grow with the
/// share of time, and the largest are numbered and listed. The title ends with `setting`.
pub fn roofline_chart(roofline: &Roofline, ops: &[OpProfile], setting: &str) -> String {
    let total: f64 = ops.iter().map(OpProfile::seconds).sum();
    let mut dots: Vec<&OpProfile> = ops.iter().filter(|op| op.gflops() > 0.0).collect();
    // The largest first, so that small dots are drawn above them.
    dots.sort_by(|a, b| b.seconds().total_cmp(&a.seconds()));
    let (x, y) = ranges(roofline, &dots);
    let at = |op: &OpProfile| (op.intensity(), op.gflops());

    svg(SIZE, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .caption(format!("Roofline: {setting}"), (FONT, TITLE))
            .margin(14)
            .margin_right(LIST)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d((x.0..x.1).log_scale(), (y.0..y.1).log_scale())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(WHITE)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&plain)
            .y_label_formatter(&plain)
            .x_desc("arithmetic intensity, FLOP/byte")
            .y_desc("GFLOP/s")
            .label_style((FONT, LABEL))
            .draw()?;
        let (ridge, peak, bandwidth) = (roofline.ridge(), roofline.peak_gflops, roofline.bandwidth_gb_s);
        let left = x.0.max(y.0 / bandwidth);
        let roofs = vec![(left, bandwidth * left), (ridge, peak), (x.1, peak)];
        chart.draw_series([PathElement::new(roofs, BLACK.stroke_width(2))])?;
        // How dots would have to lie if memory never mattered, and if nothing but memory did.
        let faint = vec![vec![(x.0, peak), (ridge, peak)], vec![(ridge, peak), (y.1 / bandwidth, y.1)]];
        chart.draw_series(faint.into_iter().map(|line| PathElement::new(line, LIMIT)))?;
        let text = |h, v| (FONT, LABEL).into_text_style(canvas).pos(Pos::new(h, v));
        let peak_label = format!("peak {peak:.0} GFLOP/s");
        let memory_label = format!("   memory {bandwidth:.1} GB/s");
        let halfway = (left * ridge).sqrt();
        chart.draw_series([
            Text::new(peak_label, (x.1, peak * 1.02), text(HPos::Right, VPos::Bottom)),
            Text::new(memory_label, (halfway, bandwidth * halfway), text(HPos::Left, VPos::Top)),
        ])?;
        let dot = |op: &&OpProfile| {
            let radius = 3.0 + 22.0 * (op.seconds() / total).sqrt();
            Circle::new(at(op), radius as i32, MEASURED.mix(0.45).filled())
        };
        chart.draw_series(dots.iter().map(dot))?;

        let places: Vec<(i32, i32)> =
            dots.iter().take(LARGEST).map(|op| chart.backend_coord(&at(op))).collect();
        for (i, place) in apart(places).into_iter().enumerate() {
            canvas.draw(&Text::new((i + 1).to_string(), place, text(HPos::Center, VPos::Center)))?;
        }
        let (column, mut line) = ((SIZE.0 - LIST) as i32 + 16, 70);
        let mut write = |words: String| {
            line += LINE;
            canvas.draw(&Text::new(words, (column, line), text(HPos::Left, VPos::Center)))
        };
        write("largest, with share of all time and part of the roof".into())?;
        for (i, op) in dots.iter().take(LARGEST).enumerate() {
            let (share, part) = (100.0 * op.seconds() / total, 100.0 * roofline.fraction(op));
            write(format!("{}  {} {}: {share:.1} %, {part:.0} %", i + 1, op.op, op.shape))?;
        }
        for words in [
            "",
            "FLOPs are counted as of direct convolutions: Winograd's",
            "needs up to 4 times fewer and may lie above the roofs,",
            "as may what stays in a cache.",
        ] {
            write(words.into())?;
        }
        Ok(())
    })
}

/// Ranges of the axes: all dots and the ridge, with a decade to the left of it, below it and to the right.
fn ranges(roofline: &Roofline, dots: &[&OpProfile]) -> ((f64, f64), (f64, f64)) {
    let range = |low: f64, high: f64, value: fn(&OpProfile) -> f64| {
        let values = dots.iter().map(|op| value(op));
        values.fold((low, high), |(low, high), v| (low.min(v / 1.6), high.max(v * 1.6)))
    };
    let (ridge, peak) = (roofline.ridge(), roofline.peak_gflops);
    (
        range(ridge / 10.0, ridge * 10.0, OpProfile::intensity),
        range(peak / 10.0, peak * 2.0, OpProfile::gflops),
    )
}

/// Tick labels without a long tail of digits.
fn plain(x: &f64) -> String {
    ((x * 1e4).round() / 1e4).to_string()
}

/// Moves numbers down that would cover an earlier one.
fn apart(mut places: Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    for i in 1..places.len() {
        let (before, rest) = places.split_at_mut(i);
        let place = &mut rest[0];
        let covers = |place: (i32, i32)| {
            let (dx, dy) = (14, 12);
            before.iter().any(|&(x, y)| (x - place.0).abs() < dx && (y - place.1).abs() < dy)
        };
        while covers(*place) {
            place.1 += 1;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_cover_each_other() {
        let places = apart(vec![(0, 0), (5, 2), (100, 0), (1, 13)]);
        assert_eq!(places, [(0, 0), (5, 12), (100, 0), (1, 24)]);
    }

    #[test]
    fn what_computes_nothing_has_no_dot() {
        let op = |op, macs| OpProfile {
            op,
            shape: "1x2 -> 3".into(),
            forward: 1e-3,
            backward: 0.0,
            macs,
            bytes: 1_000_000,
        };
        let roofline = Roofline { peak_gflops: 100.0, bandwidth_gb_s: 20.0 };
        let svg = roofline_chart(&roofline, &[op("product", 1_000_000), op("sum", 0)], "a test");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.contains("Roofline: a test") && svg.contains("product 1x2 -&gt; 3: 50.0 %"), "{svg}");
        assert!(!svg.contains("sum"));
        // Nothing to draw is no reason to fail.
        assert!(roofline_chart(&roofline, &[], "a test").starts_with("<svg"));
    }
}
