//! A test that measures its own process and therefore needs one without other tests.

use std::process::Command;

const ARGUMENT: &str = "TEST_RUNS_ALONE_WITH";

/// What [`run`] gave this process; none in the process of all tests.
pub(crate) fn argument() -> Option<String> {
    std::env::var(ARGUMENT).ok()
}

/// Runs the test named `test` again, in a process of its own that gets `argument`.
#[track_caller]
pub(crate) fn run(test: &str, argument: &str) {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture"]).env(ARGUMENT, argument);
    let output = command.output().expect("this program runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "no test is named {test}: {stdout}");
}
