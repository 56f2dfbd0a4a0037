//! The program, run within this process, so that what it does to files is seen.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Once, PoisonError, RwLock};

use clap::FromArgMatches as _;
use telemetron_sync::app::cli::{self, Cli};
use telemetron_sync::{commands, time};
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

/// A store, the list that is synced into it, and the key.
pub(crate) struct TestDir {
    folder: TempDir,
    url: String,
}

impl TestDir {
    pub(crate) fn new(url: String) -> Self {
        let dir = Self { folder: folder(), url };
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

    fn run(&self, args: &[&str]) -> u8 {
        quiet();
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
        let matches =
            cli::command().try_get_matches_from(line.into_iter().chain(args)).expect("arguments");
        let cli = Cli::from_arg_matches(&matches).expect("arguments");
        match commands::run(cli, time::instant()) {
            Ok(exit) => exit.code(),
            Err(error) => error.exit().code(),
        }
    }
}
