//! The documents state what is true: options, exit codes, reject codes and recipes.
//!
//! Sections between `<!-- generated: NAME -->` and `<!-- end -->` are written by
//! `UPDATE_DOCS=1 cargo test --test it docs` and checked otherwise.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use telemetron_sync::app::logging::{EVENTS, EventKind};
use telemetron_sync::domain::email::InvalidEmail;
use telemetron_sync::domain::exit::Exit;
use telemetron_sync::domain::outcome::{FailureCode, REJECTED};
use telemetron_sync::sandbox::{SandboxSettings, start};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_telemetron-sync"))
}

fn read(document: &str) -> String {
    let text = std::fs::read_to_string(root().join(document));
    text.unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Checks that the generated section `name` of `document` holds `text`, or writes it.
pub(crate) fn generated(document: &str, name: &str, text: &str) {
    // Several tests write sections of one document.
    static DOCUMENTS: Mutex<()> = Mutex::new(());
    let _writing = DOCUMENTS.lock();
    let held = read(document);
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) =
        held.split_once(&begin).unwrap_or_else(|| panic!("{document} has no line {begin}"));
    let (section, after) = rest.split_once("<!-- end -->").expect("a section ends");
    if section == text {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{document}, section {name}, is out of date. Run: UPDATE_DOCS=1 cargo test --test it docs\n{text}"
    );
    let updated = format!("{before}{begin}{text}<!-- end -->{after}");
    std::fs::write(root().join(document), updated).expect("the document is writable");
}

/// The help of a command, up to the part that every command repeats.
fn help(command: &[&str]) -> String {
    let mut program = Command::new(program());
    let output = program.args(command).arg("--help").env("COLUMNS", "100").output();
    let help = String::from_utf8(output.expect("the program runs").stdout).expect("help is text");
    let ends = ["\nOptions can", "\nExamples:", "\nExit codes"].map(|end| help.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(help.len());
    help[..end].trim().to_owned()
}

/// The names in the program's own list of commands.
pub(crate) fn commands() -> Vec<String> {
    let help = help(&[]);
    let list = help.split("Commands:\n").nth(1).expect("there is a list of commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_options_are_those_of_the_help() {
    let mut text = String::new();
    for command in commands() {
        write!(text, "\n### {command}\n\n```text\n{}\n```\n", help(&[&command])).unwrap();
    }
    text.push('\n');
    generated("docs/REFERENCE.md", "options", &text);
}

#[test]
fn every_exit_code_is_documented() {
    let mut text = "| code | meaning |\n| ---: | --- |\n".to_owned();
    for exit in Exit::ALL {
        writeln!(text, "| {} | {} |", exit.code(), exit.meaning()).unwrap();
    }
    generated("docs/REFERENCE.md", "exit codes", &text);
}

/// The names of events in the source code: `event = "…"` of macros, `event: "…"` of lines.
fn events_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            events_in(&path, names);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("source code");
        let text = text.split("#[cfg(test)]").next().expect("a first part");
        for start in ["event = \"", "event: \"", "print(\""] {
            let found = text.split(start).skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(found.map(str::to_owned));
        }
        let macros =
            ["error", "warn", "info", "debug", "trace"].map(|level| format!("tracing::{level}!("));
        for call in macros.iter().flat_map(|name| text.split(name.as_str()).skip(1)) {
            assert!(call.trim_start().starts_with("event = "), "{path:?}: a line without an event");
        }
    }
}

#[test]
fn every_event_is_documented() {
    let mut text = "| event | level | meaning and fields |\n| --- | --- | --- |\n".to_owned();
    for EventKind { name, level, meaning } in EVENTS {
        writeln!(text, "| `{name}` | {level} | {meaning} |").unwrap();
    }
    generated("docs/REFERENCE.md", "events", &text);
    let mut used = BTreeSet::new();
    events_in(&root().join("src"), &mut used);
    assert_eq!(used, EVENTS.iter().map(|event| event.name.to_owned()).collect());
}

#[test]
fn every_reject_code_is_documented_and_no_other() {
    let invalid = InvalidEmail::ALL.map(InvalidEmail::code);
    let failed = FailureCode::ALL.map(FailureCode::name);
    let codes: BTreeSet<&str> = invalid.into_iter().chain([REJECTED]).chain(failed).collect();
    let reference = read("docs/REFERENCE.md");
    let section = reference.split("\n## Reject codes\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let documented = section.lines().filter_map(|line| {
        let code = line.strip_prefix("| `")?;
        code.split('`').next()
    });
    assert_eq!(documented.collect::<BTreeSet<_>>(), codes);
}

#[test]
fn the_readme_stays_short_and_its_links_work() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 150, "README.md has {} lines", readme.lines().count());
    let mut documents = vec![PathBuf::from("README.md")];
    let files = std::fs::read_dir(root().join("docs")).expect("there are docs");
    documents.extend(files.map(|file| Path::new("docs").join(file.unwrap().file_name())));
    for document in documents.iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let text = read(document.to_str().expect("a plain name"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(file)
            };
            let shown = document.display();
            assert!(root().join(&target).exists(), "{shown}: {link}: no such file");
            if !anchor.is_empty() {
                let text = read(target.to_str().expect("a plain name"));
                let known = anchors(&text);
                assert!(known.contains(anchor), "{shown}: {link}: no such heading: {known:?}");
            }
        }
    }
}

/// The anchors of a document's headings, as GitHub makes them: in lower case, without punctuation, with
/// hyphens for spaces.
fn anchors(document: &str) -> BTreeSet<String> {
    let outside_code = document.split("```").step_by(2);
    let headings = outside_code.flat_map(str::lines).filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// The recipes that can run anywhere: blocks of ```` ```sh run ````.
fn recipes(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh run\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_recipes_run_as_printed() {
    let latency = Duration::ZERO;
    let key = "your-organizations-key".to_owned();
    let settings = SandboxSettings { latency, jitter: latency, key, ..Default::default() };
    let sandbox = start(settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("samples/customers.csv"), folder.path().join("customers.csv"))
        .unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let folders = [program().parent().unwrap().to_owned()].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap();
    let readme = read("README.md");
    let recipes = recipes(&readme);
    assert!(recipes.len() >= 5, "{recipes:?}");
    let has_sqlite = Command::new("sqlite3").arg("--version").output().is_ok();
    assert!(has_sqlite || std::env::var_os("CI").is_none(), "sqlite3 is not installed");
    for recipe in recipes {
        if recipe.contains("sqlite3 ") && !has_sqlite {
            println!("sqlite3 is not installed; not run: {recipe}");
            continue;
        }
        let done = Command::new("sh")
            .args(["-euc", recipe])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("TELEMETRON_API_URL", sandbox.url())
            .env("TELEMETRON_API_KEY", "your-organizations-key")
            .output()
            .unwrap();
        let printed = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{recipe}\n{}", String::from_utf8_lossy(&printed));
    }
}
