//! A small disk of its own.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::dir::TestDir;

/// A file system in memory, mounted as `disk` in a test's directory until dropped.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts it, with room for so many KiB. None, and a word about it, where that is not allowed.
    pub(crate) fn new(dir: &TestDir, kib: u64) -> Option<Self> {
        let path = dir.path("disk");
        std::fs::create_dir(&path).expect("a folder");
        let size = format!("size={kib}k");
        let disk = Self { path };
        let mounted = disk.mount(&["-t", "tmpfs", "-o", &size, "tmpfs"]);
        if !mounted {
            println!("skipped: this user may not mount a disk");
        }
        mounted.then_some(disk)
    }

    /// Mounts it again with another option, such as `ro`.
    pub(crate) fn remount(&self, option: &str) {
        assert!(self.mount(&["-o", &format!("remount,{option}")]), "{option}");
    }

    /// How much of it is taken, in KiB.
    pub(crate) fn used_kib(&self) -> u64 {
        let files = std::fs::read_dir(&self.path).expect("a folder").flatten();
        files.map(|file| file.metadata().expect("a file").blocks() / 2).sum()
    }

    fn mount(&self, args: &[&str]) -> bool {
        let mount = Command::new("mount").args(args).arg(&self.path).stderr(Stdio::null()).status();
        mount.is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).stderr(Stdio::null()).status();
    }
}
