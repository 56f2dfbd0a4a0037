//! The rule of docs/ARCHITECTURE.md on what may import what, enforced.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::rust::{Modules, modules, parse};

/// What every part may use.
const VOCABULARY: [&str; 6] = ["domain", "display", "paths", "percent", "time", "stop_switch"];

/// The parts in the order of the path of an email, and what each imports besides the vocabulary: the
/// part before it, and for lookups the API.
const STAGES: [(&str, &[&str]); 7] = [
    ("source", &[]),
    ("plan", &["source"]),
    ("api", &[]),
    ("lookup", &["plan", "api"]),
    ("store", &[]),
    ("report", &[]),
    // It reads the store, and reaches PostgreSQL as a source does.
    ("publish", &["store", "source"]),
];

/// The parts around the path.
const AROUND: [(&str, &[&str]); 8] = [
    ("domain", &["display"]),
    ("display", &[]),
    ("paths", &[]),
    ("percent", &[]),
    ("time", &[]),
    ("stop_switch", &["domain"]),
    ("sandbox", &["percent", "time"]),
    // Turns what was typed into the settings of every part, and their errors into texts.
    (
        "app",
        &[
            "domain",
            "display",
            "percent",
            "time",
            "stop_switch",
            "source",
            "plan",
            "api",
            "lookup",
            "store",
            "report",
            "publish",
            "sandbox",
        ],
    ),
];

/// The only wiring: they may import every part, and no part imports them.
const WIRING: [&str; 3] = ["commands", "main", ""];

/// Modules, each with all modules in it, that compute and nothing else: no clock, no I/O, no async
/// runtime, and no random numbers but those that they are given.
const PURE: &[&str] = &[
    "domain",
    "display",
    "percent",
    "source::csv::column",
    "source::csv::delimiter",
    "source::csv::dialect",
    "source::csv::encoding",
    "source::csv::kinds",
    "source::csv::records",
    "source::csv::sample",
    "source::csv::scan",
    "source::csv::sniff",
    "source::database::fault",
    "source::notes",
    "lookup::backoff",
    "lookup::concurrency",
    "lookup::outage",
    "lookup::queue",
    "lookup::rate",
    "lookup::scheduler",
    "lookup::settings",
    "lookup::step",
    "api::classify",
    "api::retry_after",
    "store::merge",
    "report::html",
    "report::json",
    "report::markdown",
    "report::prom",
    "report::text",
    "sandbox::address",
    "sandbox::changes",
    "sandbox::customer",
    "sandbox::customers",
    "sandbox::faults",
    "sandbox::hash",
    "sandbox::incidents",
    "sandbox::json",
    "sandbox::limit",
    "sandbox::names",
    "sandbox::reply",
    "sandbox::rules",
    "sandbox::state",
];

/// What a pure module does not name.
const IMPURE: &[&str] = &[
    "crate::time::now",
    "crate::time::instant",
    "std::time::Instant::now",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process::Command",
    "std::process::abort",
    "std::process::exit",
    "std::thread",
    "fastrand::Rng::new",
    "futures_timer",
    "hyper::server",
    "reqwest",
    "rusqlite",
    "sqlx",
    "tokio",
    "tracing",
];

/// More lines than this need a reason.
const MOST_LINES: usize = 400;

/// Files that are longer, each with its reason.
const LONGER: &[(&str, &str)] =
    &[("app/cli.rs", "the whole command line, with the help text of each option")];

/// Every breach of the rule.
fn breaches(modules: &Modules) -> Vec<String> {
    let mut breaches = Vec::new();
    for (path, module) in modules {
        if !module.is_documented {
            breaches.push(format!("{} does not begin with a description (//!)", module.file));
        }
        let has_reason = LONGER.iter().any(|(file, _)| *file == module.file);
        match (module.lines > MOST_LINES, has_reason) {
            (true, false) => breaches.push(format!("{}: {} lines", module.file, module.lines)),
            (false, true) => breaches.push(format!("{} is not longer any more", module.file)),
            _ => {}
        }
        for import in module.imports(modules) {
            if !may_import(part(path), part(import)) {
                breaches.push(format!("{path} imports {import}"));
            }
        }
        if PURE.iter().any(|pure| is_in(path, pure)) {
            let impure = |named: &&String| IMPURE.iter().any(|impure| is_in(named, impure));
            let named = module.paths.iter().filter(impure);
            breaches.extend(named.map(|named| format!("{path} is pure and names {named}")));
        }
    }
    breaches.extend(cycle(modules).map(|cycle| format!("a cycle: {}", cycle.join(" -> "))));
    breaches
}

fn part(path: &str) -> &str {
    path.split("::").next().unwrap_or_default()
}

fn is_in(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn may_import(part: &str, other: &str) -> bool {
    if part == other || WIRING.contains(&part) {
        return true;
    }
    let stage = STAGES.iter().find(|(stage, _)| *stage == part);
    let allowed = stage.or_else(|| AROUND.iter().find(|(around, _)| *around == part));
    let is_vocabulary = stage.is_some() && VOCABULARY.contains(&other);
    is_vocabulary || allowed.is_some_and(|(_, allowed)| allowed.contains(&other))
}

/// Modules that import each other in a circle. A module may use what the modules around it define,
/// although they import it.
fn cycle(modules: &Modules) -> Option<Vec<&str>> {
    let mut done = BTreeSet::new();
    modules.keys().find_map(|path| search(path, modules, &mut Vec::new(), &mut done))
}

fn search<'a>(
    path: &'a str,
    modules: &'a Modules,
    trail: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(begin) = trail.iter().position(|before| *before == path) {
        return Some([&trail[begin..], &[path]].concat());
    }
    if done.contains(path) {
        return None;
    }
    trail.push(path);
    let imports = modules[path].imports(modules);
    let outside = imports.into_iter().filter(|import| !import.is_empty() && !is_in(path, import));
    let found = outside.into_iter().find_map(|import| search(import, modules, trail, done));
    trail.pop();
    done.insert(path);
    found
}

#[test]
fn the_crate_keeps_the_rule() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules = modules(&src);
    assert_eq!(breaches(&modules), [""; 0]);
    let stale = |pure: &&&str| !modules.contains_key(**pure);
    assert_eq!(PURE.iter().find(stale), None, "a pure module that is gone");
    let parts: BTreeSet<&str> = modules.keys().map(|path| part(path)).collect();
    let known = |of: &&&str| STAGES.iter().chain(&AROUND).any(|(part, _)| *part == **of);
    let unknown: Vec<_> = parts.iter().filter(|of| !known(of) && !WIRING.contains(of)).collect();
    assert_eq!(unknown, [&""; 0], "parts that the rule does not mention");
}

/// The breaches in a crate of these files, each given as name and code.
fn breaches_of(files: &[(&str, &str)]) -> Vec<String> {
    let described = |(name, code): &(&str, &str)| (format!("{name}.rs"), format!("//! D.\n{code}"));
    breaches(&parse(&files.iter().map(described).collect::<Vec<_>>()))
}

#[test]
fn a_stage_that_imports_another_is_found() {
    let files = |code| breaches_of(&[("store/mod", ""), ("store/runs", ""), ("plan/build", code)]);
    let breach = ["plan::build imports store::runs"];
    assert_eq!(files("use crate::store::runs::Run;"), breach);
    assert_eq!(files("use crate::{\n    store::{runs::{self, Run}},\n};"), breach);
    assert_eq!(files("fn f() { super::super::store::runs::load() }"), breach);
    assert_eq!(
        files("use crate::store as s;\nfn f() { s::runs::load() }").last().unwrap(),
        breach[0]
    );
    assert_eq!(
        files("// use crate::store::runs::Run;\nconst T: &str = \"crate::store\";"),
        [""; 0]
    );
    assert_eq!(files("#[cfg(test)]\nmod tests {\n    use crate::store::runs::Run;\n}"), [""; 0]);
    assert_eq!(files("#[cfg(test)]\nmod tests {\n}\nuse crate::store::runs::Run;"), breach);
}

#[test]
fn a_pure_module_that_reads_a_clock_or_a_file_is_found() {
    let files = |code| breaches_of(&[("domain/run", code), ("time", "")]);
    let breach = |named| vec![format!("domain::run is pure and names {named}")];
    assert_eq!(
        files("use std::time::Instant;\nfn f() { Instant::now(); }"),
        breach("std::time::Instant::now")
    );
    assert_eq!(files("use std::time::Instant;\nfn f(now: Instant) {}"), [""; 0]);
    assert_eq!(files("fn f() -> std::io::Result<()> { Ok(()) }"), breach("std::io::Result"));
    assert_eq!(files("use tokio::{time::sleep};"), breach("tokio::time::sleep"));
    assert_eq!(
        files("use crate::time;\nfn f() { time::now() }"),
        ["domain::run imports time", "domain::run is pure and names crate::time::now"]
    );
}

#[test]
fn a_cycle_is_found() {
    let files = [
        ("store/mod", "mod a; mod b;"),
        ("store/a", "use super::b::B;"),
        ("store/b", "use super::a;"),
    ];
    assert_eq!(breaches_of(&files), ["a cycle: store::a -> store::b -> store::a"]);
    let files = [("store/mod", "mod a;\nuse a::A;"), ("store/a", "use super::Store;")];
    assert_eq!(breaches_of(&files), [""; 0]);
}

#[test]
fn a_long_file_and_one_without_a_description_are_found() {
    let long = "fn f() {}\n".repeat(MOST_LINES);
    assert_eq!(breaches_of(&[("report/text", &long)]), ["report/text.rs: 401 lines"]);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert_eq!(breaches_of(&[("report/text", &tests)]), [""; 0]);
    let plain = parse(&[("report/text.rs".to_owned(), "fn f() {}\n".to_owned())]);
    assert_eq!(breaches(&plain), ["report/text.rs does not begin with a description (//!)"]);
}
