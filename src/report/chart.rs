//! Charts as SVG, small enough to be read on a phone. Their colors are names for the page's style,
//! which replaces them by those of its light or dark scheme.

use plotters::coord::Shift;
use plotters::prelude::*;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
/// The main line, and bars.
pub(super) const MAIN: RGBColor = RGBColor(0x1F, 0x6F, 0xEB);
/// Failures.
pub(super) const BAD: RGBColor = RGBColor(0xCF, 0x22, 0x2E);
/// Limits.
pub(super) const LIMIT: RGBColor = RGBColor(0x9A, 0x67, 0x00);

/// The size that the page scales to its width.
const SIZE: (u32, u32) = (360, 170);

/// Points (x, y) that are joined.
pub(super) struct Line {
    pub(super) color: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over time, in seconds from 0 on. `None` if there is nothing to draw.
pub(super) fn lines(lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let end = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max);
    if end <= 0.0 || top <= 0.0 {
        return None;
    }
    let (unit, seconds) = if end < 180.0 {
        ("s", 1.0)
    } else if end < 7200.0 {
        ("min", 60.0)
    } else {
        ("h", 3600.0)
    };
    drawn(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(20)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..end / seconds, 0.0..top * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(FAINT)
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .x_labels(5)
            .y_labels(4)
            .x_label_formatter(&|x| format!("{x:.0} {unit}"))
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        for line in lines {
            let points = line.points.iter().map(|(x, y)| (x / seconds, *y));
            chart.draw_series(LineSeries::new(points, line.color.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// A bar for each label. `None` if there is nothing to draw.
pub(super) fn bars(bars: &[(String, u64)]) -> Option<String> {
    let top = bars.iter().map(|bar| bar.1).max().filter(|top| *top > 0)?;
    let (width, count) = (bars.len() as f64, bars.len());
    drawn(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(20)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..width, 0.0..top as f64 * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(FAINT)
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .x_labels(count.min(6))
            .y_labels(4)
            .x_label_formatter(&|x| {
                // A label names the upper end of the bar before it.
                let label = (*x as usize).checked_sub(1).and_then(|bar| bars.get(bar));
                label.map(|bar| bar.0.clone()).unwrap_or_default()
            })
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        let drawn = bars.iter().enumerate().map(|(at, bar)| {
            let at = at as f64;
            Rectangle::new([(at + 0.08, 0.0), (at + 0.92, bar.1 as f64)], MAIN.filled())
        });
        chart.draw_series(drawn)?;
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The picture that `draw` draws; a chart that cannot be drawn is left out.
fn drawn(draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn std::error::Error>>) -> Option<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area).ok()?;
        area.present().ok()?;
    }
    Some(svg)
}

/// A number in few characters: `1500` as `1.5k`.
fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.0}k", n / 1e3),
        n if n >= 1e3 => format!("{:.1}k", n / 1e3),
        n if n >= 10.0 || n == 0.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let line = Line { color: MAIN, points: vec![(0.0, 0.0), (100.0, 10.0)] };
        let svg = lines(&[line]).expect("a chart");
        assert!(svg.starts_with("<svg ") && svg.contains("stroke=\"#1F6FEB\""), "{svg}");
        assert!(svg.contains(">\n100 s\n<"), "{svg}");
    }

    #[test]
    fn nothing_gives_no_chart() {
        assert_eq!(lines(&[]), None);
        assert_eq!(lines(&[Line { color: MAIN, points: vec![(0.0, 1.0)] }]), None);
        assert_eq!(bars(&[("1 ms".into(), 0)]), None);
        assert!(bars(&[("1 ms".into(), 3)]).is_some());
    }

    #[test]
    fn numbers_on_an_axis_are_short() {
        let numbers = [0.0, 0.5, 12.0, 1500.0, 25_000.0, 1_234_567.0];
        assert_eq!(numbers.map(short), ["0", "0.5", "12", "1.5k", "25k", "1.2M"]);
    }
}
