//! The scripts in the Kubernetes manifests, run as their containers run them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use telemetron_sync::sandbox::{Reply, Sandbox};

use crate::publishing::{restore, rows};
use crate::samples::{sample, shell};
use crate::support::api::{Api, customer, emails, start_sandbox};
use crate::support::clock::wait_until;
use crate::support::dir::TestDir;
use crate::support::postgres;
use crate::support::server::Server;

/// The shell script in a manifest, with each of the container's folders moved.
fn script<'a>(manifest: &str, folders: impl IntoIterator<Item = (&'a str, PathBuf)>) -> String {
    let manifest = sample(manifest);
    let (_, block) = manifest.split_once("- |\n").expect("a script");
    let indent = block.len() - block.trim_start().len();
    let lines = block.lines().take_while(|line| line.starts_with(&" ".repeat(indent)));
    let script = lines.map(|line| &line[indent..]).collect::<Vec<_>>().join("\n");
    folders.into_iter().fold(script, |script, (from, to)| {
        script.replace(&format!("{from}/"), &format!("{}/", to.display()))
    })
}

fn cron_pod(dir: &TestDir, api: &str) -> Command {
    let here = dir.folder().to_path_buf();
    let folders = [("/source", here.clone()), ("/data", here)];
    let mut pod = shell(dir, &script("kubernetes/cronjob.yaml", folders));
    pod.env("TELEMETRON_STORE", dir.path("s.db")).env("TELEMETRON_API_KEY", "sandbox");
    pod.env("TELEMETRON_API_URL", api).stdout(Stdio::null()).stderr(Stdio::null());
    pod
}

fn exit_code(pod: &mut Command) -> i32 {
    pod.status().expect("a pod").code().expect("an exit code")
}

#[test]
fn a_pod_succeeds_when_some_emails_failed_and_fails_when_a_person_is_needed() {
    let api = Api::with_rule(|request| match request.email? {
        "bad@x.io" => Some(Reply::error(400, "No")),
        _ => None,
    });
    api.has("a@x.io", customer("c1", "a@x.io"));
    let dir = TestDir::new();
    dir.write("customers.csv", "email\na@x.io\nbad@x.io\n");
    assert_eq!(exit_code(&mut cron_pod(&dir, &api.url())), 0);
    assert!(dir.path("last-run.html").exists());
    dir.write("customers.csv", "");
    assert_eq!(exit_code(&mut cron_pod(&dir, &api.url())), 1);
}

#[test]
fn a_pod_passes_sigterm_on() {
    let api: Sandbox = start_sandbox(Duration::from_millis(200));
    let dir = TestDir::new();
    dir.write("customers.csv", format!("email\n{}\n", emails(2000).join("\n")));
    let mut pod = cron_pod(&dir, &api.url()).spawn().expect("a pod");
    wait_until("requests are made", || api.requests() > 0);
    terminate(pod.id());
    assert_eq!(pod.wait().expect("a pod").code(), Some(143));
    assert_eq!(dir.rows("SELECT status FROM runs"), ["stopped"]);
}

fn terminate(id: u32) {
    let sent = Command::new("kill").args(["-s", "TERM", &id.to_string()]).status();
    assert!(sent.expect("kill").success());
}

/// A cluster whose job has two indexes; the second one is the organization org_1.
struct Cluster {
    dir: TestDir,
    server: Server,
    url: String,
}

/// The index of org_1.
const INDEX: &str = "1";

impl Cluster {
    fn new(api: &Api, count: usize) -> Option<Self> {
        let server = postgres::start("GRANT CREATE ON DATABASE crm TO reader")?;
        let dir = TestDir::new();
        for folder in ["fleet", "keys"] {
            std::fs::create_dir(dir.path(folder)).expect("a folder");
        }
        let row = |id, rate| {
            format!("{id},/fleet/{id}.csv,/data/{id}.db,{},/keys/{id},{rate}\r\n", api.url())
        };
        let header = "name,source,store,api_url,key_file,rate\r\n";
        let fleet = [header, &row("org_0", "1/s"), &row("org_1", "40/s")].concat();
        // The script reads the paths from the file, so they are moved there, too.
        let moved = |folder: &str| format!("{}/", dir.path(folder).display());
        let fleet = fleet.replace("/fleet/", &moved("fleet")).replace("/keys/", &moved("keys"));
        dir.write("fleet/template.csv", fleet);
        dir.write("fleet/org_1.csv", format!("email\n{}\n", emails(count).join("\n")));
        dir.write("keys/org_1", "key\n");
        let url = postgres::url(&server);
        Some(Self { dir, server, url })
    }

    /// The pod of an index, with an empty volume named `volume`.
    fn pod(&self, index: &str, volume: &str) -> Command {
        let data = self.dir.path(volume);
        std::fs::create_dir(&data).expect("an empty volume");
        let fleet = self.dir.read("fleet/template.csv");
        let fleet = fleet.replace("/data/", &format!("{}/", data.display()));
        self.dir.write("fleet/fleet.csv", fleet);
        let folders = [("/fleet", self.dir.path("fleet"))];
        let mut pod = shell(&self.dir, &script("kubernetes/indexed-job.yaml", folders));
        pod.env("JOB_COMPLETION_INDEX", index).env("TELEMETRON_PUBLISH", &self.url);
        pod.stdout(Stdio::null()).stderr(Stdio::null());
        pod
    }

    fn answered(&self) -> usize {
        let count = "SELECT count(*) FROM lookups WHERE outcome IS NOT NULL";
        rows(&self.server, "telemetron", count)[0].parse().expect("a number")
    }
}

/// The exit codes for which the Job gives an index up.
fn given_up() -> Vec<i32> {
    let manifest = sample("kubernetes/indexed-job.yaml");
    let (_, rule) = manifest.split_once("action: FailIndex").expect("a rule");
    let (_, values) = rule.split_once("values: [").expect("values");
    let (values, _) = values.split_once(']').expect("an end");
    values.split(", ").map(|code| code.parse().expect("a code")).collect()
}

#[test]
fn the_pod_of_an_index_continues_from_an_empty_volume() {
    let api = Api::new();
    api.has_all(emails(120));
    let Some(cluster) = Cluster::new(&api, 120) else { return };
    // The node is drained in the middle.
    let mut pod = cluster.pod(INDEX, "first").spawn().expect("a pod");
    wait_until("requests are made", || api.request_count() > 20);
    terminate(pod.id());
    let code = pod.wait().expect("a pod").code().expect("an exit code");
    assert_eq!(code, 143);
    assert!(!given_up().contains(&code), "another pod has to continue");
    let known = cluster.answered();
    assert!((20..120).contains(&known), "{known}");

    api.requests();
    assert_eq!(exit_code(&mut cluster.pod(INDEX, "second")), 0);
    assert_eq!(api.requests().len(), 120 - known, "what is published is not looked up again");
    assert_eq!(cluster.answered(), 120);
    let feed = "SELECT count(*), count(DISTINCT customer_id), max(seq) FROM changes";
    assert_eq!(rows(&cluster.server, "telemetron", feed), ["120|120|120"]);

    // Nothing is left to do, but the organization is published again.
    assert_eq!(exit_code(&mut cluster.pod(INDEX, "third")), 0);
    assert_eq!(api.requests().len(), 0);
    assert_eq!(rows(&cluster.server, "telemetron", "SELECT epoch FROM publications"), ["3"]);
}

#[test]
fn the_job_gives_an_index_up_exactly_where_a_person_is_needed() {
    let api = Api::with_rule(|request| match (request.key?, request.email?) {
        ("revoked", _) => Some(Reply::error(401, "Invalid or missing API key")),
        (_, "bad@x.io") => Some(Reply::error(400, "No")),
        _ => None,
    });
    api.has_all(emails(2));
    let Some(mut cluster) = Cluster::new(&api, 2) else { return };
    let ends = |cluster: &Cluster, index: &str, volume: &str| -> (i32, bool) {
        let code = exit_code(&mut cluster.pod(index, volume));
        (code, given_up().contains(&code))
    };
    assert_eq!(ends(&cluster, "9", "no-row"), (2, true));
    assert_eq!(ends(&cluster, "0", "no-source"), (1, true));
    cluster.dir.write("keys/org_1", "revoked\n");
    assert_eq!(ends(&cluster, INDEX, "revoked"), (5, true));
    cluster.dir.write("keys/org_1", "key\n");
    // Some emails are refused: the run is over, and published.
    cluster.dir.write("fleet/org_1.csv", "email\np0001@x.io\nbad@x.io\n");
    assert_eq!(ends(&cluster, INDEX, "rejected"), (0, false));
    assert_eq!(rows(&cluster.server, "telemetron", "SELECT count(*) FROM rejects"), ["1"]);
    cluster.server.crash();
    assert_eq!(ends(&cluster, INDEX, "no-database"), (6, false));
}

#[test]
fn a_pod_whose_place_another_one_took_does_not_let_the_index_be_given_up() {
    let api = Api::new();
    api.has_all(emails(100));
    let Some(cluster) = Cluster::new(&api, 100) else { return };
    let mut command = cluster.pod(INDEX, "first");
    let pod = command.env("TELEMETRON_PUBLISH_EVERY", "1s").spawn();
    let mut pod = pod.expect("a pod");
    wait_until("the run is published", || {
        let exists = "SELECT 1 FROM pg_views WHERE schemaname = 'telemetron' LIMIT 1";
        !rows(&cluster.server, "public", exists).is_empty() && cluster.answered() > 0
    });
    let other = TestDir::new();
    restore(&other, &cluster.server, "telemetron", "org_1").run().exits(0);
    assert_eq!(pod.wait().expect("a pod").code(), Some(6));
    assert!(!given_up().contains(&6));
}
