//! `man`: prints the manual page of the program or of one command.

use crate::app::cli::{self, ManArgs};
use crate::app::error::Error;
use crate::commands::print;
use crate::domain::exit::Exit;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io::{self, Write};

/// Holds the date of the release, which the pages carry. A build reads no clock: it could not be
/// repeated byte for byte.
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

/// Prints the page.
///
/// # Errors
/// There is no such command, or standard output cannot be written.
pub fn run(args: &ManArgs) -> Result<Exit, Error> {
    let mut program = cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
            Error::Usage(format!(
                "There is no command {}; `telemetron-sync --help` lists them.",
                crate::display::quoted(name)
            ))
        })?,
    };
    let mut page = Vec::new();
    write(&command, &mut page)?;
    print(&ascii(&String::from_utf8_lossy(&page)))?;
    Ok(Exit::Complete)
}

/// The date in the heading of this version: `## [0.1.0] - 2026-11-25`.
fn release_date(changelog: &str) -> Option<&str> {
    let heading = concat!("## [", env!("CARGO_PKG_VERSION"), "] - ");
    changelog.lines().find_map(|line| line.strip_prefix(heading))
}

fn write(command: &clap::Command, page: &mut dyn Write) -> io::Result<()> {
    let date = release_date(CHANGELOG).unwrap_or_default();
    let name = command.get_display_name().unwrap_or(command.get_name());
    let version = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let mut title = Roff::new();
    title.control("TH", [&name.to_uppercase(), "1", date, version]);
    title.to_writer(page)?;
    let man = Man::new(command.clone());
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    // The text after the help: its last part is the table of exit codes, which has its own section.
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    let notes = after.split("Exit codes").next().unwrap_or_default().trim();
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]).control("nf", []);
        for line in notes.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]).text([roman(exit.meaning())]);
    }
    roff.to_writer(page)
}

/// Other characters than ASCII in the form that every roff understands.
fn ascii(page: &str) -> String {
    let mut ascii = String::with_capacity(page.len());
    for c in page.chars() {
        match c {
            c if c.is_ascii() => ascii.push(c),
            c => ascii.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_changelog_dates_this_version() {
        let date = release_date(CHANGELOG).expect("CHANGELOG.md has a heading for this version");
        date.parse::<jiff::civil::Date>().expect("a date");
        assert_eq!(release_date("## [Unreleased]\n## [0.0.1] - 2020-01-01\n"), None);
    }
}
