//! What we read out of CSV is what Python's csv module reads, line numbers included.

use std::fmt::Write as _;
use std::process::Command;

use telemetron_sync::source::{self, Location, SourceError, SourceSettings};

const FILES: usize = 400;

/// For each file one line of JSON: `[[line, [cell, …]], …]`, blank lines left out.
const PYTHON: &str = r#"
import csv, json, sys
for name in sys.argv[2:]:
    rows, line = [], 1
    with open(name, newline="", encoding="utf-8") as file:
        reader = csv.reader(file, delimiter=name.rsplit(".", 2)[1].replace("tab", "\t"))
        for row in reader:
            if row:
                rows.append([line, row])
            line = reader.line_num + 1
    print(json.dumps(rows))
"#;

struct Generated {
    delimiter: char,
    width: usize,
    text: String,
}

/// A file as programs and people write them: quoted or not, ragged, with blank lines, each kind of
/// line end, and quotes in the middle of bare cells.
fn generate(random: &mut fastrand::Rng) -> Generated {
    let delimiter = random.choice([',', ';', '\t', '|']).expect("one");
    let line_end = random.choice(["\n", "\r\n", "\r"]).expect("one");
    let width = random.usize(1..6);
    let mut text =
        (0..width).map(|i| format!("c{i}")).collect::<Vec<_>>().join(&delimiter.to_string());
    text.push_str(line_end);
    for _ in 0..random.usize(0..40) {
        let cells = if random.u8(..10) == 0 { random.usize(1..8) } else { width };
        for cell in 0..cells {
            if cell > 0 {
                text.push(delimiter);
            }
            push_cell(&mut text, random, delimiter);
        }
        for _ in 0..random.usize(1..3) {
            text.push_str(line_end);
        }
    }
    if random.bool() {
        text.push_str("last");
    }
    Generated { delimiter, width, text }
}

fn push_cell(text: &mut String, random: &mut fastrand::Rng, delimiter: char) {
    let quoted = random.bool();
    if quoted {
        text.push('"');
    }
    for position in 0..random.usize(0..8) {
        match random.u8(..12) {
            0 if quoted => text.push_str("\"\""),
            1 if quoted => text.push_str(random.choice(["\n", "\r\n", "\r"]).expect("one")),
            2 if quoted => text.push(delimiter),
            // A quote that opens a cell would not be a stray one.
            0 if position > 0 => text.push_str("x\"y"),
            1 | 2 => text.push('é'),
            3 => text.push('@'),
            4 if position > 0 => text.push(' '),
            _ => text.push(char::from(random.u8(b'a'..=b'z'))),
        }
    }
    if quoted {
        text.push('"');
    }
}

fn python(folder: &std::path::Path, names: &[String]) -> Option<Vec<serde_json::Value>> {
    let output =
        Command::new("python3").args(["-c", PYTHON, "--"]).args(names).current_dir(folder).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "python3 is not installed");
        eprintln!("skipped: python3 is not installed");
        return None;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let answer = String::from_utf8(output.stdout).expect("JSON");
    Some(answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[test]
fn reads_what_python_reads() {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<Generated> = (0..FILES).map(|_| generate(&mut random)).collect();
    let mut names = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let kind =
            if file.delimiter == '\t' { "tab".to_owned() } else { file.delimiter.to_string() };
        let name = format!("{number}.{kind}.csv");
        std::fs::write(folder.path().join(&name), &file.text).expect("a file");
        names.push(name);
    }
    let Some(answers) = python(folder.path(), &names) else { return };
    assert_eq!(answers.len(), FILES);
    for ((file, name), answer) in files.iter().zip(&names).zip(answers) {
        let rows = answer.as_array().expect("rows");
        for column in 0..file.width {
            let mut settings = SourceSettings::new(Location::File(folder.path().join(name)));
            settings.delimiter = Some(file.delimiter);
            settings.column = Some((column + 1).to_string());
            settings.no_header = true;
            let (mut ours, mut theirs) = (String::new(), String::new());
            for row in source::open(&settings).expect("the source opens") {
                // Not every cell here is an email.
                let row = match row {
                    Err(SourceError::NoValidEmail { .. } | SourceError::TooManyInvalid { .. }) => {
                        break;
                    }
                    row => row.expect("a row"),
                };
                let _ = writeln!(ours, "{} {:?}", row.row, row.text);
            }
            for row in rows {
                let cell = row[1][column].as_str().unwrap_or_default();
                let _ = writeln!(theirs, "{} {cell:?}", row[0]);
            }
            assert_eq!(ours, theirs, "{:?}", file.text);
        }
    }
}
