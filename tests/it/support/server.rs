//! What throwaway database servers have in common.
#![expect(clippy::disallowed_methods, reason = "a server needs real time to start and to stop")]

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The password of the user that the tests read with.
pub(crate) const PASSWORD: &str = "geheim#1/x";

/// The same as a URL wants it.
pub(crate) const PASSWORD_IN_URL: &str = "geheim%231%2Fx";

/// A running server that is stopped and deleted when dropped.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) process: Child,
}

impl Server {
    /// Stops the server at once, as a crash would.
    pub(crate) fn crash(&mut self) {
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        // Not SIGKILL: PostgreSQL's other processes would live on for a while.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let patience = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if patience.elapsed() > Duration::from_secs(5) {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// A server that all tests running at the same time share; the last of them stops it.
pub(crate) struct Shared(Mutex<Weak<Server>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The running server, or the one that `start` starts.
    pub(crate) fn get(&self, start: impl FnOnce() -> Option<Server>) -> Option<Arc<Server>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return Some(server);
        }
        let server = Arc::new(start()?);
        *running = Arc::downgrade(&server);
        Some(server)
    }
}

/// The first of these files that exists; one in the search path counts. Without any, the test has
/// nothing to run: says so, or fails where `CI` is set.
pub(crate) fn binary(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.push("/usr/sbin".into());
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let mut files = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "none of {names:?} is installed");
        eprintln!("skipped: none of {names:?} is installed");
    }
    found
}

/// A folder that the server's own user can write: servers refuse to run as root.
pub(crate) fn folder_of(user: &str) -> (TempDir, Option<(u32, u32)>) {
    let folder = tempfile::tempdir().expect("a folder");
    let ids = is_root().then(|| (id("-u", user), id("-g", user)));
    if let Some((uid, gid)) = ids {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("chown");
    }
    (folder, ids)
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id");
    output.stdout.trim_ascii() == b"0"
}

fn id(flag: &str, user: &str) -> u32 {
    let output = Command::new("id").args([flag, user]).output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// A command that runs as the server's own user, in its folder, and says nothing.
pub(crate) fn command(program: &Path, folder: &TempDir, ids: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = ids {
        command.uid(uid).gid(gid);
    }
    let log = std::fs::File::options().create(true).append(true).open(folder.path().join("log"));
    let log = log.expect("a log");
    // Servers that start at the same time must not share their temporary tables.
    command.current_dir(folder.path()).env("TMPDIR", folder.path()).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    command
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Tries until it works; a server needs a moment to start.
pub(crate) fn wait_until(folder: &TempDir, mut works: impl FnMut() -> bool) {
    let started = Instant::now();
    while !works() {
        if started.elapsed() > Duration::from_secs(60) {
            let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            panic!("the server does not start: {log}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
