#!/usr/bin/env bash
# Builds the release of the current commit twice, in two folders, and compares every file.
# Takes two release builds: some 10 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD)
folders=$(mktemp -d)
trap 'rm -rf "$folders"' EXIT
for name in one another/and/deeper; do
  git clone --quiet . "$folders/$name/telemetron-sync"
  git -C "$folders/$name/telemetron-sync" checkout --quiet "$commit"
  env -u CARGO_TARGET_DIR "$folders/$name/telemetron-sync/packaging/release.sh" "$folders/$name/release"
done
diff --recursive "$folders/one/release" "$folders/another/and/deeper/release"
echo "equal, byte for byte: $(find "$folders/one/release" -type f | wc -l) files of $commit"
