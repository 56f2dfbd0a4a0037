//! The program, run as a person or a scheduler runs it.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use super::clock::wait_until;
use super::dir::TestDir;

/// The key that the sandbox takes; scripted servers take any.
pub(crate) const KEY: &str = "sandbox";

/// A command that is about to run in a test's directory.
pub(crate) struct TestCommand<'a> {
    dir: &'a TestDir,
    command: Command,
}

impl<'a> TestCommand<'a> {
    pub(crate) fn new(dir: &'a TestDir) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telemetron-sync"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TELEMETRON_") {
                command.env_remove(name);
            }
        }
        for proxy in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(proxy);
        }
        command.env_remove("CREDENTIALS_DIRECTORY").current_dir(dir.folder());
        command.env("TELEMETRON_API_KEY", KEY).env("TELEMETRON_STORE", dir.path("s.db"));
        command.stdin(Stdio::null());
        Self { dir, command }
    }

    pub(crate) fn args<'b>(mut self, args: impl IntoIterator<Item = &'b str>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn api(self, url: &str) -> Self {
        self.args(["--api-url", url])
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_key(mut self) -> Self {
        self.command.env_remove("TELEMETRON_API_KEY");
        self
    }

    /// Runs it after what a shell does first, such as setting a limit.
    pub(crate) fn after(mut self, shell: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.dir.folder()).stdin(Stdio::null());
        self.command = command;
        self
    }

    /// Hands `bytes` over on standard input.
    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.dir.write("stdin", bytes);
        self.command.stdin(File::open(self.dir.path("stdin")).expect("standard input"));
        self
    }

    /// Leaves standard input open, for [`Running::say`].
    pub(crate) fn stdin_open(mut self) -> Self {
        self.command.stdin(Stdio::piped());
        self
    }

    /// Starts it without waiting for its end.
    pub(crate) fn start(mut self) -> Running<'a> {
        // Files rather than pipes, which would have to be read all the time.
        let folder = tempfile::tempdir_in(self.dir.folder()).expect("a folder");
        let output = |name| File::create(folder.path().join(name)).expect("an output");
        self.command.stdout(output("stdout")).stderr(output("stderr"));
        let process = self.command.spawn().expect("the program");
        Running { dir: self.dir, process, output: folder }
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Finished {
        self.start().wait()
    }
}

/// A command that runs; killed when dropped.
pub(crate) struct Running<'a> {
    dir: &'a TestDir,
    pub(crate) process: Child,
    output: tempfile::TempDir,
}

impl Running<'_> {
    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill").success());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Kills it as `kill -9` does. Whether it was still running.
    pub(crate) fn kill(mut self) -> bool {
        let was_running = self.is_running();
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.dir.assert_sums();
        was_running
    }

    /// What it wrote to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.text("stderr")
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).expect("an output");
        String::from_utf8(bytes).expect("output in UTF-8")
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> Finished {
        let dir = self.dir;
        let ended = self.wait_unchecked();
        dir.assert_sums();
        ended
    }

    /// The same where the test itself has damaged the store.
    pub(crate) fn wait_unchecked(mut self) -> Finished {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.process.try_wait().expect("a process");
            status.is_some()
        });
        let code = status.and_then(|status| status.code());
        Finished { code, stdout: self.text("stdout"), stderr: self.text("stderr") }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// None if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "\nstdout: {stdout}\nstderr: {stderr}");
        self
    }

    /// Standard output holds `text`.
    #[track_caller]
    pub(crate) fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in stdout:\n{}", self.stdout);
        self
    }

    /// Standard error holds `text`.
    #[track_caller]
    pub(crate) fn stderr_has(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in stderr:\n{}", self.stderr);
        self
    }

    /// Neither output holds `text`.
    #[track_caller]
    pub(crate) fn never_shows(self, text: &str) -> Self {
        let is_shown = [&self.stdout, &self.stderr].into_iter().any(|output| output.contains(text));
        assert!(!is_shown, "{text:?} in:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Not a byte.
    #[track_caller]
    pub(crate) fn prints_nothing(self) -> Self {
        assert_eq!((self.stdout.as_str(), self.stderr.as_str()), ("", ""));
        self
    }
}
