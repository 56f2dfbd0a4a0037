#!/usr/bin/env bash
# Writes what a package holds besides the program's own files: manual pages, completions,
# changelogs, licenses.
# usage: packaging/assets.sh PROGRAM FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1 folder=$2
rm -rf "$folder"
mkdir -p "$folder/man"

commands=$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\{1,\}\) .*/\1/p')
[ -n "$commands" ] || { echo 'the help lists no commands'; exit 1; }
"$program" man >"$folder/man/telemetron-sync.1"
for command in $commands; do
  "$program" man "$command" >"$folder/man/telemetron-sync-$command.1"
done
gzip -9n "$folder"/man/*
for shell in bash fish zsh; do
  "$program" completions "$shell" >"$folder/telemetron-sync.$shell"
done

# Debian's changelog has one entry: that of this version.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
date=$(sed -n "s/^## \[$version\] - //p" CHANGELOG.md)
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
printf 'telemetron-sync (%s-1) stable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
  "$version" "$maintainer" "$(date -u -R -d "$date")" | gzip -9n >"$folder/changelog.Debian.gz"
gzip -9n <CHANGELOG.md >"$folder/changelog.gz"
packaging/licenses.py | gzip -9n >"$folder/third-party-licenses.gz"

{
  printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
  printf 'Upstream-Name: telemetron-sync\n\nFiles: *\n'
  sed -n 's/^Copyright (c) /Copyright: /p' LICENSE-MIT
  printf 'License: Expat or Apache-2.0\n\nLicense: Apache-2.0\n See /usr/share/common-licenses/Apache-2.0.\n'
  printf '\nLicense: Expat\n'
  sed '1,/^Copyright/d; /./!s/^/./; s/^/ /' LICENSE-MIT | sed '1{/^ \.$/d}'
} >"$folder/copyright"
