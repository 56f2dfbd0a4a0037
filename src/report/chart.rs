//! Charts as SVG, small enough to be read on a phone. Their colors are names for the page's style,
//! which replaces them by those of its light or dark scheme.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::ops::Range;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
/// What was done.
pub(super) const MAIN: RGBColor = RGBColor(0x1F, 0x6F, 0xEB);
/// Failures.
pub(super) const BAD: RGBColor = RGBColor(0xCF, 0x22, 0x2E);
/// Limits.
pub(super) const LIMIT: RGBColor = RGBColor(0x9A, 0x67, 0x00);

/// The size that the page scales to its width.
const SIZE: (u32, u32) = (400, 190);

const FONT_SIZE: u32 = 13;

/// The area below a line is tinted this much.
const TINT: f64 = 0.18;

/// A time axis has about this many labels.
const TIME_LABELS: usize = 5;

/// A bar's distance from the edges of its bucket.
const GAP: f64 = 0.06;

/// Points (seconds, value) that are joined.
pub(super) struct Line {
    pub(super) color: RGBColor,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) below: Below,
}

/// What is below a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    Nothing,
    Tint,
}

/// Lines over time, in seconds from 0 on. `None` if there is nothing to draw.
pub(super) fn lines(lines: &[Line]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let end = points().map(|point| point.0).fold(0.0, f64::max);
    let top = points().map(|point| point.1).fold(0.0, f64::max);
    if end <= 0.0 || top <= 0.0 {
        return None;
    }
    let unit = TimeUnit::for_times_up_to(end);
    drawn(|area| {
        let end = end / unit.seconds;
        let step = round_step(end, TIME_LABELS);
        let ticks = (0..=TIME_LABELS).map(|n| position(n) * step).take_while(|x| *x <= end);
        let axis = Axis::new(end, ticks.collect());
        let mut chart = axes(area, axis, top, &|x| format!("{} {}", short(x), unit.name))?;
        for line in lines {
            let points = line.points.iter().map(|(x, y)| (x / unit.seconds, *y));
            let points: Vec<(f64, f64)> = points.collect();
            if let (Below::Tint, Some(first), Some(last)) =
                (line.below, points.first(), points.last())
            {
                let floor = [(last.0, 0.0), (first.0, 0.0)];
                let outline: Vec<(f64, f64)> = points.iter().copied().chain(floor).collect();
                chart.draw_series([Polygon::new(outline, line.color.mix(TINT).filled())])?;
            }
            chart.draw_series(LineSeries::new(points, line.color.stroke_width(2)))?;
        }
        Ok(())
    })
}

/// Counts of what lies between edges.
pub(super) struct Histogram {
    /// The lower edge of the first bar, then the upper edge of each bar.
    pub(super) edges: Vec<String>,
    pub(super) counts: Vec<u64>,
}

/// More labels than this would run into one another.
const MAX_EDGE_LABELS: usize = 7;

/// A bar for each count. `None` if there is nothing to draw.
pub(super) fn bars(histogram: &Histogram) -> Option<String> {
    let Histogram { edges, counts } = histogram;
    let top = counts.iter().copied().max().filter(|top| *top > 0)?;
    let every = edges.len().div_ceil(MAX_EDGE_LABELS);
    drawn(|area| {
        let ticks = (0..edges.len()).step_by(every).map(position).collect();
        let label = |x: f64| {
            let edge = edges.iter().enumerate().find(|(at, _)| position(*at) >= x);
            edge.map(|(_, edge)| edge.clone()).unwrap_or_default()
        };
        let mut chart = axes(area, Axis::new(position(counts.len()), ticks), number(top), &label)?;
        let drawn = counts.iter().enumerate().map(|(at, count)| {
            let (left, right) = (position(at) + GAP, position(at + 1) - GAP);
            Rectangle::new([(left, 0.0), (right, number(*count))], MAIN.filled())
        });
        chart.draw_series(drawn)?;
        Ok(())
    })
}

/// An x axis from 0 on, with labels at some of its points.
struct Axis {
    range: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(end: f64, ticks: Vec<f64>) -> Self {
        Self { range: (0.0..end).into(), ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        self.range.map(value, pixels)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, RangedCoordf64>>;
type Drawn<T> = Result<T, Box<dyn std::error::Error>>;

/// Draws the axes of a chart whose values go from 0 to `top`.
fn axes<'a, 'b>(
    area: &'a Area<'b>,
    x: Axis,
    top: f64,
    label: &dyn Fn(f64) -> String,
) -> Drawn<Chart<'a, 'b>> {
    let ticks = x.ticks.len();
    let mut chart = ChartBuilder::on(area)
        .margin(6)
        .margin_right(24)
        .x_label_area_size(22)
        .y_label_area_size(42)
        .build_cartesian_2d(x, 0.0..top * 1.08)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(FAINT)
        .label_style(("sans-serif", FONT_SIZE).into_font().color(&INK))
        .x_labels(ticks)
        .y_labels(4)
        .x_label_formatter(&|x| label(*x))
        .y_label_formatter(&|y| short(*y))
        .draw()?;
    Ok(chart)
}

/// The picture that `draw` draws; a chart that cannot be drawn is left out.
fn drawn(draw: impl FnOnce(&Area<'_>) -> Drawn<()>) -> Option<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area).ok()?;
        area.present().ok()?;
    }
    Some(svg)
}

/// The unit of a time axis.
struct TimeUnit {
    name: &'static str,
    seconds: f64,
}

impl TimeUnit {
    fn for_times_up_to(seconds: f64) -> Self {
        match seconds {
            s if s < 180.0 => Self { name: "s", seconds: 1.0 },
            s if s < 7200.0 => Self { name: "min", seconds: 60.0 },
            _ => Self { name: "h", seconds: 3600.0 },
        }
    }
}

/// The smallest round number that divides `end` into at most `parts`.
fn round_step(end: f64, parts: usize) -> f64 {
    let least = end / position(parts);
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// A count as a coordinate: the nearest one, which is exact as far as a picture shows.
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

fn position(at: usize) -> f64 {
    at as f64
}

/// A number in few characters: `1500` as `1.5k`.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.0}k", n / 1e3),
        n if n >= 1e3 => format!("{:.1}k", n / 1e3),
        n if n >= 10.0 || n.fract().abs() < 0.05 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line { color: MAIN, points, below: Below::Tint }
    }

    #[test]
    fn a_line_passes_through_its_points() {
        let svg = lines(&[line(vec![(0.0, 0.0), (100.0, 10.0)])]).expect("a chart");
        assert!(svg.starts_with("<svg ") && svg.contains("stroke=\"#1F6FEB\""), "{svg}");
        assert!(svg.contains(">\n100 s\n<") && svg.contains("<polygon "), "{svg}");
    }

    #[test]
    fn a_bar_stands_between_its_edges() {
        let edges = ["20 ms", "30 ms", "50 ms"].map(str::to_owned).to_vec();
        let svg = bars(&Histogram { edges, counts: vec![3, 5] }).expect("a chart");
        for edge in ["20 ms", "30 ms", "50 ms"] {
            assert!(svg.contains(&format!(">\n{edge}\n<")), "no {edge} in {svg}");
        }
        assert_eq!(svg.matches("<rect ").count(), 2, "{svg}");
    }

    #[test]
    fn nothing_gives_no_chart() {
        assert_eq!(lines(&[]), None);
        assert_eq!(lines(&[line(vec![(0.0, 1.0)])]), None);
        assert_eq!(bars(&Histogram { edges: vec!["0".into(), "1".into()], counts: vec![0] }), None);
    }

    #[test]
    fn an_axis_has_round_labels() {
        let steps = [0.4, 3.0, 37.0, 120.0, 500.0].map(|end| round_step(end, 5));
        assert_eq!(steps, [0.1, 1.0, 10.0, 50.0, 100.0]);
    }

    #[test]
    fn numbers_on_an_axis_are_short() {
        let numbers = [0.0, 0.5, 2.0, 12.0, 1500.0, 25_000.0, 1_234_567.0];
        assert_eq!(numbers.map(short), ["0", "0.5", "2", "12", "1.5k", "25k", "1.2M"]);
    }
}
