"""The end on request: within queue.shutdown_grace whatever peers, DNS and disks do, at once when asked
twice, and what was under way is untried or in doubt afterwards, never lost.

Every process that must end is waited for with a limit that is far beyond the grace: a router that
waits for its peer would outlast it."""
import signal
import socket
import subprocess
import threading

import pytest

from bugs import BUGS, Good
from harness import EX_OK, EX_TEMPFAIL, ROOT, Router, message, wait_for
from peer import Peer

PATIENT = {"smtp": {"content_timeout": "1h", "final_timeout": "2h", "content_min_rate": "0"}}


def to_peer(peer, grace="1s", **more):
    return {"pickup": {"settle": "0s"}, "queue": {"shutdown_grace": grace}, **PATIENT, **more,
            "retry": {"minimum": "1s", "maximum": "1s"},
            'destination "*"': {"next_hop": peer.next_hop}}


def statuses(router):
    return [r["status"] for row in router.queue() for r in row["recipients"]]


def stop(router, *signals):
    for number in signals or (signal.SIGTERM,):
        router.process.popen.send_signal(number)
    code = router.process.wait(60)
    router.check_sanitizers()
    return code


def delivered_by_another(router, ident):
    """What the next run sends to a peer that behaves."""
    with Peer(Good) as peer:
        router.config['destination "*"']["next_hop"] = peer.next_hop
        router.config["queue"]["shutdown_grace"] = "30s"
        assert router.drain("--until-empty").code == EX_OK
        return [m.header("Message-ID") for m in peer.messages].count(f"<{ident}@origin.test>")


def test_what_is_under_way_may_end(tmp_path):
    arrived, go_on = threading.Event(), threading.Event()

    class Slow(Good):
        def on_content(self, content):
            arrived.set()
            go_on.wait(60)
            return super().on_content(content)

    with Peer(Slow) as peer:
        router = Router(tmp_path, to_peer(peer, grace="1h"))
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        process = router.start()
        wait_for(arrived.is_set, "the content")
        process.popen.terminate()
        wait_for(lambda: "stopping:" in process.stderr(), "the router to stop")
        router.spool.drop("late", message(["u@d.test"], ident="late"))
        go_on.set()
        assert process.wait(60) == EX_OK
        assert len(peer.messages) == 1 and router.log()[-1]["event"] == "delivered"
        assert router.spool.files() == ["new/late"]


@pytest.mark.parametrize("bug,in_doubt", [
    ("silent-after-dot", True), ("endless-reply-after-dot", True), ("reads-no-content", False),
    ("silent-after-connect", False), ("endless-reply", False), ("endless-line", False)])
def test_no_peer_outlasts_the_grace(tmp_path, bug, in_doubt):
    with Peer(BUGS[bug]) as peer:
        router = Router(tmp_path, to_peer(peer))
        body = b"more than sockets hold\r\n" * 500000 if bug == "reads-no-content" else b"Hello.\r\n"
        router.spool.drop("m", message(["u@d.test"], body, ident="m"))
        router.start()
        wait_for(lambda: peer.messages if in_doubt else peer.counts["connections"], "the peer to be spoken to")
        assert stop(router) == EX_OK
    assert len(router.spool.files()) == 1 and statuses(router) == ["pending"]
    assert any(row["in_doubt"] for row in router.log()) == in_doubt
    assert delivered_by_another(router, "m") == 1


def test_dns_that_does_not_answer_holds_nothing_up(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        router = Router(tmp_path, {"pickup": {"settle": "0s"}, "queue": {"shutdown_grace": "1h"},
                                   "dns": {"servers": [f"127.0.0.1:{mute.getsockname()[1]}"], "timeout": "60s"}})
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        router.start()
        mute.settimeout(60)
        assert mute.recv(4096)
        assert stop(router) == EX_OK
    assert router.spool.files() == ["new/m"] and statuses(router) == ["pending"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_asked_twice_it_ends_at_once(tmp_path, second):
    with Peer(BUGS["silent-after-dot"]) as peer:
        router = Router(tmp_path, to_peer(peer, grace="1h"))
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        router.start()
        wait_for(lambda: peer.messages, "the message")
        router.process.popen.terminate()
        wait_for(lambda: "stopping:" in router.process.stderr(), "the router to stop")
        assert stop(router, second) == EX_TEMPFAIL
        assert "asked twice" in router.process.stderr()
    assert statuses(router) == ["in doubt"]
    assert delivered_by_another(router, "m") == 1


@pytest.fixture(scope="module")
def sick_disk(tmp_path_factory):
    library = tmp_path_factory.mktemp("sick") / "sick_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, ROOT / "tests" / "peer" / "sick_disk.c"], check=True)
    return library


@pytest.mark.parametrize("sickness", ["hang", "fail"])
def test_no_disk_outlasts_the_grace(tmp_path, sick_disk, sickness):
    sick = tmp_path / "sick"
    go_on = threading.Event()

    class Slow(Good):
        def on_content(self, content):
            go_on.wait(60)
            return super().on_content(content)

    with Peer(Slow) as peer:
        router = Router(tmp_path, to_peer(peer))
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        router.start(env={"LD_PRELOAD": str(sick_disk), "SICK_DISK": str(sick)})
        wait_for(lambda: peer.counts["connections"], "the connection")
        sick.write_text(sickness)
        go_on.set()
        wait_for(lambda: peer.messages, "the message")
        code = stop(router)
        assert code == EX_TEMPFAIL or (code == EX_OK and sickness == "fail")
    sick.unlink()
    # Its outcome was stored before the disk was asked to make it durable.
    assert delivered_by_another(router, "m") == 0
    assert router.spool.is_empty()
