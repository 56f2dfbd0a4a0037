#!/usr/bin/env bash
# Builds the program and runs the soak test: an hour unless --hours says otherwise. Needs PostgreSQL.
#
# Usage: tests/soak/soak.sh [--hours H] [--emails N] [--rate N] [--seed N]
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo build --release --locked --quiet
exec nice python3 tests/soak/soak.py "$target/release/telemetron-sync" "$@"
