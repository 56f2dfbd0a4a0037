//! The course of a run as lines for a chart.

use crate::domain::report_data::Point;
use crate::report::chart::number;

/// A chart of speed has at most this many steps: more would be noise.
const STEPS: u32 = 120;

/// Points (seconds, value) that are joined.
type Points = Vec<(f64, f64)>;

/// What a run noted about itself, the earliest point first.
pub(super) struct Course<'a> {
    points: &'a [Point],
}

impl<'a> Course<'a> {
    pub(super) fn new(points: &'a [Point]) -> Self {
        Self { points }
    }

    fn end(&self) -> f64 {
        self.points.last().map_or(0.0, |last| number(last.second))
    }

    /// Emails settled per second: the mean over each step of at least a second.
    pub(super) fn speed(&self) -> Points {
        let end = self.end();
        let width = (end / f64::from(STEPS)).max(1.0);
        let mut speed = Vec::new();
        for step in 0..STEPS {
            let from = f64::from(step) * width;
            let to = (from + width).min(end);
            if from >= to {
                break;
            }
            let per_second = (self.settled_at(to) - self.settled_at(from)) / (to - from);
            speed.extend([(from, per_second), (to, per_second)]);
        }
        speed
    }

    /// Emails settled by then, evenly spread between two points.
    fn settled_at(&self, second: f64) -> f64 {
        let after = self.points.partition_point(|point| number(point.second) < second);
        let at = |index: usize| {
            self.points.get(index).map(|point| (number(point.second), number(point.settled)))
        };
        let (t0, settled0) = after.checked_sub(1).and_then(at).unwrap_or((0.0, 0.0));
        let Some((t1, settled1)) = at(after) else { return settled0 };
        let share = if t1 > t0 { (second - t0) / (t1 - t0) } else { 1.0 };
        settled0 + share * (settled1 - settled0)
    }

    pub(super) fn rate_limit(&self) -> Points {
        self.steps(|point| point.rate)
    }

    pub(super) fn concurrency_limit(&self) -> Points {
        self.steps(|point| point.concurrency.map(f64::from))
    }

    /// A value that holds from one point to the next.
    fn steps(&self, value: impl Fn(&Point) -> Option<f64>) -> Points {
        let ends = self.points.iter().skip(1).map(|next| number(next.second)).chain([self.end()]);
        let steps = self.points.iter().zip(ends).filter_map(|(point, end)| {
            let value = value(point)?;
            Some([(number(point.second), value), (end, value)])
        });
        steps.flatten().collect()
    }

    /// Emails rejected or failed so far.
    pub(super) fn failures(&self) -> Points {
        let points = self.points.iter().map(|point| (number(point.second), number(point.failed)));
        [(0.0, 0.0)].into_iter().chain(points).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: u64, settled: u64) -> Point {
        Point { second, settled, failed: settled / 10, concurrency: Some(8), rate: None }
    }

    #[test]
    fn a_gap_in_the_course_is_a_slow_time() {
        let points = [point(1, 100), point(2, 200), point(10, 200), point(11, 300)];
        let speed = Course::new(&points).speed();
        let at = |second: f64| speed.iter().find(|(at, _)| *at > second).map(|(_, speed)| *speed);
        assert_eq!(
            [0.5, 1.5, 5.5, 10.5].map(at),
            [Some(100.0), Some(100.0), Some(0.0), Some(100.0)]
        );
        assert!(speed.iter().all(|(at, _)| *at <= 11.0));
    }

    #[test]
    fn a_long_run_has_few_steps_whose_sum_is_what_was_settled() {
        let points: Vec<Point> = (1..=500).map(|n| point(n * 20, n * 300)).collect();
        let speed = Course::new(&points).speed();
        assert_eq!(speed.len(), 240);
        let settled: f64 = speed.chunks(2).map(|step| (step[1].0 - step[0].0) * step[0].1).sum();
        assert!((settled - 150_000.0).abs() < 1.0, "{settled}");
    }

    #[test]
    fn a_limit_holds_until_the_next_point() {
        let mut points = [point(1, 0), point(5, 0), point(9, 0)];
        points[1].concurrency = Some(4);
        let limit = Course::new(&points).concurrency_limit();
        assert_eq!(limit, [(1.0, 8.0), (5.0, 8.0), (5.0, 4.0), (9.0, 4.0), (9.0, 8.0), (9.0, 8.0)]);
        assert_eq!(Course::new(&points).rate_limit(), []);
        assert_eq!(Course::new(&[]).speed(), []);
    }
}
