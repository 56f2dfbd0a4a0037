"""Reads 200 generated CSV files with telemetron-sync, Python's csv and DuckDB, each by its own sniffer, and
names every file that one of them reads otherwise than it was written.

Usage: dialects.py PROGRAM [FILES] [SEED]    (independent.sh installs DuckDB)

What counts is the emails in the email column. The program must find all of them, and nothing else, in
every file. Python and DuckDB do not detect encodings, so they are told them.
"""

import csv
import io
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import duckdb

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/soak"))
from world import Sandbox  # noqa: E402

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", "^": "caret", "~": "tilde"}
ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]
WORDS = ["Müller", "O'Brien", "Smith", "Café", "N/A", "", "7", "3.14", "2024-01-31", "12:30", "10%", "a b c"]


class Dialect:
    """How a file is written, and what is in it."""

    def __init__(self, chance):
        self.delimiter = chance.choice(list(DELIMITERS))
        self.line_end = chance.choice(["\n", "\n", "\r\n", "\r"])
        self.encoding = chance.choice(ENCODINGS)
        self.quoting = chance.choice(["minimal", "all", "none"])
        self.has_header = chance.random() < 0.8
        self.title_lines = chance.choice([0, 0, 0, 2])
        self.hard = set()
        if self.quoting != "none":
            self.hard = {what for what in ("delimiter", "quote", "line end") if chance.random() < 0.3}
        self.is_ragged = chance.random() < 0.15
        self.width = chance.randint(1, 6)
        self.column = chance.randrange(self.width)
        self.ends_with_line_end = chance.random() < 0.8
        self.emails = [f"user{n}.{chance.randrange(1000)}@example.com" for n in range(chance.randint(3, 60))]

    def __str__(self):
        features = [DELIMITERS[self.delimiter], f"quoting {self.quoting}", repr(self.line_end), self.encoding]
        features += [f"{what} in cells" for what in sorted(self.hard)]
        features += ["no header"] * (not self.has_header) + ["title lines"] * bool(self.title_lines)
        features += ["ragged"] * self.is_ragged + ["one column"] * (self.width == 1)
        return ", ".join(features)

    def cell(self, chance):
        text = chance.choice(WORDS)
        if self.hard and chance.random() < 0.3:
            text += {"delimiter": self.delimiter, "quote": '"', "line end": self.line_end}[chance.choice(sorted(self.hard))]
            text += chance.choice(WORDS)
        return text

    def write(self, path, chance):
        out = io.StringIO(newline="")
        quoting = {"minimal": csv.QUOTE_MINIMAL, "all": csv.QUOTE_ALL, "none": csv.QUOTE_NONE}[self.quoting]
        writer = csv.writer(out, delimiter=self.delimiter, lineterminator=self.line_end, quoting=quoting,
                            quotechar='"', escapechar=None)
        for n in range(self.title_lines):
            out.write(f"Exported list {n}{self.line_end}")
        if self.has_header:
            names = [f"field {n}" for n in range(self.width)]
            names[self.column] = "Email"
            writer.writerow(names)
        for email in self.emails:
            row = [self.cell(chance) for _ in range(self.width)]
            row[self.column] = email
            if self.is_ragged and chance.random() < 0.2:
                row = row[:self.column + 1]
            writer.writerow(row)
        text = out.getvalue()
        if not self.ends_with_line_end:
            text = text[:-len(self.line_end)]
        path.write_bytes(text.encode(self.encoding))


def with_program(program, path, url, folder):
    store = folder / "store.db"
    ended = subprocess.run([program, "sync", path, "--store", store, "--api-url", url, "-q"],
                           capture_output=True, text=True, env={"TELEMETRON_API_KEY": "sandbox"})
    if ended.returncode != 0:
        return f"exit {ended.returncode}: {ended.stderr.strip()[:200]}"
    connection = sqlite3.connect(store)
    emails = {row[0] for row in connection.execute("SELECT email FROM lookups")}
    connection.close()
    for file in folder.glob("store.db*"):
        file.unlink()
    return emails


def email_column(rows):
    """The cells of the column with the most addresses."""
    counts = Counter(n for row in rows for n, cell in enumerate(row) if "@" in (cell or ""))
    if not counts:
        return "no addresses"
    best = counts.most_common(1)[0][0]
    return {row[best].lower() for row in rows if len(row) > best and "@" in (row[best] or "")}


# What a reader is told, more and more, until it reads the file as it was written: the last of these that
# it needed is what its sniffer could not do.
TOLD = ["delimiter", "lines above the header", "quotes", "ragged rows"]


def with_python(path, dialect, told):
    text = path.read_bytes().decode(dialect.encoding)
    if "lines above the header" in told:
        text = "".join(text.splitlines(keepends=True)[dialect.title_lines:])
    try:
        sniffed = csv.Sniffer().sniff(text[:8192])
        given = {"delimiter": dialect.delimiter} if "delimiter" in told else {}
        if "quotes" in told:
            given.update(quotechar='"', doublequote=True, skipinitialspace=False)
        return email_column(list(csv.reader(io.StringIO(text, newline=""), sniffed, **given)))
    except csv.Error as error:
        if "delimiter" in told:
            return email_column(list(csv.reader(io.StringIO(text, newline=""), delimiter=dialect.delimiter)))
        return f"error: {error}"


def with_duckdb(path, dialect, told):
    encoding = {"utf-8-sig": "utf-8", "cp1252": "latin-1"}.get(dialect.encoding, dialect.encoding)
    more = ""
    if "delimiter" in told:
        more += f", delim = '{dialect.delimiter}'"
    if "lines above the header" in told:
        more += f", skip = {dialect.title_lines}"
    if "quotes" in told:
        more += """, quote = '"', escape = '"'"""
    if "ragged rows" in told:
        more += ", null_padding = true, strict_mode = false, parallel = false"
    try:
        rows = duckdb.sql(f"FROM read_csv('{path}', all_varchar = true, header = false, "
                          f"encoding = '{encoding}'{more})").fetchall()
        return email_column(rows)
    except duckdb.Error as error:
        return f"error: {str(error).splitlines()[0][:110]}"


def explained(read, path, dialect, written):
    """What the reader had to be told."""
    for count in range(1, len(TOLD) + 1):
        if not difference(read(path, dialect, TOLD[:count]), written):
            return f"reads it when told of: {TOLD[count - 1]}"
    return "reads it otherwise whatever it is told"


def difference(read, written):
    if isinstance(read, str):
        return read
    missing, more = written - read, read - written
    return "" if not missing and not more else f"{len(missing)} of {len(written)} missing, {len(more)} more"


def main(program, files=200, seed=1):
    chance = random.Random(int(seed))
    wrong, causes, counts = Counter(), Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sandbox = Sandbox(program, folder)
        sandbox.start("--latency", "0ms", "--jitter", "0ms")
        for number in range(int(files)):
            dialect, path = Dialect(chance), folder / f"{number}.csv"
            dialect.write(path, chance)
            written = set(dialect.emails)
            what = difference(with_program(program, path, sandbox.url, folder), written)
            if what:
                wrong["telemetron-sync"] += 1
                print(f"{number}: telemetron-sync: {what} [{dialect}]")
            for reader, read in (("Python", with_python), ("DuckDB", with_duckdb)):
                what = difference(read(path, dialect, []), written)
                if what:
                    why = explained(read, path, dialect, written)
                    wrong[reader] += 1
                    causes[f"{reader} {why}"] += 1
                    print(f"{number}: {reader}: {what}; {why} [{dialect}]")
            counts["files"] += 1
            path.unlink()
        sandbox.stop()
    print(f"figure: {counts['files']} files: read otherwise than written by telemetron-sync "
          f"{wrong['telemetron-sync']}, Python {wrong['Python']}, DuckDB {wrong['DuckDB']}")
    for cause, count in sorted(causes.items()):
        print(f"figure: {cause}: {count}")
    raise SystemExit(wrong["telemetron-sync"] > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
