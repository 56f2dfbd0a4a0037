//! The samples work together: one set of paths, and each is run or checked by the tool that reads it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::api::start_sandbox;
use crate::support::dir::TestDir;
use crate::support::server::binary;

pub(crate) fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_telemetron-sync")
}

/// The value of `key=` in a unit or a crontab; the last one counts.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.next_back().unwrap_or_else(|| panic!("no {key}= in\n{text}"))
}

/// The command line of the crontab, after its schedule and its user.
fn cron_command() -> String {
    let crontab = sample("telemetron-sync.cron");
    assert!(crontab.ends_with('\n'), "cron ignores a last line without its end");
    let line = crontab.lines().last().expect("a line");
    let fields: Vec<&str> = line.splitn(7, ' ').collect();
    assert_eq!((fields.len(), fields[5]), (7, "telemetron-sync"), "{line}");
    assert!(!line.contains('%'), "cron reads % as a line end");
    fields[6].to_owned()
}

/// A folder laid out as the samples expect it, below itself.
fn installed(api: &str) -> TestDir {
    let dir = TestDir::new();
    for folder in ["etc", "state/metrics"] {
        std::fs::create_dir_all(dir.path(folder)).expect("a folder");
    }
    dir.write("etc/api-key", "sandbox\n");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(dir.path("etc/api-key"), private).expect("a mode");
    let settings = here(&dir, &sample("settings.env"));
    dir.write("etc/settings.env", format!("{settings}TELEMETRON_API_URL={api}\n"));
    dir
}

/// A sample's text with its paths moved into `dir`.
fn here(dir: &TestDir, text: &str) -> String {
    let folder = dir.folder().display();
    let text = text.replace("/etc/telemetron-sync", &format!("{folder}/etc"));
    text.replace("/var/lib/telemetron-sync", &format!("{folder}/state"))
}

/// `script` as a scheduler runs it: without a terminal, and with nothing in the environment.
pub(crate) fn shell(dir: &TestDir, script: &str) -> Command {
    let folder = Path::new(program()).parent().expect("a folder");
    let mut command = Command::new("sh");
    command.args(["-c", script]).env_clear().current_dir(dir.folder()).stdin(Stdio::null());
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the command runs")
}

#[test]
fn the_crontab_syncs_in_silence_and_leaves_its_files() {
    let api = start_sandbox(Duration::ZERO);
    let dir = installed(&api.url());
    dir.write("state/customers.csv", "email\nperson1@example.com\nperson2@example.com\n");
    let result = output(&mut shell(&dir, &here(&dir, &cron_command())));
    let mail = String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned();
    assert_eq!((result.status.code(), mail.as_str()), (Some(0), ""));
    for file in ["telemetron.db", "last-run.html", "metrics/telemetron-sync.prom", "rejects.csv"] {
        assert!(dir.path("state").join(file).exists(), "{file}");
    }
}

#[test]
fn the_service_and_the_crontab_run_the_same_command() {
    let service = sample("telemetron-sync.service");
    let cron = cron_command();
    let (settings, command) = cron.split_once("; exec ").expect("settings, then the command");
    assert_eq!(command, value(&service, "ExecStart"));
    assert_eq!(settings, format!("set -a; . {}", value(&service, "EnvironmentFile")));
    assert_eq!(value(&service, "User"), "telemetron-sync");
    let key = value(&sample("settings.env"), "TELEMETRON_API_KEY_FILE").to_owned();
    assert_eq!(value(&service, "LoadCredential"), format!("telemetron-api-key:{key}"));
    // What the service may write is where the command writes.
    let state = value(&service, "StateDirectory");
    assert_eq!(state, "telemetron-sync telemetron-sync/metrics");
    for path in command.split(' ').filter(|word| word.starts_with('/')) {
        assert!(path.starts_with("/var/lib/telemetron-sync/"), "{path}");
    }
    let crontab = sample("telemetron-sync.cron");
    assert_eq!(value(&crontab, "SHELL"), "/bin/sh");
    assert!(value(&crontab, "PATH").split(':').any(|folder| folder == "/usr/local/bin"));
    value(&crontab, "MAILTO");
}

/// The path in the package of each file of the repository.
fn package() -> Vec<(String, String)> {
    let manifest: toml::Table = include_str!("../../Cargo.toml").parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("assets");
    let text = |asset: &toml::Value, at: usize| asset[at].as_str().expect("a path").to_owned();
    assets.iter().map(|asset| (text(asset, 0), text(asset, 1))).collect()
}

#[test]
fn the_package_puts_each_file_where_the_samples_expect_it() {
    let package = package();
    let path_of = |source: &str| {
        let asset = package.iter().find(|(file, _)| file == source);
        format!("/{}", asset.unwrap_or_else(|| panic!("{source} is not in the package")).1)
    };
    let service = sample("telemetron-sync.service");
    assert_eq!(path_of("samples/settings.env"), value(&service, "EnvironmentFile"));
    let program = path_of("target/release/telemetron-sync");
    let path = sample("telemetron-sync.cron");
    assert!(value(&path, "PATH").split(':').any(|folder| format!("{folder}/") == program));
    assert_eq!(path_of("samples/**/*"), "/usr/share/doc/telemetron-sync/examples/");

    let accounts = include_str!("../../packaging/debian/telemetron-sync.conf");
    let account = accounts.lines().find(|line| line.starts_with("u ")).expect("an account");
    assert_eq!(account.split(' ').nth(1), Some(value(&service, "User")));
    assert_eq!(account.split(' ').next_back(), Some("/var/lib/telemetron-sync"));
    let postinst = include_str!("../../packaging/debian/postinst");
    for folder in value(&service, "StateDirectory").split(' ') {
        assert!(postinst.contains(&format!("/var/lib/{folder}")), "{folder}");
    }
    let mode = value(&service, "StateDirectoryMode");
    assert!(postinst.contains(&format!("install -d -m {mode} ")), "{mode}");
}

#[test]
fn the_settings_are_options_of_sync() {
    let help = TestDir::new().command(["sync", "--help"]).run().exits(0).stdout;
    let settings = sample("settings.env");
    let lines = settings.lines().map(|line| line.trim_start_matches('#'));
    let names = lines.filter_map(|line| line.strip_prefix("TELEMETRON_")?.split_once('='));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    assert!(names.len() >= 7, "{names:?}");
    for name in names {
        let option = format!("--{} ", name.to_lowercase().replace('_', "-"));
        assert!(help.contains(&option), "no {option}in the help");
    }
}

#[test]
fn systemd_takes_the_units_and_finds_them_hardened() {
    let Some(analyze) = binary(&["systemd-analyze"]) else { return };
    let dir = TestDir::new();
    let service = sample("telemetron-sync.service");
    let command = format!("ExecStart={} ", program());
    dir.write("telemetron-sync.service", service.replace("ExecStart=telemetron-sync ", &command));
    dir.write("telemetron-sync.timer", sample("telemetron-sync.timer"));
    let mut verify = Command::new(&analyze);
    verify.args(["verify", "--man=no", "./telemetron-sync.service", "./telemetron-sync.timer"]);
    let verified = output(verify.current_dir(dir.folder()));
    let complaints = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> =
        complaints.lines().filter(|line| line.contains("telemetron-sync.")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{complaints}");

    let mut security = Command::new(&analyze);
    security.args(["security", "--offline=true", "--threshold=20", "./telemetron-sync.service"]);
    let rated = output(security.current_dir(dir.folder()));
    let rating = String::from_utf8_lossy(&rated.stdout);
    assert!(rated.status.success(), "exposure over 2.0:\n{rating}");
}
