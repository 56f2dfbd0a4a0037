#!/usr/bin/env bash
# Makes a release in FOLDER: the Debian package, an archive for other systems, the source, the list of
# what is in the program (SBOM), and their checksums. Two releases of one commit are equal byte for
# byte, wherever they are built (packaging/reproducible.sh).
# usage: packaging/release.sh [FOLDER]        FOLDER is target/VERSION unless given
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
date=$(sed -n "s/^## \[$version\] - //p" CHANGELOG.md)
[ -n "$date" ] || { echo "CHANGELOG.md needs a heading: ## [$version] - YYYY-MM-DD"; exit 1; }
target=${CARGO_TARGET_DIR:-$PWD/target}
out=${1:-$target/$version}
mkdir -p "$out"
out=$(cd "$out" && pwd)
for tool in cargo-auditable cargo-deb auditable2cdx; do
  command -v "$tool" >/dev/null || { echo "$tool is missing. Run: cargo install $tool --locked"; exit 1; }
done

# Nothing of this machine enters the program: no time, and no folder.
SOURCE_DATE_EPOCH=$(date -u -d "$date" +%s)
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022
folders=("$PWD=." "$target=target" "${CARGO_HOME:-$HOME/.cargo}=cargo" "$(rustc --print sysroot)=rust")
export RUSTFLAGS='' CFLAGS=''
for folder in "${folders[@]}"; do
  RUSTFLAGS+=" --remap-path-prefix=$folder"
  CFLAGS+=" -ffile-prefix-map=$folder"
done

CARGO_TARGET_DIR=$target cargo auditable build --release --locked
program=$target/release/telemetron-sync
packaging/assets.sh "$program" "$target/release/packaging"

CARGO_TARGET_DIR=$target cargo deb --no-build --locked --output "$out"

archive=telemetron-sync-$version-$(rustc -vV | sed -n 's/^host: //p')
rm -rf "${target:?}/$archive"
mkdir -p "$target/$archive"
cp -R "$program" "$target/release/packaging/man" README.md CHANGELOG.md LICENSE-* SECURITY.md docs \
  samples "$target/$archive"
mkdir "$target/$archive/completions"
cp "$target"/release/packaging/telemetron-sync.* "$target/$archive/completions"
cp "$target/release/packaging/third-party-licenses.gz" "$target/$archive"
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
  --directory="$target" "$archive" | gzip -9n >"$out/$archive.tar.gz"

CARGO_TARGET_DIR=$target cargo package --locked --no-verify --quiet
cp "$target/package/telemetron-sync-$version.crate" "$out"

# What the program was built from, as cargo-auditable wrote it into the program.
auditable2cdx "$program" >"$out/telemetron-sync-$version.cdx.json"

cd "$out"
sha256sum -- *.deb *.tar.gz *.crate *.json >SHA256SUMS
cat SHA256SUMS
