//! The exit codes: what a scheduler or a script may rely on.
//!
//! Pure: no clock, no I/O.

use std::fmt::Write as _;

/// How a command ended. The order is the precedence: if several apply, the greatest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Complete,
    Partial,
    LimitReached,
    ApiTrouble,
    Terminated,
    Interrupted,
    HungUp,
    WrongKey,
    Failed,
    StoreLocked,
    Usage,
}

impl Exit {
    /// Every code, the greatest precedence first.
    pub const ALL: [Self; 11] = [
        Self::Usage,
        Self::StoreLocked,
        Self::Failed,
        Self::WrongKey,
        Self::HungUp,
        Self::Interrupted,
        Self::Terminated,
        Self::ApiTrouble,
        Self::LimitReached,
        Self::Partial,
        Self::Complete,
    ];

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::StoreLocked => 75,
            Self::Failed => 1,
            Self::WrongKey => 5,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::ApiTrouble => 6,
            Self::LimitReached => 4,
            Self::Partial => 3,
            Self::Complete => 0,
        }
    }

    /// What it means, for the help and the reference.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "invalid command line",
            Self::StoreLocked => "another run holds this store; try again later",
            Self::Failed => {
                "the run could not do its job: source, store or settings unusable, or another store took over"
            }
            Self::WrongKey => {
                "the key was refused or is another organization's, or nothing was found; fix that, then --resume"
            }
            Self::HungUp => "interrupted by SIGHUP after a clean stop; --resume continues",
            Self::Interrupted => "interrupted by SIGINT after a clean stop; --resume continues",
            Self::Terminated => "interrupted by SIGTERM after a clean stop; --resume continues",
            Self::ApiTrouble => {
                "stopped: outage, failure limit, or the API asked for a long pause; --resume continues"
            }
            Self::LimitReached => "stopped: --deadline or --limit reached; --resume continues",
            Self::Partial => {
                "finished, but some emails were rejected or failed, or the last publication failed: see the report"
            }
            Self::Complete => "every planned email was found or not found",
        }
    }

    /// The table of all codes as plain lines.
    pub fn table() -> String {
        Self::ALL.iter().fold(String::new(), |mut table, exit| {
            let _ = writeln!(table, "  {:>3}  {}", exit.code(), exit.meaning());
            table
        })
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_the_codes_in_order_of_precedence() {
        assert!(Exit::ALL.iter().rev().is_sorted());
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [2, 75, 1, 5, 129, 130, 143, 6, 4, 3, 0]);
    }

    #[test]
    fn the_table_says_what_each_code_means() {
        let table = Exit::table();
        assert_eq!(table.lines().count(), Exit::ALL.len());
        for (line, exit) in table.lines().zip(Exit::ALL) {
            let (code, meaning) = line.trim().split_once("  ").expect("two columns");
            assert_eq!(code, exit.code().to_string());
            assert!(meaning.len() > 10 && meaning == exit.meaning(), "{line}");
            let process = std::process::ExitCode::from(exit);
            assert_eq!(
                format!("{process:?}"),
                format!("{:?}", std::process::ExitCode::from(exit.code()))
            );
        }
        assert!(table.contains("  0  every planned email was found or not found"));
    }
}
