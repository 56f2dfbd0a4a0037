#!/usr/bin/env bash
# Changes the pure parts in every way that cargo-mutants knows, one at a time, and prints the changes that
# no unit test notices. The parts become a crate of their own, which compiles in seconds.
#
# Usage: docs/mutants.sh FOLDER [OPTION…]   works in FOLDER; an option is one of `cargo mutants`:
#                                           --shard 0/8, --file 'src/domain/**', --iterate, --jobs 2
#
# Needs: cargo install cargo-mutants --locked
set -euo pipefail
folder=${1:?which folder?}
shift
cd "$(dirname "$0")/.."
rm -rf "$folder/src" "$folder/tests"
mkdir -p "$folder/src/api" "$folder/src/store" "$folder/src/source/csv" "$folder/tests"
folder=$(realpath "$folder")

cp -R src/domain src/lookup src/display.rs src/time.rs "$folder/src"
rm "$folder/src/lookup/driver.rs"
sed -i '/^pub mod driver;/d' "$folder/src/lookup/mod.rs"
cp src/api/{classify,key,retry_after}.rs "$folder/src/api"
cp -R src/store/merge src/store/merge.rs "$folder/src/store"
cp src/source/csv/{dialect,records,scan}.rs "$folder/src/source/csv"
cp -R tests/scenarios "$folder/tests"
cat >"$folder/src/lib.rs" <<'RUST'
#![allow(dead_code, unreachable_pub)]
pub mod api {
    pub mod classify;
    pub mod key;
    pub mod retry_after;
}
pub mod display;
pub mod domain;
pub mod lookup;
pub mod source {
    pub mod csv {
        pub mod dialect;
        pub mod records;
        pub mod scan;
    }
}
pub mod store {
    pub mod merge;
}
pub mod time;
RUST

dependencies() {
  for name in "$@"; do
    grep -m 1 "^$name = " Cargo.toml
  done
}
cat >"$folder/Cargo.toml" <<TOML
[package]
name = "telemetron-sync-pure-parts"
version = "0.0.0"
edition = "2024"

[lib]
doctest = false

[dependencies]
$(dependencies backon bytes console csv encoding_rs fastrand futures hdrhistogram httpdate humantime jiff memchr serde serde_json sha2 thiserror unicode-properties url)
reqwest = { package = "http", version = "1" } # of which the key uses a header's value
tokio = { version = "1", features = ["macros", "rt", "sync", "time"] }

[dev-dependencies]
$(dependencies insta proptest toml)
tempfile = "3"

[profile.dev]
opt-level = 1
debug = false

[workspace]
TOML
mkdir -p "$folder/.cargo"
cp .cargo/mutants.toml "$folder/.cargo"
cp clippy.toml "$folder"

# What a simulation, a test or a text for debugging does is not examined. A mutant that makes a loop
# endless is found by the time limit.
mutants() {
  local failed=0
  cargo mutants --in-place --no-shuffle --exclude 'src/lookup/simulation.rs' --exclude 'src/lookup/scenarios/**' \
    --exclude 'src/display.rs' --exclude 'src/time.rs' --exclude 'src/api/key.rs' \
    "$@" || failed=$?
  # 2 and 3: some were not noticed, or only by the time limit.
  case $failed in 0 | 2 | 3) ;; *) exit "$failed" ;; esac
}
cd "$folder"
mutants --timeout 20 "$@" -- --lib -- --skip scenarios::
[[ " $* " != *" --list "* ]] || exit 0
# The scenarios take longer than all other tests together: they are for what is left.
again=()
while IFS= read -r mutant; do
  again+=(--re "^$(sed 's/[][\.*^$()+?{}|]/\\&/g' <<<"$mutant")\$")
done <mutants.out/missed.txt
[ ${#again[@]} = 0 ] || mutants --timeout 90 "${again[@]}" -- --lib scenarios::
