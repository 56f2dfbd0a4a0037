//! The alert rules, fed with the metrics that the program writes, and evaluated by promtool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use telemetron_sync::domain::counts::Counts;
use telemetron_sync::domain::report_data::{Gauges, LastEnd, ReportData};
use telemetron_sync::domain::run::{RunReport, Status};
use telemetron_sync::report::prom;

use crate::support::dir::TestDir;
use crate::support::server::binary;

const HOUR: usize = 60;
const DAY: usize = 24 * HOUR;

/// Minutes between two evaluations of the rules over a long time. No divisor of an hour, so that they
/// see every minute of it within eleven hours.
const EVALUATED_EVERY: usize = 11;

/// promtool's time begins with 1970; an hour into it the first run begins.
fn time(minute: usize) -> String {
    let minutes = SignedDuration::from_mins(i64::try_from(minute).expect("a time"));
    telemetron_sync::time::text(Timestamp::UNIX_EPOCH + minutes)
}

/// The .prom file over time: from each minute on its text is the one given.
#[derive(Default)]
struct History {
    files: BTreeMap<usize, String>,
    data: ReportData,
}

/// How a run goes.
#[derive(Clone, Copy)]
struct Run {
    minutes: usize,
    exit_code: u8,
    rows: u64,
    failed: u64,
    /// Pending at the end.
    pending: u64,
    missing: u64,
}

const GOOD: Run =
    Run { minutes: 12, exit_code: 0, rows: 10_000, failed: 0, pending: 0, missing: 20 };

impl History {
    /// Hourly runs, the first after an hour.
    fn hourly(hours: usize, run: impl Fn(usize) -> Run) -> Self {
        let mut history = Self::default();
        for hour in 1..=hours {
            history.run(hour * HOUR, run(hour));
        }
        history
    }

    fn counts(run: Run, pending: u64) -> Counts {
        let planned = (run.rows / 12).max(run.failed + pending);
        let found = planned - run.failed - pending;
        let fresh = run.rows - planned;
        Counts {
            rows: run.rows,
            fresh,
            planned,
            found,
            failed: run.failed,
            pending,
            ..Counts::default()
        }
    }

    /// A run that begins at `minute`, with the file as the program writes it: at the start, each
    /// minute (the last one is enough here) and at the end.
    fn run(&mut self, minute: usize, run: Run) -> &mut Self {
        self.begin(minute, run);
        let mut report =
            RunReport::planned(1, "list.csv".into(), time(minute), Self::counts(run, run.pending));
        let ends = time(minute + run.minutes);
        (report.status, report.finished_at) = (Status::Complete, Some(ends.clone()));
        report.exit_code = Some(run.exit_code);
        if run.exit_code == 1 {
            // It has no plan.
            report.run_id = 0;
        }
        self.write(minute + run.minutes, &report);
        if matches!(run.exit_code, 0 | 3 | 4) {
            self.data.last_success = Some(ends.clone());
        }
        self.data.last_end = Some(LastEnd { at: ends, exit_code: run.exit_code });
        self
    }

    /// A run that never ends.
    fn begin(&mut self, minute: usize, run: Run) -> &mut Self {
        let customers = run.rows * 9 / 10;
        let gauges = Gauges { customers, missing: run.missing, ..Gauges::default() };
        self.data.gauges = Some(gauges);
        let started = Self::counts(Run { failed: 0, ..run }, run.rows / 12);
        let report = RunReport::planned(1, "list.csv".into(), time(minute), started);
        self.write(minute, &report);
        self
    }

    fn write(&mut self, minute: usize, report: &RunReport) {
        self.files.insert(minute, prom::render(report, &self.data));
    }

    /// The machine is off for a while: nothing is measured. The file is as before afterwards.
    fn reboot(&mut self, minute: usize, minutes: usize) {
        let file = self.files.range(..minute).next_back().map(|(_, text)| text.clone());
        self.files.insert(minute, String::new());
        self.files.insert(minute + minutes, file.unwrap_or_default());
    }

    /// The values of each metric that a rule names, minute by minute.
    fn series(&self, minutes: usize, rules: &str) -> BTreeMap<String, Vec<Option<f64>>> {
        let is_used = |line: &&str| {
            let name = line.split('{').next().unwrap_or_default();
            name.starts_with("telemetron_sync_") && rules.contains(name)
        };
        let mut series: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
        let ends = self.files.keys().skip(1).copied().chain([minutes]);
        for ((from, text), to) in self.files.iter().zip(ends) {
            for line in text.lines().filter(is_used) {
                let (metric, value) = line.rsplit_once(' ').expect("a value");
                let values = series.entry(metric.to_owned()).or_default();
                values.resize(*from, None);
                values.resize(to, Some(value.parse().expect("a number")));
            }
        }
        for values in series.values_mut() {
            values.resize(minutes, None);
        }
        series
    }

    /// The alerts that fire in the last minute, and those that fired at any time.
    fn alerts(&self, minutes: usize) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
        let dir = TestDir::new();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/prometheus/alerts.yml");
        let every = if minutes > 2 * DAY { EVALUATED_EVERY } else { 1 };
        let mut test = format!(
            "rule_files: [{}]\nevaluation_interval: {every}m\ntests:\n- interval: 1m\n  input_series:\n",
            rules.display()
        );
        let rules = std::fs::read_to_string(&rules).expect("the rules");
        for (metric, values) in self.series(minutes, &rules) {
            let metric = metric.replace('{', "{instance=\"vm\",");
            write!(test, "  - series: '{metric}'\n    values: '{}'\n", notation(&values)).unwrap();
        }
        // Wrong on purpose: promtool's complaint holds what is there.
        let expressions = [
            "count by (alertname) (ALERTS{alertstate=\"firing\"})".to_owned(),
            format!(
                "count by (alertname) (count_over_time(ALERTS{{alertstate=\"firing\"}}[{minutes}m]))"
            ),
        ];
        test.push_str("  promql_expr_test:\n");
        for expression in &expressions {
            let at = minutes - 1;
            write!(test, "  - expr: '{expression}'\n    eval_time: {at}m\n    exp_samples:\n")
                .unwrap();
            test.push_str("    - labels: 'nothing{}'\n      value: -1\n");
        }
        dir.write("test.yml", test);
        let promtool = binary(&["promtool"])?;
        let output = Command::new(promtool)
            .args(["test", "rules", "test.yml"])
            .current_dir(dir.folder())
            .output();
        let output = output.expect("promtool runs");
        let printed =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let got: Vec<&str> =
            printed.lines().filter(|line| line.trim_start().starts_with("got:")).collect();
        assert_eq!(got.len(), 2, "{printed}");
        let names = |line: &str| {
            let names = line.split("alertname=\"").skip(1);
            names
                .filter_map(|rest| rest.split('"').next())
                .map(|name| name.trim_start_matches("TelemetronSync").to_owned())
                .collect()
        };
        Some((names(got[0]), names(got[1])))
    }

    #[track_caller]
    fn fires(&self, minutes: usize, expected: &[&str]) {
        let Some((now, _)) = self.alerts(minutes) else { return };
        assert_eq!(now, expected.iter().map(|name| (*name).to_owned()).collect());
    }
}

/// promtool's notation: `value+0xN` stands for N + 1 samples, `_xN` for N missing ones.
fn notation(values: &[Option<f64>]) -> String {
    let mut parts = Vec::new();
    for run in values.chunk_by(|a, b| a == b) {
        parts.push(match run[0] {
            Some(value) => format!("{value}+0x{}", run.len() - 1),
            None => format!("_x{}", run.len()),
        });
    }
    parts.join(" ")
}

/// What happens in a healthy month: some emails fail, some runs reach their deadline, customers go,
/// the list grows and is shorter at night, runs are interrupted, and the API is out for half an hour.
fn healthy(hour: usize) -> Run {
    let grown = u64::try_from(hour).expect("an hour");
    let by_day = if hour % 24 < 8 { 0 } else { 3_000 };
    let run = Run { rows: 10_000 + by_day + grown, missing: 20 + grown / 5, ..GOOD };
    match hour % 100 {
        17 => Run { exit_code: 3, failed: 30, ..run },
        40 => Run { exit_code: 4, minutes: 50, pending: 500, ..run },
        60 => Run { exit_code: 143, minutes: 3, pending: 700, ..run },
        // An outage of half an hour, which --outage-wait 30m waits for.
        75 => Run { minutes: 44, ..run },
        _ => run,
    }
}

#[test]
fn a_month_of_health_raises_no_alert() {
    let mut history = History::default();
    for hour in 1..=30 * 24 {
        // The scheduler spreads the starts a little.
        let minute = hour * HOUR + hour * 5 % 9;
        match hour % (7 * 24) {
            // The machine restarts on the weekend.
            100 => {
                let interrupted = Run { exit_code: 143, minutes: 5, pending: 700, ..healthy(hour) };
                history.run(minute, interrupted).reboot(minute + 6, 9);
            }
            // A day later, the power fails in the middle of a run, which leaves no end.
            124 => history.begin(minute, healthy(hour)).reboot(minute + 4, 20),
            _ => _ = history.run(minute, healthy(hour)),
        }
    }
    let Some((_, ever)) = history.alerts(30 * DAY + HOUR) else { return };
    assert_eq!(ever, BTreeSet::new());
}

/// How many good runs come before a problem.
const GOOD_RUNS: usize = 6;

/// Good runs, then what `then` does with the history from the next hour on.
fn after_good_runs(then: impl FnOnce(&mut History)) -> History {
    let mut history = History::hourly(GOOD_RUNS, |_| GOOD);
    then(&mut history);
    history
}

#[test]
fn each_problem_raises_its_alert_within_one_period() {
    let next = (GOOD_RUNS + 1) * HOUR;
    let soon = next + HOUR;
    History::default().fires(2 * HOUR, &["NeverRan"]);
    after_good_runs(|_| ()).fires(next + 20, &["NotStarted"]);
    after_good_runs(|history| _ = history.begin(next, GOOD)).fires(soon + 20, &["NotEnded"]);
    let ends_with = |exit_code| {
        move |history: &mut History| {
            history.run(next, Run { exit_code, minutes: 2, pending: 800, ..GOOD });
        }
    };
    after_good_runs(ends_with(5)).fires(soon, &["KeyRefused"]);
    after_good_runs(ends_with(1)).fires(soon, &["Failed"]);
    after_good_runs(ends_with(6)).fires(soon, &["ApiTrouble"]);
    after_good_runs(ends_with(143)).fires(soon, &[]);
    let shrunk = Run { rows: 4_000, ..GOOD };
    after_good_runs(|history| _ = history.run(next, shrunk)).fires(soon, &["SourceShrunk"]);
    let empty = Run { rows: 0, ..GOOD };
    after_good_runs(|history| _ = history.run(next, empty)).fires(soon, &["SourceShrunk"]);
    let missing = Run { missing: 700, ..GOOD };
    after_good_runs(|history| _ = history.run(next, missing)).fires(soon, &["ManyMissing"]);
    let failures = Run { exit_code: 3, failed: 600, ..GOOD };
    after_good_runs(|history| _ = history.run(next, failures)).fires(soon, &["ManyFailures"]);
    let slow = Run { exit_code: 4, minutes: 50, pending: 820, ..GOOD };
    after_good_runs(|history| _ = history.run(next, slow)).fires(soon, &["Slow"]);
}

#[test]
fn more_than_half_of_a_small_list_is_many() {
    let small = Run { rows: 10, missing: 0, ..GOOD };
    let next = (GOOD_RUNS + 1) * HOUR;
    let fires = |run: Run, expected: &[&str]| {
        let mut history = History::hourly(GOOD_RUNS, |_| small);
        history.run(next, run).fires(next + HOUR, expected);
    };
    fires(Run { exit_code: 3, failed: 5, ..small }, &[]);
    fires(Run { exit_code: 3, failed: 6, ..small }, &["ManyFailures"]);
    // Of nine customers.
    fires(Run { missing: 4, ..small }, &[]);
    fires(Run { missing: 5, ..small }, &["ManyMissing"]);
}

#[test]
fn interruptions_that_never_end_make_the_copy_stale() {
    let history = History::hourly(GOOD_RUNS + 6, |hour| match hour {
        0..=GOOD_RUNS => GOOD,
        _ => Run { exit_code: 143, minutes: 3, pending: 700, ..GOOD },
    });
    history.fires((GOOD_RUNS + 3) * HOUR, &[]);
    history.fires((GOOD_RUNS + 4) * HOUR + 13, &["Stale"]);
}
