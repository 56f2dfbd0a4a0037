//! The program, run within this process, so that what it does to files is seen.

use std::fs::{self, File, Permissions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

use clap::FromArgMatches as _;
use telemetron_sync::app::cli::{self, Cli};
use telemetron_sync::{commands, time};
use tempfile::TempDir;

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
        let folder = folder();
        let key = folder.path().join("key");
        fs::write(&key, KEY).expect("a key file");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("a key file of our own");
        Self { folder, url }
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
        fs::write(self.path("list.csv"), list).expect("a list");
    }

    /// Runs `sync` with these arguments; its exit code.
    pub(crate) fn sync(&self, args: &[&str]) -> u8 {
        quiet();
        let (store, key) = (self.store(), self.path("key"));
        let fixed = ["telemetron-sync", "sync", "-q", "--api-url", &self.url, "--store"];
        let line = fixed.map(Into::into).into_iter().chain([
            store.into_os_string(),
            "--api-key-file".into(),
            key.into_os_string(),
        ]);
        let args = args.iter().map(|arg| match arg.strip_suffix(".csv") {
            Some(_) => self.path(arg).into_os_string(),
            None => arg.into(),
        });
        let matches = cli::command().try_get_matches_from(line.chain(args)).expect("arguments");
        let cli = Cli::from_arg_matches(&matches).expect("arguments");
        match commands::run(cli, time::instant()) {
            Ok(exit) => exit.code(),
            Err(error) => error.exit().code(),
        }
    }
}
