//! The README holds what is true: its options, exit codes and recipes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use telemetron_sync::domain::exit::Exit;
use telemetron_sync::sandbox::{SandboxSettings, start};

const README: &str = include_str!("../../README.md");

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_telemetron-sync"))
}

#[test]
fn the_options_are_those_of_the_help() {
    let help = Command::new(program()).args(["sync", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let options = help.split("\nOptions can stand").next().unwrap().trim();
    assert!(README.contains(options), "README.md should hold:\n{options}");
}

#[test]
fn the_exit_codes_are_all_told() {
    for exit in Exit::ALL {
        let line = format!("| {} | {} |", exit.code(), exit.meaning());
        assert!(README.contains(&line), "README.md should hold: {line}");
    }
}

/// The recipes that can run anywhere: blocks of ```` ```sh run ````.
fn recipes() -> Vec<&'static str> {
    let blocks = README.split("```sh run\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_recipes_run_as_printed() {
    let latency = Duration::ZERO;
    let key = "your-organizations-key".to_owned();
    let settings = SandboxSettings { latency, jitter: latency, key, ..Default::default() };
    let sandbox = start(settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/customers.csv");
    std::fs::copy(samples, folder.path().join("customers.csv")).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let folders = [program().parent().unwrap().to_owned()].into_iter();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).unwrap();
    let recipes = recipes();
    assert!(recipes.len() >= 7, "{recipes:?}");
    let has_sqlite = Command::new("sqlite3").arg("--version").output().is_ok();
    assert!(has_sqlite || std::env::var_os("CI").is_none(), "sqlite3 is not installed");
    for recipe in recipes {
        if recipe.contains("sqlite3 ") && !has_sqlite {
            println!("sqlite3 is not installed; not run: {recipe}");
            continue;
        }
        let done = Command::new("sh")
            .args(["-euc", recipe])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("TELEMETRON_API_URL", sandbox.url())
            .env("TELEMETRON_API_KEY", "your-organizations-key")
            .output()
            .unwrap();
        let told = [done.stdout, done.stderr].concat();
        assert!(done.status.success(), "{recipe}\n{}", String::from_utf8_lossy(&told));
    }
}
