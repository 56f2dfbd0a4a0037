#!/usr/bin/env bash
# Compares telemetron-sync with what people use instead: a script, a dlt pipeline and qsv. Installs them
# into target/compare (qsv takes some minutes to build) and prints a table for each question.
#
# Usage: benches/compare/compare.sh [speed] [trouble]
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/compare
[ -x "$tools/bin/python" ] || python3 -m venv "$tools"
"$tools/bin/pip" install --quiet 'aiohttp==3.14.5' 'tenacity==9.2.1' 'sqlite-utils==4.2.1' 'dlt[sqlalchemy]==1.31.0'
# The published crate calls a method that only its own copy of a dependency has; another command uses it.
qsv() {
  cargo install qsv --version 16.1.0 --locked --no-default-features --features feature_capable,fetch \
    --root "$tools" && return
  rm -rf "$tools/qsv-source"
  cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/qsv-16.1.0 "$tools/qsv-source"
  sed -i '/\.preserve_key_order(true)/d' "$tools/qsv-source/src/cmd/json.rs"
  cargo install --path "$tools/qsv-source" --locked --no-default-features \
    --features feature_capable,fetch --bin qsv --root "$tools"
}
[ -x "$tools/bin/qsv" ] || qsv
cargo build --release --quiet
grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //' || true
echo "$(nproc) cores, $(uname -sr), $(git describe --always --dirty)"
exec "$tools/bin/python" benches/compare/compare.py "$target/release/telemetron-sync" "$tools/bin/qsv" "$@"
