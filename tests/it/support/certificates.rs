//! Throwaway certificates, made by openssl.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::binary;

/// What a server shows, and its key.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A root that its own owner has made, as organizations do.
pub(crate) struct Root {
    openssl: PathBuf,
    folder: PathBuf,
    root: Certificate,
}

impl Root {
    /// None where openssl is not installed.
    pub(crate) fn new(folder: &Path, name: &str) -> Option<Self> {
        let openssl = binary(&["openssl"])?;
        let root = self_signed(&openssl, folder, name);
        Some(Self { openssl, folder: folder.to_owned(), root })
    }

    pub(crate) fn path(&self) -> String {
        self.root.certificate.display().to_string()
    }

    /// The root itself as a server's certificate, as a lazy setup has it.
    pub(crate) fn itself(&self) -> &Certificate {
        &self.root
    }

    /// A server's certificate for `localhost` that this root has signed.
    pub(crate) fn sign(&self, name: &str) -> Certificate {
        self.sign_for(name, "localhost", 2)
    }

    /// One for another host, valid for so many days; for less than none, it has expired.
    pub(crate) fn sign_for(&self, name: &str, host: &str, days: i32) -> Certificate {
        let file = |end: &str| self.folder.join(format!("{name}.{end}"));
        let (certificate, key, request) = (file("crt"), file("key"), file("csr"));
        let extensions = file("ext");
        let text = format!("subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(&extensions, text).expect("the extensions");
        run(Command::new(&self.openssl)
            .args(["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&request));
        run(Command::new(&self.openssl)
            .args(["x509", "-req", "-days", &days.to_string(), "-CAcreateserial", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&self.root.certificate)
            .arg("-CAkey")
            .arg(&self.root.key)
            .arg("-extfile")
            .arg(&extensions)
            .arg("-out")
            .arg(&certificate));
        Certificate { certificate, key }
    }
}

fn self_signed(openssl: &Path, folder: &Path, name: &str) -> Certificate {
    let (certificate, key) =
        (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    run(Command::new(openssl)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=root", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate));
    Certificate { certificate, key }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Puts a certificate where a server reads it, with the owner and mode that servers demand.
pub(crate) fn install(from: &Certificate, folder: &Path, owner: &Path) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let owner = std::fs::metadata(owner).expect("a folder");
    for (from, name) in [(&from.certificate, "server.crt"), (&from.key, "server.key")] {
        let path = folder.join(name);
        std::fs::copy(from, &path).expect("a copy");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }
}
