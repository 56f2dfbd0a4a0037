"""Checks requests, answers and the store against docs/openapi.yaml with Prism, which is not ours.

Usage: prism.py PROGRAM PRISM    (independent.sh installs Prism)

1. Prism makes up answers from the description. A recorder in between keeps them; the store has to hold
   what was recorded. Prism refuses requests that break the description.
2. Prism stands between the program and the sandbox and refuses answers of the sandbox that break it.
"""

import http.client
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/soak"))
import checks  # noqa: E402
from world import Sandbox, free_port  # noqa: E402

EMAILS = 400


class Recorder(http.server.ThreadingHTTPServer):
    """Passes requests on to Prism, asks it for a 404, 400 or 500 now and then, and keeps its answers."""

    daemon_threads = True

    def __init__(self, upstream):
        self.upstream, self.answers, self.statuses, self.odd = upstream, {}, {}, []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def preference(self, email, asked):
        number = int("".join(filter(str.isdigit, email)) or 0)
        if number % 11 == 5:
            return "code=404"
        if number % 53 == 7:
            return "code=400"
        return "code=500" if number % 17 == 3 and asked == 0 else "code=200, dynamic=true"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        email = json.loads(body)["email"]
        seen = server.statuses.setdefault(email, [])
        headers = {name: self.headers[name] for name in ("x-api-key", "content-type") if self.headers[name]}
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream)
        upstream.request("POST", self.path, body,
                         {**headers, "prefer": server.preference(email, len(seen))})
        response = upstream.getresponse()
        answer = response.read()
        seen.append(response.status)
        if response.status == 200:
            server.answers[email] = json.loads(answer)
        elif response.status == 404:
            server.answers[email] = None
        elif response.status not in (400, 500):
            server.odd.append((email, response.status, answer[:300]))
        self.send_response(response.status)
        self.send_header("content-type", response.headers.get("content-type", "application/json"))
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def prism(command, mode, description, *more):
    port = free_port()
    child = subprocess.Popen([command, mode, "--host", "127.0.0.1", "--port", str(port), "--errors",
                              str(description), *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
    for line in child.stdout:
        if "is listening" in line:
            # What it prints later would fill the pipe.
            threading.Thread(target=child.stdout.read, daemon=True).start()
            return child, port
    raise SystemExit("Prism did not start")


def sync(program, folder, url, emails, key, *options):
    (folder / "list.csv").write_text("email\n" + "".join(f"{email}\n" for email in emails))
    store = folder / "store.db"
    ended = subprocess.run([program, "sync", folder / "list.csv", "--store", store, "--api-url", url, "-q",
                            "--max-attempts", "8", *options], capture_output=True, text=True,
                           env={"TELEMETRON_API_KEY": key, "NO_PROXY": "127.0.0.1"})
    return store, ended


def store_holds_what_prism_served(program, command, folder):
    description = folder / "openapi.yaml"
    # All customers of one organization, as one key has them.
    one = (ROOT / "docs/openapi.yaml").read_text()
    line = "organizationId: { type: string }"
    assert line in one
    description.write_text(one.replace(line, "organizationId: { type: string, enum: [org_1] }"))
    child, port = prism(command, "mock", description)
    recorder = Recorder(port)
    emails = [f"user{n}@example.com" for n in range(EMAILS)]
    try:
        url = f"http://127.0.0.1:{recorder.server_port}"
        store, ended = sync(program, folder, url, emails, "key")
    finally:
        child.kill()
    wrong = [f"Prism refused a request: {odd}" for odd in recorder.odd]
    rejected = {email for email, seen in recorder.statuses.items() if 400 in seen}
    if ended.returncode != 3:
        wrong.append(f"exit {ended.returncode}, not 3: {ended.stderr}")
    connection = checks.connect(store)
    stored = {row[0] for row in connection.execute("SELECT email FROM lookups WHERE outcome = 'rejected'")}
    connection.close()
    if stored != rejected:
        wrong.append(f"rejected: {stored ^ rejected}")
    wrong += checks.equals_truth(store, recorder.answers, besides=rejected)
    found = sum(answer is not None for answer in recorder.answers.values())
    print(f"figure: Prism's answers: {found} customers, {len(recorder.answers) - found} not found, "
          f"{len(rejected)} rejected, {sum(seen.count(500) for seen in recorder.statuses.values())} errors "
          f"repeated: {len(wrong)} differences")
    return wrong


def sandbox_keeps_the_description(program, command, folder):
    sandbox = Sandbox(program, folder)
    sandbox.start("--latency", "0ms", "--jitter", "0ms", "--revision", "3")
    child, port = prism(command, "proxy", ROOT / "docs/openapi.yaml", sandbox.url)
    emails = [f"user{n}@example.com" for n in range(EMAILS)]
    try:
        store, ended = sync(program, folder, f"http://127.0.0.1:{port}", emails, "sandbox", "-vv")
        # Asked through Prism, too: it rounds numbers beyond 53 bits.
        wrong = checks.equals_truth(store, sandbox.truth(emails, port))
    finally:
        child.kill()
        sandbox.stop()
    if ended.returncode != 0:
        wrong.append(f"exit {ended.returncode}: {ended.stderr[-1500:]}")
    print(f"figure: the sandbox's {len(emails)} answers, read by Prism: {len(wrong)} differences")
    return wrong


def main(program, command):
    wrong = []
    for check in (store_holds_what_prism_served, sandbox_keeps_the_description):
        with tempfile.TemporaryDirectory() as folder:
            wrong += check(program, command, Path(folder))
    if wrong:
        print("\n".join(map(str, wrong[:20])))
        raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
