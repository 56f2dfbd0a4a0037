//! The exit codes: what a scheduler or a script may rely on.

use std::fmt::Write as _;

/// How a command ended. The order is the precedence: where several hold, the greatest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Every planned email has an answer.
    Complete,
    /// Finished, with emails that were rejected or failed.
    Partial,
    /// Stopped as told.
    Told,
    /// Stopped by trouble with the API.
    Trouble,
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
    /// The key is refused, or another organization's.
    Key,
    /// The run could not do its job.
    Unusable,
    /// Another run holds the store.
    Locked,
    /// The command line is wrong.
    Usage,
}

impl Exit {
    /// Every code, the greatest precedence first.
    pub const ALL: [Self; 10] = [
        Self::Usage,
        Self::Locked,
        Self::Unusable,
        Self::Key,
        Self::Interrupted,
        Self::Terminated,
        Self::Trouble,
        Self::Told,
        Self::Partial,
        Self::Complete,
    ];

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Locked => 75,
            Self::Unusable => 1,
            Self::Key => 5,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::Trouble => 6,
            Self::Told => 4,
            Self::Partial => 3,
            Self::Complete => 0,
        }
    }

    /// What it means, for the help and the README.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "the command line is wrong",
            Self::Locked => "another run holds this store; try again later",
            Self::Unusable => "the run could not do its job: source, store or settings unusable",
            Self::Key => "the key is refused or another organization's; --resume goes on",
            Self::Interrupted => "interrupted by SIGINT after a clean drain; --resume goes on",
            Self::Terminated => "interrupted by SIGTERM after a clean drain; --resume goes on",
            Self::Trouble => {
                "stopped by trouble: outage, failure limit, too long a pause; --resume goes on"
            }
            Self::Told => "stopped as told by --deadline or --limit; --resume goes on",
            Self::Partial => "finished, but some emails were rejected or failed; they are listed",
            Self::Complete => "every planned email has an answer",
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
        assert_eq!(codes, [2, 75, 1, 5, 130, 143, 6, 4, 3, 0]);
    }
}
