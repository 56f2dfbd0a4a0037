#!/usr/bin/env python3
"""Prints the license texts of all libraries in the program, which must accompany it."""

import collections
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def main():
    host = subprocess.run(["rustc", "--print", "host-tuple"], capture_output=True, text=True, check=True).stdout.strip()
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    libraries = needed(metadata["resolve"])
    crates_of = collections.defaultdict(list)
    for package in sorted((packages[library] for library in libraries), key=lambda package: package["id"]):
        name = f"{package['name']} {package['version']} ({package['license']})"
        for text in texts(pathlib.Path(package["manifest_path"]).parent) or [""]:
            crates_of[text].append(name)
    without = crates_of.pop("", [])
    print(f"telemetron-sync contains {len(libraries)} libraries, under these licenses.")
    for text, crates in sorted(crates_of.items(), key=lambda entry: entry[1]):
        print("\n" + "=" * 80 + "\n" + "\n".join(crates) + "\n" + "-" * 80 + "\n" + text)
    if without:
        print("\n" + "=" * 80 + "\nWithout a text of their own; their manifests name the license:\n" + "\n".join(without))


def needed(resolve):
    """The packages that the program contains: no build or test tools."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    found, waiting = set(), [resolve["root"]]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            is_in_program = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_in_program and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return found


def texts(folder):
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.upper().startswith(NAMES))
    return ["\n".join(line.rstrip() for line in file.read_text(errors="replace").strip().splitlines()) for file in files]


if __name__ == "__main__":
    sys.exit(main())
