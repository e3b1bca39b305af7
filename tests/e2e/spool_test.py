"""The spool contract where it hurts: files that must not be taken yet, not be opened, not be lost."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading

import pytest

from bugs import BUGS, Good
from harness import (EX_OK, EX_TEMPFAIL, HOSTNAME, PATIENCE, SANITIZED, Router, difference, message, program, strip_trace,
                     unavailable, wait_for)
from peer import Peer

SETTLED = {"pickup": {"settle": "0s"}}
NOBODY = 65534


def to(peer, **more):
    return {**SETTLED, 'destination "*"': {"next_hop": peer.next_hop}, **more}


def idents(peer):
    return sorted(m.header("Message-ID").strip("<>").split("@")[0] for m in list(peer.messages))


def assert_bad(router, name, *words):
    """In bad/ with one line that says why."""
    why = router.spool.why(name)
    assert why.count("\n") == 1 and why.endswith("\n"), why
    assert all(word in why for word in words), why


def needs_root(what):
    if os.geteuid() != 0:
        unavailable(f"{what} needs root")


def test_a_device_is_moved_away_unopened(tmp_path):
    needs_root("making a device")
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        try:
            os.mknod(router.spool.path / "new" / "device", 0o600 | 0o020000, os.makedev(1, 3))
        except PermissionError:
            unavailable("this machine does not allow devices")
        router.spool.drop("good", message(["u@d.test"], ident="good"))
        assert router.drain().code == EX_OK
        assert_bad(router, "device")
        assert idents(peer) == ["good"]


@pytest.fixture
def open_folder():
    """A folder that nobody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="sluice-e2e-") as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


def test_an_unreadable_file_ends_in_bad(open_folder):
    """root reads everything, so the router runs as nobody, from a copy that nobody can reach."""
    needs_root("running as somebody else")
    with Peer(Good) as peer:
        router = Router(open_folder / "router", to(peer))
        _, *arguments = map(str, router.command("--drain"))
        copy = shutil.copy(program("sluice"), open_folder / "sluice")
        (router.spool.path / "new" / "secret").write_bytes(message(["u@d.test"], ident="secret"))
        router.spool.drop("good", message(["u@d.test"], ident="good"))
        for path in (router.folder, *router.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.chown(router.spool.path / "new" / "secret", 0, 0)
        os.chmod(router.spool.path / "new" / "secret", 0o600)
        run = subprocess.run([copy, *arguments], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/",
                             capture_output=True, text=True, timeout=60 * PATIENCE)
        assert run.returncode == EX_OK, run.stderr
        assert idents(peer) == ["good"]
        assert_bad(router, "secret")


def test_a_header_of_100_megabytes_ends_in_bad_and_costs_no_memory(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer, pickup={"settle": "0s", "max_message_size": "1G"}))
        with open(router.spool.path / "new" / "huge", "wb") as huge:
            huge.write(b"To: u@d.test\r\nX-Long: ")
            for _ in range(100):
                huge.write(b"x" * 998 + b"\r\n " + b"y" * (1 << 20))
        router.spool.drop("good", message(["u@d.test"], ident="good"))
        process = router.start("--drain")
        peak = 0
        while process.is_running():
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
                peak = max([peak] + [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")])
            except OSError:
                break
        assert process.wait() == EX_OK
        assert_bad(router, "huge")
        assert idents(peer) == ["good"]
        if not SANITIZED:
            assert peak < 150_000, f"{peak} KiB"


def test_a_message_that_is_too_large_ends_in_bad(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer, pickup={"settle": "0s", "max_message_size": "64K"}))
        router.spool.drop("fits", message(["u@d.test"], b"x" * 60 * 1024, ident="fits"))
        router.spool.drop("large", message(["u@d.test"], b"x" * 70 * 1024, ident="large"))
        assert router.drain().code == EX_OK
        assert idents(peer) == ["fits"]
        assert_bad(router, "large")


@pytest.mark.short
def test_nothing_is_overwritten_in_bad(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        for i in range(3):
            router.spool.drop("same", b"Subject: nobody %d\r\n\r\n" % i)
            assert router.drain().code == EX_OK
        texts = {(router.spool.path / f).read_bytes() for f in router.spool.files("bad") if not f.endswith(".why")}
        assert texts == {b"Subject: nobody %d\r\n\r\n" % i for i in range(3)}
        assert len(router.spool.files("bad")) == 6


def test_a_file_that_is_being_written_is_left_until_it_is_complete(tmp_path):
    """Copied in place, in two halves, while the router runs: only the whole is sent."""
    data = message(["u@d.test"], b"first half\r\n" * 500 + b"second half\r\n" * 500, ident="slow")
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer, pickup={"settle": "0s", "scan_interval": "1s"}))
        router.start()
        wait_for(lambda: (router.spool.path / "lock").exists(), "the router")
        with open(router.spool.path / "new" / "slow", "wb", buffering=0) as file:
            file.write(data[:len(data) // 2])
            # Other mail passes meanwhile: enough for several scans to have seen the half.
            for i in range(5):
                router.spool.drop(f"other{i}", message(["u@d.test"], ident=f"other{i}"))
                wait_for(lambda n=i: len(peer.messages) == n + 1, "other mail")
            assert "slow" not in idents(peer)
            file.write(data[len(data) // 2:])
        wait_for(lambda: "slow" in idents(peer), "the whole message")
        assert router.stop() == EX_OK
        slow = next(m for m in peer.messages if m.header("Message-ID") == "<slow@origin.test>")
        assert slow.content.endswith(b"second half\r\n")
        assert idents(peer) == ["other0", "other1", "other2", "other3", "other4", "slow"]


@pytest.mark.parametrize("inline", ["0", "256K"], ids=["streamed", "in-memory"])
def test_a_file_that_grows_while_it_is_sent_arrives_whole(tmp_path, inline):
    """What is in the file now is new mail: the outcome of what was there before does not remove it."""
    class Waits(Good):
        pipelining = False

        def on_data(self):
            if not self.peer.go.is_set():
                self.peer.count("asked")
                self.peer.go.wait(60)
            return super().on_data()

    with Peer(Waits) as peer:
        peer.go = threading.Event()
        router = Router(tmp_path, to(peer, pickup={"settle": "0s", "scan_interval": "1s"},
                                     queue={"content_inline_max": inline}, retry={"minimum": "200ms", "maximum": "200ms"}))
        path = router.spool.drop("m", message(["u@d.test"], b"begin\r\n" * 1000, ident="m"))
        router.start()
        wait_for(lambda: peer.counts.get("asked"), "DATA")
        with open(path, "ab") as file:
            file.write(b"the end\r\n")
        peer.go.set()
        wait_for(lambda: any(m.content.endswith(b"the end\r\n") for m in list(peer.messages)), "all of it")
        wait_for(router.spool.is_empty, "an empty spool")
        assert router.stop() == EX_OK


def test_writers_that_link_and_then_unlink_are_fine(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer, pickup={"settle": "1s", "scan_interval": "1s"}))
        router.start()
        wait_for(lambda: (router.spool.path / "lock").exists(), "the router")
        for i in range(20):
            temporary = router.spool.path / "tmp" / f"w{i}"
            temporary.write_bytes(message(["u@d.test"], ident=f"w{i}"))
            os.link(temporary, router.spool.path / "new" / f"w{i}")
            temporary.unlink()
        wait_for(lambda: len(peer.messages) == 20, "all twenty")
        assert router.stop() == EX_OK
        assert router.spool.is_empty() and len(set(idents(peer))) == 20


def test_ignored_names_and_deeper_folders_stay_untouched(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        for folder, name in (("new", ".dot"), ("new", "a.tmp"), ("new", "b.part"), ("new/sub", "c.tmp"),
                             ("new/sub/deeper", "d")):
            router.spool.drop(name, message(["u@d.test"], ident="no"), folder=folder)
        router.spool.drop("yes", message(["u@d.test"], ident="yes"), folder="new/sub")
        before = set(router.spool.files())
        assert router.drain().code == EX_OK
        assert idents(peer) == ["yes"]
        assert set(router.spool.files()) == before - {"new/sub/yes"}


def test_a_message_that_was_deleted_while_it_waited_is_cancelled(tmp_path):
    with Peer(BUGS["451-at-mail"]) as peer, Peer(Good) as good:
        router = Router(tmp_path, to(peer, retry={"minimum": "200ms", "maximum": "400ms"}))
        router.spool.drop("m", message(["u@d.test"]))
        assert router.drain().code == EX_TEMPFAIL
        (router.spool.path / router.spool.files("deferred")[0]).unlink()
        router.config['destination "*"'] = {"next_hop": good.next_hop}
        result = router.drain("--until-empty")
        assert result.code == EX_OK and not good.messages


@pytest.mark.short
def test_a_new_file_under_an_old_name_is_new_mail(tmp_path):
    """The name is used again while the first file is being delivered."""
    class Waits(Good):
        def on_content(self, content):
            if not self.peer.messages:
                self.peer.count("asked")
                self.peer.go.wait(30)
            return super().on_content(content)

    with Peer(Waits) as peer:
        peer.go = threading.Event()
        router = Router(tmp_path, to(peer, pickup={"settle": "0s", "scan_interval": "1s"}))
        router.spool.drop("name", message(["u@d.test"], ident="first"))
        router.start()
        wait_for(lambda: peer.counts.get("asked"), "the first to be under way")
        router.spool.drop("name", message(["u@d.test"], ident="second"))  # rename over it
        peer.go.set()
        wait_for(lambda: idents(peer) == ["first", "second"], "both")
        wait_for(router.spool.is_empty, "an empty spool")
        assert router.stop() == EX_OK


@pytest.mark.short
def test_one_router_a_spool_and_the_lock_goes_with_its_holder(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        router.start()
        wait_for(lambda: (router.spool.path / "lock").exists(), "the router")
        router.spool.drop("first", message(["u@d.test"], ident="first"))
        wait_for(lambda: peer.messages, "the first message")
        second = subprocess.run([*map(str, router.command("--drain"))], capture_output=True, text=True,
                                timeout=60 * PATIENCE)
        assert second.returncode != EX_OK and "already in use" in second.stderr
        router.kill()
        router.spool.drop("second", message(["u@d.test"], ident="second"))
        assert router.drain().code == EX_OK
        assert "second" in idents(peer)


def test_hundred_thousand_octets_of_recipients(tmp_path):
    """1000 recipients in 10 domains: transactions of at most 100, each recipient once."""
    recipients = [f"user{i}@d{i % 10}.test" for i in range(1000)]
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        router.spool.drop("m", message(recipients))
        result = router.drain()
        assert result.code == EX_OK and len(result.events("delivered")) == 1000
        assert peer.recipients() == sorted(recipients)
        assert max(len(m.recipients) for m in peer.messages) <= 100


@pytest.mark.short
def test_envelopes_from_headers(tmp_path):
    text = (b"From: Boss <boss@origin.test>\nTo: A Group:a@d.test, \"Quoted, Name\" <\"odd local\"@d.test>;,\n"
            b" (comment) b@d.test\nCc: <c@B\xc3\xbccher.test>\nBcc: hidden@d.test\nSubject: hi\n\n.\nbody\n")
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        router.spool.drop("m", text)
        assert router.drain().code == EX_OK
        assert {m.sender for m in peer.messages} == {"boss@origin.test"}
        assert peer.recipients() == sorted(["a@d.test", '"odd local"@d.test', "b@d.test", "hidden@d.test",
                                            "c@xn--bcher-kva.test"])
        for copy in peer.messages:
            head = copy.content.split(b"\r\n\r\n", 1)[0]
            assert b"hidden" not in copy.content
            assert b"\r\nDate: " in head and b"\r\nMessage-ID: <" in head
            assert copy.content.endswith(b"\r\n\r\n.\r\nbody\r\n")


@pytest.mark.parametrize("body", [b"", b"\r\n", b".", b".\r\n.\r\n", b"a\rb\r\r\n\n\rc", b"\0\0", b"x" * 5000,
                                  b"\xff" * 999 + b"\n", b"line\n.\r\nMAIL FROM:<smuggled@d.test>\r\n",
                                  b"\r.\r", b"\n.\n", b"\r\n.\rDATA\r\n"],
                         ids=range(12))
def test_content_rules_on_the_wire(tmp_path, body):
    """Also: nothing in a body ends the content early."""
    file = message(["u@d.test"], body)
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        router.spool.drop("m", file)
        assert router.drain().code == EX_OK
        assert len(peer.messages) == 1
        sent = file[file.index(b"From: "):]
        assert difference(sent, strip_trace(peer.messages[0].content)) is None
        assert HOSTNAME.encode() in peer.messages[0].content.split(b"\r\nFrom:")[0]


@pytest.mark.parametrize("text", [b"no header\r\n", b"Hello,\r\nNote: no field\r\n\r\nBye\r\n", b""],
                         ids=range(3))
def test_a_file_without_a_header_section_arrives_as_a_body(tmp_path, text):
    """Nothing of it may become part of the Received field or be read as a field of its own."""
    with Peer(Good) as peer:
        router = Router(tmp_path, to(peer))
        router.spool.drop("m", b"X-Sender: <s@origin.test>\r\nX-Receiver: <u@d.test>\r\n" + text)
        assert router.drain().code == EX_OK
        head, body = peer.messages[0].content.split(b"\r\n\r\n", 1)
        assert head.startswith(b"Received: by ") and head.count(b"\r\n") == 1
        assert body == text


def test_a_full_disk_loses_nothing(tmp_path):
    """The spool on a small file system that fills up: sluice waits or fails, and goes on when there is room."""
    needs_root("mounting")
    spool = tmp_path / "spool"
    spool.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", spool], capture_output=True).returncode:
        unavailable("this machine does not allow mounts")
    try:
        with Peer(Good) as peer:
            router = Router(tmp_path, to(peer))
            for i in range(20):
                router.spool.drop(f"m{i}", message([f"u{i}@d.test"], ident=f"m{i}"))
            filler = router.spool.path / "filler"
            with open(filler, "wb") as file:
                try:
                    while True:
                        file.write(b"\0" * 65536)
                        file.flush()
                except OSError:
                    pass
            process = router.start("--drain")
            wait_for(lambda: not process.is_running() or process.stderr(), "the router to notice")
            filler.unlink()
            process.wait()
            assert router.drain("--until-empty").code == EX_OK
            assert set(idents(peer)) == {f"m{i}" for i in range(20)}
    finally:
        shutil.rmtree(spool, ignore_errors=True)
        subprocess.run(["umount", "-l", spool], check=False)
