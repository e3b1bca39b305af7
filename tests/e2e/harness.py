"""Runs the built programs for end-to-end tests: Router, Sink, Dns, Spool, and waiting for conditions.

Everything listens on ephemeral ports of loopback addresses and lives in the test's own folder, so
tests run in parallel. Processes are ended by their id. The build folder comes from SLUICE_BUILD.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build" / "release"))
PROGRAMS = {"sluice": "router/sluice", "sluice-sink": "bench/sink/sluice-sink", "sluice-dns": "bench/dns/sluice-dns"}


def is_sanitized():
    try:
        return bool(re.search(r"(?m)^SLUICE_SANITIZE:\w+=.", (BUILD / "CMakeCache.txt").read_text()))
    except FileNotFoundError:
        return False


SANITIZED = is_sanitized()
PATIENCE = float(os.environ.get("SLUICE_E2E_PATIENCE", "4" if SANITIZED else "1"))  # multiplies every time limit
HOSTNAME = "sender.sluice.test"

EX_OK, EX_USAGE, EX_TEMPFAIL, EX_CONFIG = 0, 64, 75, 78


def unavailable(why):
    """Something that the test needs is not here: skipped, but in CI nothing may be."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def program(name):
    path = BUILD / PROGRAMS[name]
    if not path.exists():
        found = sorted(BUILD.glob(f"**/{name}")) if BUILD.exists() else []
        found = [p for p in found if p.is_file() and os.access(p, os.X_OK)]
        if not found:
            unavailable(f"{name} is not built in {BUILD}")
        path = found[0]
    return str(path)


def wait_for(condition, what, timeout=20.0):
    """The condition's first true value; fails the test with what was waited for."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout * PATIENCE:.0f} s in vain for: {what}")
        time.sleep(0.01)


def render_config(config, indent=""):
    """{"dns": {"allow_local": True}, 'destination "*"': {...}} in libConfuse's syntax."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key} {{", render_config(value, indent + "    ").rstrip("\n"), indent + "}"]
        else:
            lines.append(f"{indent}{key} = {render_value(value)}")
    return "\n".join(line for line in lines if line.strip()) + "\n"


def render_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(render_value(v) for v in value) + "}"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def merge(base, over):
    out = dict(base)
    for key, value in over.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def assert_sanitizers_silent(words):
    """No sanitizer of any build has found something in what a program wrote to stderr."""
    for mark in ("ERROR: AddressSanitizer", "runtime error:", "WARNING: ThreadSanitizer", "ERROR: LeakSanitizer"):
        assert mark not in words, words[-8000:]


class Process:
    """A program with its output in files."""

    def __init__(self, arguments, folder, name, env=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.stdout_path, self.stderr_path = folder / f"{name}.out", folder / f"{name}.err"
        with open(self.stdout_path, "ab") as out, open(self.stderr_path, "ab") as err:
            self.popen = subprocess.Popen(
                [str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env={**os.environ, **(env or {})})
        self.name = name

    @property
    def pid(self):
        return self.popen.pid

    def is_running(self):
        return self.popen.poll() is None

    def wait(self, timeout=60.0):
        try:
            return self.popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)  # leaves a trace in the sanitizer's words
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            pytest.fail(f"{self.name} did not end within {timeout * PATIENCE:.0f} s; its words:\n{self.stderr()[-4000:]}")

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def terminate(self, timeout=20.0):
        if self.is_running():
            self.popen.terminate()
        return self.wait(timeout)

    def kill(self):
        if self.is_running():
            self.popen.kill()
        self.popen.wait()


class Spool:
    """The writer's side of the spool contract."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        (self.path / "new").mkdir(parents=True, exist_ok=True)
        (self.path / "tmp").mkdir(exist_ok=True)

    def drop(self, name, data, folder="new"):
        """Complete at once: composed in tmp/, renamed into new/ (or a subfolder of it)."""
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        temporary = self.path / "tmp" / (name + ".tmp")
        temporary.write_bytes(data)
        target = self.path / folder / name
        temporary.rename(target)
        return target

    def files(self, *folders):
        """Relative names of messages in new/ deferred/ hold/ bad/ (or the given ones)."""
        found = []
        for folder in folders or ("new", "deferred", "hold", "bad"):
            for path in sorted((self.path / folder).rglob("*")):
                if not path.is_dir() or path.is_symlink():
                    found.append(str(path.relative_to(self.path)))
        return found

    def is_empty(self):
        return not self.files()

    def why(self, name):
        return (self.path / "bad" / (name + ".why")).read_text(errors="replace")


class Result:
    def __init__(self, code, log, stderr):
        self.code, self.log, self.stderr = code, log, stderr

    def events(self, event=None, recipient=None):
        return [e for e in self.log if (event is None or e.get("event") == event)
                and (recipient is None or e.get("recipient") == recipient)]

    def one(self, event=None, recipient=None):
        found = self.events(event, recipient)
        assert len(found) == 1, f"one {event} of {recipient} expected: {self.log}"
        return found[0]


class Router:
    """One spool with one configuration; drain() may be called again and again, as may start()."""

    def __init__(self, folder, config=None, spool=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.spool = spool or Spool(self.folder / "spool")
        self.log_path = self.folder / "delivery.log"
        base = {"hostname": HOSTNAME, "spool": str(self.spool.path), "workers": 2,
                "log": {"file": str(self.log_path)}}
        self.config = merge(base, config or {})
        self.config_path = self.folder / "sluice.conf"
        self.process = None
        self.runs = self.kills = 0

    def command(self, *arguments):
        self.config_path.write_text(render_config(self.config))
        return [program("sluice"), "run", "-c", self.config_path, *arguments]

    def start(self, *arguments, env=None):
        assert self.process is None or not self.process.is_running()
        self.runs += 1
        self.process = Process(self.command(*arguments), self.folder, f"run{self.runs}", env)
        return self.process

    def drain(self, *arguments, timeout=60.0):
        """Runs with --drain (or the given flags) to its end."""
        seen = len(self.log())
        process = self.start(*(arguments or ("--drain",)))
        code = process.wait(timeout)
        assert code >= 0, f"ended by signal {-code}:\n{process.stderr()[-6000:]}"
        self.check_sanitizers()
        return Result(code, self.log()[seen:], process.stderr())

    def stop(self, timeout=30.0):
        if self.process is None:
            return None
        code = self.process.terminate(timeout)
        self.check_sanitizers()
        return code

    def kill(self):
        """As a crash: SIGKILL."""
        self.process.kill()
        self.kills += 1

    def check_sanitizers(self):
        assert_sanitizers_silent(self.process.stderr())

    def log(self):
        """The delivery log; an unfinished last line is left for later. Each kill may have torn one line."""
        try:
            lines = self.log_path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        events, num_torn = [], 0
        for line in lines[:-1]:
            try:
                events.append(json.loads(line))
            except ValueError:
                num_torn += 1
                assert num_torn <= self.kills, line
        return events

    def status(self):
        """What `sluice status --json` says; empty when no router answers."""
        out = subprocess.run([program("sluice"), "status", "-c", self.config_path, "--json"],
                             capture_output=True, check=False, timeout=60 * PATIENCE).stdout
        return json.loads(out) if out else {}

    def queue(self):
        """What `sluice queue --json` says, one object a message."""
        out = subprocess.run([program("sluice"), "queue", "-c", self.config_path, "--json"],
                             capture_output=True, check=True, timeout=60 * PATIENCE).stdout
        return [json.loads(line) for line in out.splitlines() if line.strip()]


class Sink:
    """sluice-sink with one listener a personality: Sink(folder, "name=a,tls=1.3", "tls=none")."""

    def __init__(self, folder, *personalities, address="127.0.0.1", arguments=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.maildir, port_file = self.folder / "maildir", self.folder / "ports"
        self.maildir.mkdir(exist_ok=True)
        self.stats_path = self.folder / "stats.json"
        command = [program("sluice-sink"), "--port-file", port_file, "--maildir", self.maildir,
                   "--stats", self.stats_path, *arguments]
        for text in personalities or ("",):
            command += ["--listen", f"{address}:0" + ("," + text if text else "")]
        self.process = Process(command, self.folder, "sink")
        wanted = max(1, len(personalities))
        self.ports = wait_for(lambda: self._ports(port_file, wanted), "sluice-sink to listen")
        self.port = self.ports[0]
        self.next_hop = f"[{address}]:{self.port}"

    def _ports(self, path, wanted):
        assert self.process.is_running(), self.process.stderr()
        try:
            ports = [int(m) for m in re.findall(r":(\d+)\s*$", path.read_text(), re.MULTILINE)]
        except FileNotFoundError:
            return None
        return ports if len(ports) == wanted else None

    def messages(self):
        """(header dictionary of X-Sink-*, content) for each stored message."""
        out = []
        for path in sorted(self.maildir.iterdir()):
            if path.name.startswith(".") or path.name.endswith(".tmp"):
                continue
            data, info = path.read_bytes(), {}
            while data.startswith(b"X-Sink-"):
                line, data = data.split(b"\n", 1)
                key, value = line.rstrip(b"\r").split(b":", 1)
                info.setdefault(key.decode()[7:].lower(), []).append(value.strip().decode("utf-8", "replace"))
            out.append((info, data))
        return out

    def stop(self):
        self.process.terminate()
        return json.loads(self.stats_path.read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.is_running():
            self.process.terminate()


class Dns:
    """sluice-dns with the given zone lines ("d0.test MX 60 10 mx0.test")."""

    def __init__(self, folder, lines=(), arguments=()):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        zone, port_file = folder / "zone", folder / "dns.port"
        zone.write_text("\n".join(lines) + "\n")
        self.process = Process([program("sluice-dns"), "--listen", "127.0.0.1:0", "--zone", zone,
                                "--port-file", port_file, *arguments], folder, "dns")
        port = wait_for(lambda: port_file.exists() and re.search(r"(\d+)\s*$", port_file.read_text()),
                        "sluice-dns to listen").group(1)
        self.server = f"127.0.0.1:{port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()


def message(recipients, body=b"Hello.\r\n", sender="sender@origin.test", subject="test", ident=None, extra=()):
    """A message with an explicit envelope block."""
    block = [f"X-Sender: <{sender}>"] + [f"X-Receiver: <{r}>" for r in recipients]
    header = ["From: Sender <sender@origin.test>", "To: undisclosed-recipients:;", f"Subject: {subject}",
              "Date: Tue, 01 Jul 2025 10:00:00 +0000", f"Message-ID: <{ident or subject}@origin.test>", *extra]
    return ("\r\n".join(block + header) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


def strip_trace(content, eol=b"\r\n"):
    """What follows the router's own Received field, which must be the first one that names us; the
    fields that a receiver put above it are allowed, anything else is not."""
    allowed = {b"return-path", b"delivered-to", b"x-original-to", b"received", b"envelope-to", b"delivery-date"}
    position = 0
    while position < len(content):
        end = content.find(eol, position)
        while end >= 0 and content[end + len(eol):end + len(eol) + 1] in (b" ", b"\t"):
            end = content.find(eol, end + len(eol))
        assert end >= 0, "the header section does not end"
        field = content[position:end]
        name = field.split(b":", 1)[0].strip().lower()
        assert name in allowed, f"no Received field of ours above {field[:80]!r}"
        position = end + len(eol)
        if name == b"received" and re.search(rb"\bby\s+" + re.escape(HOSTNAME.encode()), field):
            return content[position:]
    raise AssertionError("no Received field of ours")


LINE_MAX = 998


def wire_lines(data):
    """The content rules on the wire (docs/spool.md), written a second time and independently: bare CR
    and bare LF end lines too, NUL goes, a last line end is added. Folding is judged by
    difference(), because where exactly a line is broken is the router's choice."""
    lines = re.split(rb"\r\n|\r|\n", data.replace(b"\0", b""))
    if lines[-1] == b"":
        lines.pop()
    return lines


def difference(sent, received, eol=b"\r\n"):
    """None if `received` is what the wire rules make of `sent`, else where they part. `received` has
    `eol` line ends: receivers that store messages by Unix rules turn CRLF into LF."""
    if not received.endswith(eol) and received:
        return f"no line end at the end: {received[-80:]!r}"
    pieces = received.split(eol)[:-1]
    at = 0
    for number, line in enumerate(wire_lines(sent), 1):
        if at >= len(pieces):
            return f"ends before line {number}"
        if len(line) <= LINE_MAX:
            if pieces[at] != line:
                return f"line {number}: {line[:200]!r} became {pieces[at][:200]!r}"
            at += 1
            continue
        joined, at = pieces[at], at + 1
        while len(joined) < len(line) and at < len(pieces) and pieces[at][:1] == b" ":
            if len(pieces[at - 1]) > LINE_MAX:
                return f"line {number}: a folded part is {len(pieces[at - 1])} octets long"
            joined, at = joined + pieces[at][1:], at + 1
        if joined != line or len(pieces[at - 1]) > LINE_MAX:
            return f"line {number} ({len(line)} octets) was not folded cleanly"
    return None if at == len(pieces) else f"more than was sent: {pieces[at][:200]!r}"


def note(text):
    """Progress of long tests, seen with `ctest -V` and in the pytest report."""
    print(text, file=sys.stderr, flush=True)
