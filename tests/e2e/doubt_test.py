"""Attempts in doubt: the connection is lost, or the router killed, between the final dot and its
reply. With queue.in_doubt = hold nobody gets such a message twice, and it waits in hold/."""
import os
import socket

import pytest

from bugs import BUGS, Good
from harness import BUILD, EX_OK, EX_TEMPFAIL, SANITIZED, Router, message, wait_for
from peer import Peer

AT_ONCE = {"minimum": "1s", "maximum": "1s", "jitter_percent": 0}


def holding(peer, other=None, in_doubt="hold"):
    config = {"pickup": {"settle": "0s"}, "retry": AT_ONCE, "queue": {"in_doubt": in_doubt},
              'destination "*"': {"next_hop": peer.next_hop}}
    if other:
        config['destination "other.test"'] = {"next_hop": other.next_hop}
    return config


def statuses(row):
    return [r["status"] for r in row["recipients"]]


@pytest.mark.short
def test_a_connection_lost_after_the_dot_is_held_and_never_sent_again(tmp_path):
    with Peer(BUGS["close-after-dot"]) as peer:
        router = Router(tmp_path, holding(peer))
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        result = router.drain()
        assert result.code == EX_TEMPFAIL
        assert result.one("deferred")["in_doubt"] is True
        assert "next" not in result.one("deferred")
        (held,) = router.spool.files()
        assert held.startswith("hold/")
        (row,) = router.queue()
        assert (row["path"], row["held"], statuses(row)) == (held, "in doubt", ["in doubt"])
        router.start()
        counts = {"waiting": 0, "held": 1, "in_doubt": 1, "loaded": 0, "in_flight": 0}
        wait_for(lambda: router.status().get("messages") == counts, "status to count it")
        router.stop()
        # Nothing is left to wait for, and a restart leaves it where it is.
        again = router.drain("--until-empty")
        assert (again.code, again.log) == (EX_TEMPFAIL, [])
        assert router.spool.files() == [held]
        assert statuses(router.queue()[0]) == ["in doubt"]
        assert len(peer.messages) == 1


def test_the_others_of_the_message_go_on_before_it_is_held(tmp_path):
    with Peer(BUGS["close-after-dot"]) as peer, Peer(BUGS["451-at-data"]) as busy:
        router = Router(tmp_path, holding(peer, busy))
        router.spool.drop("m", message(["u@d.test", "v@other.test"], ident="m"))
        router.drain()
        (waits,) = router.spool.files()
        assert waits.startswith("deferred/")
        assert sorted(statuses(router.queue()[0])) == ["in doubt", "pending"]
    with Peer(Good) as other, Peer(Good) as never:
        router.config['destination "other.test"']["next_hop"] = other.next_hop
        router.config['destination "*"']["next_hop"] = never.next_hop
        assert router.drain("--until-empty").code == EX_TEMPFAIL
        (held,) = router.spool.files()
        assert held.startswith("hold/")
        assert sorted(statuses(router.queue()[0])) == ["delivered", "in doubt"]
        assert len(other.messages) == 1 and len(never.messages) == 0


@pytest.mark.parametrize("in_doubt", ["hold", "retry"])
@pytest.mark.short
def test_killed_between_dot_and_reply(tmp_path, in_doubt):
    with Peer(BUGS["silent-after-dot"]) as peer:
        router = Router(tmp_path, holding(peer, in_doubt=in_doubt))
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        router.start()
        wait_for(lambda: peer.messages, "the message to be sent")
        router.kill()
    with Peer(Good) as peer:
        router.config['destination "*"']["next_hop"] = peer.next_hop
        result = router.drain()
        if in_doubt == "retry":
            assert result.code == EX_OK and len(peer.messages) == 1 and router.spool.is_empty()
            return
        assert result.code == EX_TEMPFAIL and len(peer.messages) == 0
        (held,) = router.spool.files()
        assert held.startswith("hold/")
        assert router.queue()[0]["held"] == "in doubt"


def test_a_doubt_is_listed_although_others_of_the_message_were_never_tried(tmp_path):
    with Peer(BUGS["silent-after-dot"]) as peer, socket.create_server(("127.0.0.1", 0)) as mute:
        config = holding(peer, in_doubt="retry")
        config['destination "mute.test"'] = {"next_hop": f"[127.0.0.1]:{mute.getsockname()[1]}"}
        router = Router(tmp_path, config)
        router.spool.drop("m", message(["u@d.test", "v@mute.test"], ident="m"))
        router.start()
        wait_for(lambda: peer.messages, "the message to be sent")
        router.kill()
        assert statuses(router.queue()[0]) == ["in doubt", "pending"]


def test_a_file_that_somebody_puts_into_hold_stays_there(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, holding(peer))
        (router.spool.path / "hold").mkdir()
        router.spool.drop("first", message(["u@d.test"], ident="first"))
        assert router.drain().code == EX_OK
        known = "0123456789abc"
        os.rename(router.spool.drop("m", message(["u@d.test"], ident="m")), router.spool.path / "hold" / known)
        os.rename(router.spool.drop("n", message(["u@d.test"], ident="n")), router.spool.path / "hold" / "no-id")
        result = router.drain()
        assert result.code == EX_TEMPFAIL
        assert "the journal does not know it; it is held" in result.stderr
        assert "not a queue id; it is left alone" in result.stderr
        assert len(peer.messages) == 1
        assert {row["held"] for row in router.queue()} == {"operator"}


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's runtime wants to be preloaded first")
@pytest.mark.parametrize("durability", ["strict", "group"])
def test_with_strict_content_leaves_after_the_intent_is_durable(tmp_path, durability):
    """Between a DATA command and its content lies an fdatasync that has ended; without strict not."""
    order = tmp_path / "order"
    with Peer(Good) as peer:
        config = holding(peer)
        config["queue"].update(durability=durability, commit_interval="1s")
        config['destination "*"'].update(connections=1, connections_initial=1)
        router = Router(tmp_path, config)
        for i in range(3):
            router.spool.drop(f"m{i}", message(["u@d.test"], b"ORDER-MARK\r\n", ident=f"m{i}"))
        process = router.start("--drain", env={"LD_PRELOAD": str(BUILD / "tests" / "liborder_shim.so"),
                                               "ORDER_LOG": str(order)})
        assert process.wait() == EX_OK
        assert len(peer.messages) == 3
    lines = order.read_text().split()
    assert (lines.count("data"), lines.count("content")) == (3, 3)
    assert all("fdatasync" in part[:part.index("content")] for part in parts_after_data(lines)) == (durability == "strict")


def parts_after_data(lines):
    """What happened from each DATA on until the next one."""
    starts = [i for i, line in enumerate(lines) if line == "data"]
    return [lines[start:end] for start, end in zip(starts, starts[1:] + [len(lines)])]


@pytest.mark.short
def test_strict_and_hold_deliver_under_load(tmp_path):
    with Peer(Good) as peer:
        config = holding(peer)
        config["queue"]["durability"] = "strict"
        router = Router(tmp_path, config)
        for i in range(200):
            router.spool.drop(f"m{i}", message(["u@d.test"], ident=f"m{i}"))
        assert router.drain().code == EX_OK
        assert len({m.header("Message-ID") for m in peer.messages}) == len(peer.messages) == 200
        assert router.spool.is_empty()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's runtime wants to be preloaded first")
def test_with_strict_nothing_of_a_flight_leaves_before_its_intent_is_durable(tmp_path):
    """The disk fails while the first message ends: the next one, MAIL to content in one flight, waits
    for a commit that does not work, and none of it leaves."""
    fails = tmp_path / "disk-fails"

    class DiskFailsAfterTheFirst(Good):
        def on_content(self, content):
            if not self.peer.messages:
                fails.touch()
            super().on_content(content)

    with Peer(DiskFailsAfterTheFirst, chunking=True) as peer:
        config = holding(peer)
        config["queue"]["durability"] = "strict"
        config['destination "*"'].update(connections=1, connections_initial=1)
        router = Router(tmp_path, config)
        for i in range(2):
            router.spool.drop(f"m{i}", message(["u@d.test"], ident=f"m{i}"))
        process = router.start("--drain", env={"LD_PRELOAD": str(BUILD / "tests" / "liborder_shim.so"),
                                               "ORDER_FAIL": str(fails)})
        wait_for(lambda: "Input/output error" in process.stderr(), "the disk to fail")
        wait_for(lambda: peer.counts["open"] == 0, "the connection to be given up")
        assert (peer.verbs()["MAIL"], len(peer.messages)) == (1, 1)
        fails.unlink()
        assert process.wait() == EX_OK
        assert len({m.header("Message-ID") for m in peer.messages}) == len(peer.messages) == 2
        assert router.spool.is_empty()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's runtime wants to be preloaded first")
def test_what_was_delivered_and_unlinked_is_not_called_cancelled(tmp_path):
    """The state between the unlink and its record: made by a commit that fails, a kill, and the
    unlink by hand."""
    fails = tmp_path / "disk-fails"

    class DiskFails(Good):
        def on_content(self, content):
            fails.touch()
            return super().on_content(content)

    with Peer(DiskFails) as peer:
        router = Router(tmp_path, holding(peer))
        dropped = router.spool.drop("m", message(["u@d.test", "v@d.test"], ident="m"))
        process = router.start(env={"LD_PRELOAD": str(BUILD / "tests" / "liborder_shim.so"),
                                    "ORDER_FAIL": str(fails)})
        wait_for(lambda: "Input/output error" in process.stderr(), "the commit of the outcome to fail")
        router.kill()
        dropped.unlink()
        result = router.drain()
        assert result.code == EX_OK
        assert "finished and removed just before the restart: 1" in result.stderr
        assert "cancelled" not in result.stderr
        again = router.drain()
        assert (again.code, "just before the restart" in again.stderr) == (EX_OK, False)
        assert len(peer.messages) == 1


def test_mail_of_a_lost_journal_is_doubled_and_not_lost(tmp_path):
    with Peer(BUGS["451-at-data"]) as busy, Peer(Good) as other:
        router = Router(tmp_path, holding(busy, other))
        router.spool.drop("m", message(["u@d.test", "v@other.test"], ident="m"))
        router.drain()
        assert len(router.spool.files("deferred")) == len(other.messages) == 1
        for segment in (router.spool.path / "journal").glob("*.segment"):
            segment.unlink()
        with Peer(Good) as peer:
            router.config['destination "*"']["next_hop"] = peer.next_hop
            result = router.drain()
            assert result.code == EX_OK
            assert "the journal does not know it; every recipient is tried" in result.stderr
            assert (len(peer.messages), len(other.messages)) == (1, 2)
            assert router.spool.is_empty()


def test_a_journal_segment_cut_short_ends_the_router_with_a_word_and_loses_nothing(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, holding(peer))
        process = router.start()
        journal = router.spool.path / "journal"
        wait_for(lambda: list(journal.glob("*.segment")) and (router.spool.path / "control").exists(),
                 "the router to be up")
        for segment in journal.glob("*.segment"):
            os.truncate(segment, 0)
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        assert process.wait() == os.EX_IOERR
        assert "cannot be read or written" in process.stderr()
        assert (router.spool.files(), peer.messages) == (["new/m"], [])
        assert router.drain().code == EX_OK
        assert (len(peer.messages), router.spool.is_empty()) == (1, True)
