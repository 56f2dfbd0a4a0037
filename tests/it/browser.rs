//! The HTML report of a real run, opened in headless Chromium.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use telemetron_sync::sandbox::{self, FaultPlan, FaultShare, Sandbox, SandboxSettings};

use crate::support::dir::TestDir;
use crate::support::server::binary;

/// A page that opens the report at two widths and writes what it sees into its own text. The report
/// itself runs no script.
const OBSERVER: &str = r#"<!doctype html><html lang="en"><meta charset="utf-8"><title>o</title><link rel="icon" href="data:,">
<style>iframe { border: 0; height: 4000px; }</style><pre id="seen"></pre>
<iframe src="/report.html" style="width:390px"></iframe><iframe src="/report.html" style="width:1100px"></iframe>
<script>
function light(color) {
  const [r, g, b] = color.match(/[\d.]+/g).map(Number).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function seen(frame) {
  const page = frame.contentDocument, view = frame.contentWindow;
  const style = element => view.getComputedStyle(element);
  const behind = element => {
    while (element && style(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
    return style(element || page.body).backgroundColor;
  };
  const contrast = element => {
    const isSvg = element.namespaceURI.endsWith("svg");
    const [a, b] = [light(isSvg ? style(element).fill : style(element).color), light(behind(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const all = [...page.body.querySelectorAll("*")];
  const texts = all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const figures = name => Object.fromEntries([...page.querySelectorAll(`[data-${name}]`)]
    .map(e => [e.dataset[name], e.innerText]));
  const cells = name => Object.fromEntries([...page.querySelectorAll(`tr[data-${name}]`)]
    .map(e => [e.dataset[name], [...e.cells].map(cell => cell.innerText)]));
  return {
    width: frame.clientWidth, scrollWidth: page.documentElement.scrollWidth,
    paper: light(style(page.body).backgroundColor), status: page.body.dataset.status,
    exitCode: page.body.dataset.exitCode, heading: page.querySelector("h1").innerText,
    counts: figures("count"), changes: figures("change"), failures: cells("failure"), runs: cells("run"),
    charts: [...page.querySelectorAll("figure")].map(f => f.innerText),
    drawings: [...page.querySelectorAll("svg")].filter(s => s.getBoundingClientRect().height > 100).length,
    rejects: page.querySelectorAll(".rejects tbody tr").length,
    warnings: page.querySelectorAll(".warning").length,
    commands: [...page.querySelectorAll(".command")].map(c => c.innerText),
    faint: texts.filter(e => contrast(e) < 4.5).map(e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`),
  };
}
onload = () => {
  document.getElementById("seen").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(seen));
};
</script></html>"#;

/// Serves the report and the page around it, and notes what is asked for.
struct Pages {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Pages {
    fn serve(report: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (report, notes) = (report.clone(), Arc::clone(&notes));
                std::thread::spawn(move || answer(&stream, &report, &notes));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.sort();
        asked.dedup();
        asked
    }
}

fn answer(mut stream: &TcpStream, report: &str, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    for line in lines {
        if line.map_or(true, |line| line.is_empty()) {
            break;
        }
    }
    let page = if path == "/report.html" { report } else { OBSERVER };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\n";
    // A browser that hangs up needs no more.
    let _ = write!(stream, "{head}content-length: {}\r\n\r\n{page}", page.len());
}

/// A color scheme, by Chromium's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Dark = 0,
    Light = 1,
}

struct Chromium {
    program: PathBuf,
    profile: TestDir,
}

impl Chromium {
    fn find() -> Option<Self> {
        Some(Self { program: binary(&["chromium", "chromium-browser"])?, profile: TestDir::new() })
    }

    /// Opens `url`. What it wrote: the page, then its log.
    fn open(&self, scheme: Scheme, what: &str, url: &str) -> (String, String) {
        let output = Command::new(&self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--disable-background-networking", "--no-first-run", "--enable-logging=stderr"])
            .arg(format!("--user-data-dir={}", self.profile.folder().display()))
            .arg(format!("--blink-settings=preferredColorScheme={}", scheme as u8))
            .args([what, url])
            .output()
            .expect("Chromium runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// What the observer saw in the report at each width.
    fn observe(&self, scheme: Scheme, pages: &Pages) -> Vec<Value> {
        let (page, log) = self.open(scheme, "--dump-dom", &format!("{}/", pages.url));
        let seen = page.split("<pre id=\"seen\">").nth(1).and_then(|rest| rest.split('<').next());
        let seen = unescaped(seen.unwrap_or_else(|| panic!("no observation in {page}\n{log}")));
        assert!(!log.contains("CONSOLE"), "the console has a message: {log}");
        serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error} in {page}\n{log}"))
    }
}

fn unescaped(html: &str) -> String {
    html.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// A sandbox where some emails and some requests fail; in the last revision there is an outage, too.
fn failing_sandbox(revision: u32) -> Sandbox {
    let is_last = revision == 2;
    let share = |text: &str| -> FaultShare { text.parse().expect("a fault") };
    let settings = SandboxSettings {
        latency: Duration::from_millis(3),
        jitter: Duration::from_millis(30),
        revision,
        faults: FaultPlan {
            shares: vec![share("503=2%")],
            permanent: vec![share("400=3%"), share("wrong-types=1%")],
            ..FaultPlan::default()
        },
        outages: if is_last { vec!["200+1s".parse().expect("an outage")] } else { Vec::new() },
        rate_limit: is_last.then_some(400.0),
        ..SandboxSettings::default()
    };
    sandbox::start(settings).expect("a sandbox")
}

/// A directory with the report of the last of three runs, as HTML and as JSON.
fn reported() -> TestDir {
    let dir = TestDir::new();
    let mut list = "email,note\n".to_owned();
    for n in 0..900 {
        list.push_str(&format!("p{n}@example.com,\n"));
        if n % 20 == 0 {
            list.push_str(&format!("p{n} at <b>example</b>.com,\nP{n}@example.com,again\n"));
        }
    }
    dir.write("list.csv", list);
    for (revision, limit) in [(0, "150"), (1, "100"), (2, "700")] {
        let sandbox = failing_sandbox(revision);
        let ended = dir
            .sync(sandbox.url())
            .args(["--limit", limit, "--report", "r.html", "--report", "r.json"])
            .env("TELEMETRON_TYPO", "1")
            .run();
        ended.exits(4);
    }
    dir
}

/// The figures of a JSON object that are not left out of the report, as people read them.
fn figures(object: &Value, keep_zero: Zeros) -> BTreeMap<String, String> {
    let figures = object.as_object().expect("an object").iter();
    let figures = figures.map(|(name, count)| (name.clone(), count.as_u64().expect("a count")));
    let figures = figures.filter(|(_, count)| keep_zero == Zeros::Shown || *count > 0);
    figures.map(|(name, count)| (name, telemetron_sync::display::grouped(count))).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Shown,
    LeftOut,
}

fn shown(object: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(object.clone()).expect("texts")
}

#[track_caller]
fn assert_figures(page: &Value, dir: &TestDir) {
    let json: Value = serde_json::from_str(&dir.read("r.json")).expect("JSON");
    assert_eq!(shown(&page["counts"]), figures(&json["counts"], Zeros::Shown));
    assert_eq!(shown(&page["changes"]), figures(&json["changes"], Zeros::LeftOut));
    assert_eq!(page["status"], json["status"]);
    assert_eq!(page["exitCode"], json["exit_code"].to_string());
    for failure in json["failures"].as_array().expect("failures") {
        let row = &page["failures"][failure["code"].as_str().expect("a code")];
        assert_eq!(row[0], failure["count"].to_string(), "{row}");
        assert_eq!(row[2], failure["last_reason"], "{row}");
    }
    let runs = dir.command(["runs", "--format", "json"]).run().exits(0).stdout;
    let runs: Vec<Value> = serde_json::from_str(&runs).expect("JSON");
    assert_eq!(page["runs"].as_object().map(serde_json::Map::len), Some(runs.len()));
    for run in runs {
        let row = &page["runs"][run["run_id"].to_string()];
        let counts = &run["counts"];
        assert_eq!(row[2], run["status"], "{row}");
        assert_eq!(row[3], counts["found"].to_string(), "{row}");
        let failures = counts["failed"].as_u64().zip(counts["rejected"].as_u64());
        let failures = failures.map(|(failed, rejected)| failed + rejected).expect("counts");
        assert_eq!(row[6], failures.to_string(), "{row}");
    }
}

#[test]
fn a_browser_shows_and_prints_the_report_of_a_run() {
    let Some(chromium) = Chromium::find() else { return };
    let dir = reported();
    let pages = Pages::serve(dir.read("r.html"));
    for scheme in [Scheme::Light, Scheme::Dark] {
        for page in chromium.observe(scheme, &pages) {
            assert_figures(&page, &dir);
            assert!(page["scrollWidth"].as_u64() <= page["width"].as_u64(), "too wide: {page}");
            assert_eq!(page["faint"], serde_json::json!([]), "hard to read ({scheme:?})");
            let is_dark = page["paper"].as_f64() < Some(0.1);
            assert_eq!(is_dark, scheme == Scheme::Dark, "{}", page["paper"]);
            let heading = page["heading"].as_str().expect("a heading");
            assert!(heading.starts_with("Run 3 stopped: --limit"), "{heading}");
            let titles = ["Emails per second", "Lookups in flight", "Failures", "Response times"];
            assert_eq!(page["drawings"], titles.len(), "{page}");
            let charts = page["charts"].as_array().expect("charts");
            for (chart, title) in charts.iter().zip(titles) {
                assert!(chart.as_str().is_some_and(|text| text.starts_with(title)), "{chart}");
            }
            assert_eq!((&page["rejects"], &page["warnings"]), (&50.into(), &1.into()), "{page}");
            assert_eq!(page["commands"].as_array().map(Vec::len), Some(2), "{page}");
        }
    }
    assert_eq!(pages.asked(), ["/", "/report.html"], "the report loads something");
    // On paper it is light, and short.
    let pdf = dir.path("r.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    chromium.open(Scheme::Dark, &print, &format!("{}/report.html", pages.url));
    let pages = pages_of(&pdf);
    assert!((2..=6).contains(&pages), "{pages} pages");
}

/// The number of pages of a PDF file.
fn pages_of(pdf: &Path) -> usize {
    let bytes = fs::read(pdf).expect("a PDF file");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("%PDF"));
    text.matches("/Type /Page\n").count()
}
