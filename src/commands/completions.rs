//! `completions`: prints a script that completes commands and options in a shell.

use crate::app::cli::{self, CompletionsArgs, ShellName};
use crate::app::error::Error;
use crate::commands::print;
use crate::domain::exit::Exit;
use clap_complete::Shell;

/// Prints the script.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<Exit, Error> {
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
        ShellName::Powershell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), env!("CARGO_PKG_NAME"), &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Complete)
}
