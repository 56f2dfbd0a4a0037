//! What the program prints for shells and for `man`.

use std::process::{Command, Stdio};

use crate::support::dir::TestDir;
use crate::support::server::binary;

/// The output of `script`, run by the shell `shell` in `dir`. None if the shell is not installed.
fn run_in(dir: &TestDir, shell: &str, script: &str) -> Option<String> {
    let shell = binary(&[shell])?;
    let mut command = Command::new(shell);
    command.arg("-c").arg(script).current_dir(dir.folder()).env("HOME", dir.folder());
    let output = command.stdin(Stdio::null()).output().expect("the shell runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{script}\n{errors}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// A folder with the completion script of `shell` in `script`.
fn completions(shell: &str) -> TestDir {
    let dir = TestDir::new();
    let script = dir.command(["completions", shell]).run().exits(0).stdout;
    dir.write("script", script);
    dir
}

#[test]
fn bash_completes_commands_and_the_options_of_a_command() {
    let dir = completions("bash");
    for (typed, completed) in [("comp", "completions"), ("sync --max-ag", "--max-age")] {
        let at = typed.split(' ').count();
        let current = typed.split(' ').next_back().expect("a word");
        let script = format!(
            "source ./script; COMP_WORDS=(telemetron-sync {typed}); COMP_CWORD={at}
             _telemetron-sync telemetron-sync {current} \"${{COMP_WORDS[$COMP_CWORD - 1]}}\"
             echo \"${{COMPREPLY[@]}}\""
        );
        let Some(output) = run_in(&dir, "bash", &script) else { return };
        assert_eq!(output.trim(), completed, "{typed}");
    }
}

#[test]
fn fish_completes_the_options_of_a_command() {
    let dir = completions("fish");
    let script = "source script; complete -C 'telemetron-sync sync --max-a'";
    let Some(output) = run_in(&dir, "fish", script) else { return };
    assert!(output.starts_with("--max-age"), "{output}");
}

#[test]
fn zsh_takes_the_script() {
    let dir = completions("zsh");
    let script =
        "autoload -Uz compinit; compinit -u; source ./script; print -r -- $_comps[telemetron-sync]";
    let Some(output) = run_in(&dir, "zsh", script) else { return };
    assert_eq!(output.trim(), "_telemetron-sync");
}

#[test]
fn powershell_gets_every_command() {
    let script = TestDir::new().command(["completions", "powershell"]).run().exits(0).stdout;
    for command in ["telemetron-sync;sync", "telemetron-sync;man"] {
        assert!(script.contains(&format!("'{command}'")), "{command}");
    }
}

#[test]
fn an_unknown_shell_is_a_usage_error() {
    TestDir::new().command(["completions", "tcsh"]).run().exits(2).stderr_has("tcsh");
    TestDir::new().command(["man", "snyc"]).run().exits(2).stderr_has("There is no command `snyc`");
}

#[test]
fn manual_pages_are_sound() {
    let dir = TestDir::new();
    let commands = crate::docs::commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in std::iter::once(None).chain(commands.iter().map(Some)) {
        let args = std::iter::once("man").chain(command.map(String::as_str));
        let page = dir.command(args).run().exits(0).stdout;
        assert!(page.contains(".SH \"EXIT STATUS\"\n.TP\n\\fB2\\fR\n"), "{page}");
        dir.write("page.1", page);
        for check in
            ["mandoc -T lint -W warning page.1 2>&1", "groff -man -ww -z -T utf8 page.1 2>&1"]
        {
            let Some(_) = binary(&[check.split(' ').next().expect("a program")]) else { return };
            let Some(complaints) = run_in(&dir, "bash", check) else { return };
            assert_eq!(complaints, "", "{command:?}: {check}");
        }
    }
}
