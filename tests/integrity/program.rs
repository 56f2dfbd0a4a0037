//! The program, run within this process, so that what it does to files is seen.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Once, PoisonError, RwLock};

use clap::FromArgMatches as _;
use jiff::{SignedDuration, Timestamp};
use telemetron_sync::app::cli::{self, Cli, Command};
use telemetron_sync::commands;
use telemetron_sync::time::{self, Clock, Moment};
use tempfile::TempDir;

/// Held while a run could hear a signal.
static SIGNALS: RwLock<()> = RwLock::new(());

/// The key that the API takes.
pub(crate) const KEY: &str = "sandbox";

/// A folder in memory where there is one: thousands of stores are made here.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}

/// The program tells of stops on standard error, thousands of times here. What a test prints goes to
/// standard output, as libtest's own lines do.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let null = File::options().write(true).open("/dev/null").expect("/dev/null");
        // SAFETY: both are open; nothing here owns standard error.
        assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), libc::STDERR_FILENO) }, 2);
        std::panic::set_hook(Box::new(|panic| println!("{panic}")));
    });
}

/// A store, the list that is synced into it, the key, and the clock on the wall.
pub(crate) struct TestDir {
    folder: TempDir,
    url: String,
    /// How far the clock is ahead, in seconds.
    ahead: Arc<AtomicI64>,
}

impl TestDir {
    pub(crate) fn new(url: String) -> Self {
        let dir = Self { folder: folder(), url, ahead: Arc::default() };
        dir.write("key", KEY);
        dir
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of our own");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sets the clock forward, or back.
    pub(crate) fn clock_jumps(&self, by: SignedDuration) {
        self.ahead.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        shifted(&self.ahead).wall
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("s.db")
    }

    pub(crate) fn list<E: AsRef<str>>(&self, emails: impl IntoIterator<Item = E>) {
        let mut list = "email\n".to_owned();
        for email in emails {
            list.push_str(email.as_ref());
            list.push('\n');
        }
        self.write("list.csv", &list);
    }

    /// Runs `sync` with these arguments; its exit code. The key is the right one, unless they name a
    /// file.
    pub(crate) fn sync(&self, args: &[&str]) -> u8 {
        let _shared = SIGNALS.read().unwrap_or_else(PoisonError::into_inner);
        self.run(args)
    }

    /// The same while no other run is under way, so that a signal to this process is for this run.
    pub(crate) fn sync_alone(&self, args: &[&str]) -> u8 {
        let _alone = SIGNALS.write().unwrap_or_else(PoisonError::into_inner);
        self.run(args)
    }

    /// Runs `forget` with these arguments; its exit code.
    pub(crate) fn forget(&self, args: &[&str]) -> u8 {
        let _shared = SIGNALS.read().unwrap_or_else(PoisonError::into_inner);
        let fixed = ["telemetron-sync", "forget", "--store"].map(OsString::from);
        let args = args.iter().map(OsString::from);
        let line = fixed.into_iter().chain([self.store().into()]).chain(args);
        let Cli { command: Command::Forget(args) } = parsed(line) else {
            panic!("not forget");
        };
        // Without what it prints, thousands of times here.
        match commands::forget::text(&args, &self.clock()) {
            Ok(_) => 0,
            Err(error) => error.exit().code(),
        }
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.ahead);
        Clock::new(move || shifted(&ahead))
    }

    fn run(&self, args: &[&str]) -> u8 {
        let fixed = ["telemetron-sync", "sync", "-q", "--api-url", &self.url, "--store"];
        let mut line: Vec<OsString> = fixed.map(Into::into).into();
        line.push(self.store().into());
        if !args.contains(&"--api-key-file") {
            line.extend(["--api-key-file".into(), self.path("key").into()]);
        }
        let args = args.iter().map(|arg| match arg.strip_suffix(".csv") {
            Some(_) => self.path(arg).into_os_string(),
            None => arg.into(),
        });
        quiet();
        let cli = parsed(line.into_iter().chain(args));
        match commands::run(cli, &self.clock()) {
            Ok(exit) => exit.code(),
            Err(error) => error.exit().code(),
        }
    }
}

fn parsed(line: impl Iterator<Item = OsString>) -> Cli {
    let matches = cli::command().try_get_matches_from(line).expect("arguments");
    Cli::from_arg_matches(&matches).expect("arguments")
}

fn shifted(ahead: &AtomicI64) -> Moment {
    let Moment { mono, wall } = time::moment();
    let ahead = SignedDuration::from_secs(ahead.load(Ordering::Relaxed));
    Moment { mono, wall: wall.saturating_add(ahead).expect("a time") }
}
