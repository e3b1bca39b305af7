"""The running router against trouble of the disk: it is full, read-only, gone, or descriptors are used up.

Each time the trouble is visible (log, `sluice status`), nothing is begun that could not be recorded, work goes on by
itself when it is over, and each message arrives exactly once. Mounts are made in a mount namespace of this process.
What a root shell cannot bring about here (EIO, a quota) is in tests/fault/.
"""
import ctypes
import errno
import json
import os
import resource
import subprocess
import threading

import pytest

from bugs import Good
from harness import (EX_OK, EX_TEMPFAIL, PATIENCE, Process, Router, Spool, message, program, unavailable, wait_for)
from peer import Peer

EX_NOINPUT = 66
AT_ONCE = {"minimum": "1s", "maximum": "1s", "jitter_percent": 0}
SPOOL_SIZE = "40m"  # a segment of the journal, its spare, and some mail


@pytest.fixture(scope="module", autouse=True)
def own_mounts():
    clone_newns = 0x00020000
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(clone_newns) != 0:
        unavailable("no mount namespace: " + (os.strerror(ctypes.get_errno()) if os.geteuid() == 0 else "not root"))
    mount("--make-rprivate", "/")


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        unavailable(done.stderr)


def umount(path):
    subprocess.run(["umount", "-l", str(path)], check=True)


def tmpfs(path, size):
    path.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)


class Gate(Good):
    """Takes the content of the first message only when the test says so."""

    def on_content(self, content):
        self.peer.count("asked")
        self.peer.go.wait(60)
        return super().on_content(content)

    def on_rcpt(self, recipient, params):
        if recipient.startswith("nobody"):
            return self.reply("550 5.1.1 no such user")
        return super().on_rcpt(recipient, params)


def config(peer, **more):
    return {"pickup": {"settle": "0s", "scan_interval": "1s"}, "retry": AT_ONCE,
            'destination "*"': {"next_hop": peer.next_hop}, **more}


def idents(peer):
    return sorted(m.header("Message-ID").strip("<>").split("@")[0] for m in list(peer.messages)
                  if m.sender != "")


def status(router, spool=None):
    """(exit code, text, {room: reason}) of `sluice status`"""
    command = [program("sluice"), "status", "-c", str(router.config_path)] + (["--spool", str(spool)] if spool else [])
    text = subprocess.run(command, capture_output=True, text=True, timeout=60 * PATIENCE)
    rows = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60 * PATIENCE)
    pauses = json.loads(rows.stdout)["pauses"] if rows.stdout else []
    return text.returncode, text.stdout + text.stderr, {p["room"]: p["reason"] for p in pauses}


def wait_for_pause(router, room, word, spool=None):
    def paused():
        code, text, rooms = status(router, spool)
        return code == EX_TEMPFAIL and room in rooms and word in rooms[room] and f"{room} paused for" in text
    wait_for(paused, f"status to say that {room} is paused by: {word}")
    wait_for(lambda: "paused: " in router.process.stderr() and word in router.process.stderr(), "the log to say so")


def wait_for_end(router, peer, expected):
    wait_for(lambda: idents(peer) == expected and router.spool.is_empty(), f"{len(expected)} messages and an empty spool",
             timeout=60)
    wait_for(lambda: status(router)[0] == EX_OK, "no pause")
    wait_for(lambda: "resumed after" in router.process.stderr(), "the log to say so")
    assert router.stop() == EX_OK
    assert idents(peer) == expected


def fill(path):
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


@pytest.fixture
def gate(tmp_path):
    with Peer(Gate) as peer:
        peer.go = threading.Event()
        yield peer
        peer.go.set()


@pytest.fixture
def router(tmp_path, gate):
    router = Router(tmp_path, config(gate))
    yield router
    if router.process and router.process.is_running():
        router.kill()


def test_a_bounce_that_cannot_be_written_stops_the_pickup_until_there_is_room(tmp_path, router, gate):
    gate.go.set()
    tmpfs(router.spool.path, SPOOL_SIZE)
    router.spool = Spool(router.spool.path)
    router.start()
    router.spool.drop("m0", message(["u@d.test"], ident="m0"))
    wait_for(lambda: idents(gate) == ["m0"] and router.spool.is_empty(), "the first message")
    prepared = router.spool.path / "tmp" / "later.tmp"
    prepared.write_bytes(message(["u@d.test"], ident="later"))
    bounces = router.spool.path / "tmp" / "bounces.tmp"
    bounces.write_bytes(message(["nobody@d.test"], ident="bounces"))
    filler = router.spool.path / "filler"
    fill(filler)
    bounces.rename(router.spool.path / "new" / "bounces")
    wait_for_pause(router, "files", os.strerror(errno.ENOSPC))
    prepared.rename(router.spool.path / "new" / "later")
    listed = {row["path"] for row in router.queue()}
    assert "new/later" in listed and len(listed) == 2
    assert idents(gate) == ["m0"]
    filler.unlink()
    wait_for_end(router, gate, ["later", "m0"])
    assert [m.recipients for m in gate.messages if m.sender == ""] == [["sender@origin.test"]]


def test_no_attempt_begins_without_room_for_its_record(tmp_path):
    """The journal has room for one segment only, and attempts without end fill it."""
    class Later(Good):
        def on_rcpt(self, recipient, params):
            self.peer.count("rcpt")
            if self.peer.open.is_set():
                return super().on_rcpt(recipient, params)
            return self.reply(f"450 4.2.1 {recipient} " + "x" * 200)

    total, recipients = 40, 100
    with Peer(Later) as peer:
        peer.open = threading.Event()
        router = Router(tmp_path, config(peer))
        tmpfs(router.spool.path, "28m")
        router.spool = Spool(router.spool.path)
        for i in range(total):
            router.spool.drop(f"m{i}", message([f"u{n}@d{i}.test" for n in range(recipients)], ident=f"m{i:02}"))
        try:
            router.start()
            wait_for(lambda: "journal" in status(router)[2], "the journal to be full", timeout=120)
            wait_for_pause(router, "journal", os.strerror(errno.ENOSPC))
            wait_for(lambda: router.status()["messages"]["in_flight"] == 0, "attempts to end")
            asked = peer.counts["rcpt"]
            router.spool.drop("more", message(["u@d.test"], ident="more"))
            assert len(router.queue()) == total + 1
            wait_for_pause(router, "journal", os.strerror(errno.ENOSPC))
            assert peer.counts["rcpt"] == asked
            peer.open.set()
            mount("-o", "remount,size=100m", router.spool.path)
            wait_for_end(router, peer, sorted([f"m{i:02}" for i in range(total)] + ["more"]))
            assert len(peer.recipients()) == total * recipients + 1
        finally:
            if router.process.is_running():
                router.kill()


def test_a_read_only_disk(tmp_path, router, gate):
    """The journal and the lock, which are open for writing, lie on mounts of their own, or the remount would fail.
    """
    tmpfs(router.spool.path, SPOOL_SIZE)
    router.spool = Spool(router.spool.path)
    tmpfs(router.spool.path / "journal", SPOOL_SIZE)
    (router.spool.path / "lock").touch()
    (tmp_path / "lock").touch()
    mount("--bind", tmp_path / "lock", router.spool.path / "lock")
    router.start()
    router.spool.drop("first", message(["u@d.test"], ident="first"))
    wait_for(lambda: gate.counts.get("asked"), "the first to be under way")
    later = router.spool.path / "tmp" / "later.tmp"
    later.write_bytes(message(["u@d.test"], ident="later"))
    mount("-o", "remount,ro", router.spool.path)
    gate.go.set()
    wait_for_pause(router, "files", os.strerror(errno.EROFS))
    assert [row["path"] for row in router.queue()] == ["new/first"]
    mount("-o", "remount,rw", router.spool.path)
    later.rename(router.spool.path / "new" / "later")
    wait_for_end(router, gate, ["first", "later"])


def test_a_spool_that_is_renamed_away(tmp_path, router, gate):
    router.start()
    router.spool.drop("first", message(["u@d.test"], ident="first"))
    wait_for(lambda: gate.counts.get("asked"), "the first to be under way")
    away = tmp_path / "away"
    router.spool.path.rename(away)
    wait_for_pause(router, "spool", os.strerror(errno.ENOENT), spool=away)
    assert status(router)[0] == EX_NOINPUT
    gate.go.set()
    wait_for(lambda: idents(gate) == ["first"], "what was under way to arrive")
    Spool(away).drop("later", message(["u@d.test"], ident="later"))
    wait_for_pause(router, "spool", os.strerror(errno.ENOENT), spool=away)
    assert Spool(away).files("new") and idents(gate) == ["first"]
    away.rename(router.spool.path)
    wait_for_end(router, gate, ["first", "later"])


def test_a_spool_that_is_unmounted(tmp_path, router, gate):
    backing = tmp_path / "backing"
    tmpfs(backing, SPOOL_SIZE)
    mount("--bind", backing, router.spool.path)
    router.spool = Spool(router.spool.path)
    gate.go.set()
    router.start()
    router.spool.drop("first", message(["u@d.test"], ident="first"))
    wait_for(lambda: idents(gate) == ["first"] and router.spool.is_empty(), "the first message")
    umount(router.spool.path)
    wait_for_pause(router, "spool", os.strerror(errno.ESTALE), spool=backing)
    assert status(router)[0] != EX_OK
    Spool(backing).drop("later", message(["u@d.test"], ident="later"))
    wait_for_pause(router, "spool", os.strerror(errno.ESTALE), spool=backing)
    assert idents(gate) == ["first"]
    mount("--bind", backing, router.spool.path)
    wait_for_end(router, gate, ["first", "later"])


def limit_descriptors_to_those_in_use(pid):
    """Each further open and each connection fails."""
    used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = next(n for n in range(len(used) + 1) if n not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def test_no_descriptors_are_left(router, gate):
    gate.go.set()
    router.start()
    router.spool.drop("first", message(["u@d.test"], ident="first"))
    wait_for(lambda: idents(gate) == ["first"] and router.spool.is_empty(), "the first message")
    pid = router.process.popen.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit_descriptors_to_those_in_use(pid)
    for i in range(50):
        router.spool.drop(f"m{i}", message([f"u@d{i}.test"], ident=f"m{i:02}"))
    wait_for_pause(router, "limits", os.strerror(errno.EMFILE))
    assert len(router.queue()) == 50 and idents(gate) == ["first"]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    wait_for_end(router, gate, ["first"] + [f"m{i:02}" for i in range(50)])


def test_a_start_with_few_descriptors(tmp_path, router, gate):
    """Too few to work with is said and ends the start; enough for that, but few, delivers all mail."""
    gate.go.set()
    for i in range(100):
        router.spool.drop(f"m{i}", message([f"u@d{i}.test"], ident=f"m{i:02}"))
    seen_refusal = delivered = False
    for limit in (8, 24, 32, 64):
        command = ["prlimit", f"--nofile={limit}:{limit}", *router.command("--until-empty")]
        process = router.process = Process(command, tmp_path, f"limit{limit}")
        code = process.wait(60)
        assert code >= 0, process.stderr()
        if code == EX_OK:
            delivered = True
            break
        seen_refusal |= os.strerror(errno.EMFILE) in process.stderr()
    assert delivered and seen_refusal
    assert idents(gate) == [f"m{i:02}" for i in range(100)]
    assert router.spool.is_empty()
