"""One row for each named bug of tests/peer/bugs.py: how the attempt ends, in the log, the exit code, the
spool and at the peer. Each row runs as it is, with replies a byte at a time and without PIPELINING;
some also in one flight, behind a first message by DATA."""
import dataclasses
import json
import ssl
import subprocess
import threading
import time
import typing

import pytest

from bugs import BUGS, Good, from_the_second
from harness import EX_OK, EX_TEMPFAIL, Router, message, program, wait_for
from peer import Peer

SHORT = "300ms"
BASE = {"pickup": {"settle": "0s"}}
MEBIBYTE = 1 << 20
LARGE = b"0123456789abcde\r\n" * MEBIBYTE  # more than the buffers between the two take


@dataclasses.dataclass
class Row:
    bug: str
    code: int  # exit code of --drain
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    taken: typing.Optional[int] = None  # copies at the peer; None: as many messages as delivered
    phase: typing.Optional[str] = None  # of every event that is not "delivered"
    smtp_code: typing.Optional[int] = None
    in_doubt: bool = False
    recipients: tuple = ("u@d.test",)
    body: bytes = b"Hello.\r\n.dot\r\n"
    messages: int = 1
    tls: bool = False
    level: str = "may"
    smtp: dict = dataclasses.field(default_factory=dict)
    destination: dict = dataclasses.field(default_factory=dict)
    counts: dict = dataclasses.field(default_factory=dict)  # of the peer, exactly
    splits: bool = True  # also with replies split at every byte
    flies: bool = False  # also in one flight
    name: str = ""

    def __post_init__(self):
        self.name = self.name or self.bug
        if self.taken is None:
            self.taken = min(self.delivered, self.messages)


TWELVE = tuple(f"u{i}@d.test" for i in range(12))
ONE_BY_ONE = {"connections": 1, "connections_initial": 1, "max_deliveries": 1}
ONE_CONNECTION = {"connections": 1, "connections_initial": 1}

ROWS = [
    Row("none", EX_OK, delivered=1),
    Row("none", EX_OK, delivered=1, tls=True, counts={"full": 1}, name="none-tls"),
    Row("none", EX_OK, delivered=5, messages=5, tls=True, destination=ONE_BY_ONE,
        counts={"connections": 5, "full": 1, "resumed": 4}, name="tickets-are-used"),
    Row("tls12-only", EX_OK, delivered=5, messages=5, tls=True, destination=ONE_BY_ONE,
        counts={"connections": 5, "full": 1, "resumed": 4}),
    Row("ticket-never-resumes", EX_OK, delivered=5, messages=5, tls=True, destination=ONE_BY_ONE,
        counts={"connections": 5, "full": 5}),
    Row("421-at-banner", EX_TEMPFAIL, deferred=1, phase="banner", smtp_code=421),
    Row("554-at-banner", EX_TEMPFAIL, deferred=1, phase="banner", smtp_code=554),
    Row("close-before-banner", EX_TEMPFAIL, deferred=1, phase="banner"),
    Row("reset-before-banner", EX_TEMPFAIL, deferred=1),
    Row("silent-after-connect", EX_TEMPFAIL, deferred=1, phase="banner", smtp={"banner_timeout": SHORT}),
    Row("garbage-banner", EX_TEMPFAIL, deferred=1, phase="banner"),
    Row("multiline-banner", EX_OK, delivered=1),
    Row("bare-lf-replies", EX_OK, delivered=1),
    Row("no-text-replies", EX_OK, delivered=1),
    Row("code-changes-in-multiline", EX_TEMPFAIL, deferred=1, phase="ehlo"),
    Row("endless-reply", EX_TEMPFAIL, deferred=1, phase="ehlo"),
    Row("endless-line", EX_TEMPFAIL, deferred=1, phase="ehlo"),
    Row("huge-line", EX_OK, delivered=1),
    Row("nul-in-reply", EX_TEMPFAIL, flies=True, deferred=1, phase="rcpt", smtp_code=450),
    Row("no-ehlo-only-helo", EX_OK, delivered=1),
    Row("ehlo-closes", EX_TEMPFAIL, deferred=1, phase="ehlo"),
    Row("unasked-reply", EX_TEMPFAIL, deferred=1),
    Row("starttls-refused-454", EX_OK, delivered=1, tls=True),
    Row("starttls-refused-501", EX_OK, delivered=1, tls=True),
    Row("starttls-refused-454", EX_TEMPFAIL, deferred=1, phase="starttls", smtp_code=454, tls=True,
        level="encrypt", name="starttls-refused-454-encrypt"),
    Row("none", EX_TEMPFAIL, deferred=1, level="encrypt", phase="starttls", name="not-offered-encrypt"),
    Row("none", EX_OK, delivered=1, tls=True, level="none", counts={"full": 0}, name="level-none"),
    Row("extra-after-220-starttls", EX_TEMPFAIL, deferred=1, tls=True, counts={"full": 0}, splits=False),
    Row("tls-garbage", EX_TEMPFAIL, deferred=1, phase="tls", tls=True, counts={"garbage": 1}),
    Row("tls-silent", EX_TEMPFAIL, deferred=1, phase="tls", tls=True, smtp={"starttls_timeout": SHORT}),
    Row("421-after-rcpt-3", EX_TEMPFAIL, deferred=5, recipients=TWELVE[:5], smtp_code=421),
    Row("421-after-first-message", EX_OK, delivered=4, messages=4, destination=ONE_CONNECTION,
        counts={"connections": 4}),
    Row("421-at-final-dot", EX_TEMPFAIL, flies=True, deferred=1, phase="final", smtp_code=421, counts={"dots": 1}),
    Row("close-after-dot", EX_TEMPFAIL, flies=True, deferred=1, taken=1, phase="final", in_doubt=True),
    Row("silent-after-dot", EX_TEMPFAIL, flies=True, deferred=1, taken=1, phase="final", in_doubt=True,
        smtp={"final_timeout": SHORT}),
    Row("close-in-content", EX_TEMPFAIL, deferred=1, phase="content", body=LARGE),
    Row("552-in-content", EX_OK, bounced=1, phase="content", smtp_code=552, body=LARGE),
    Row("250-in-content", EX_TEMPFAIL, deferred=1, phase="content", body=LARGE),
    # Not split: the RST overtakes octets that still wait for the congestion window.
    Row("451-in-content-then-close", EX_TEMPFAIL, deferred=1, phase="content", smtp_code=451, body=LARGE, splits=False),
    Row("421-in-content-stops-reading", EX_TEMPFAIL, deferred=1, phase="content", smtp_code=421, body=LARGE),
    Row("421-in-content-stops-reading", EX_TEMPFAIL, deferred=1, phase="content", smtp_code=421, body=LARGE, tls=True,
        name="421-in-content-stops-reading-tls"),
    Row("endless-reply-in-content", EX_TEMPFAIL, deferred=1, phase="content", body=LARGE),
    Row("stops-reading-content", EX_TEMPFAIL, deferred=1, phase="content", smtp={"content_timeout": SHORT},
        body=LARGE),
    Row("slow-reader", EX_OK, delivered=1, body=b"0123456789abcde\r\n" * (MEBIBYTE // 128)),
    Row("452-after-5-recipients", EX_OK, delivered=12, taken=3, recipients=TWELVE),
    Row("limits-told", EX_OK, delivered=12, taken=3, recipients=TWELVE, counts={"connections": 2}),
    Row("limits-told", EX_OK, delivered=5, messages=5, destination=ONE_CONNECTION, counts={"connections": 3},
        name="limits-told-messages"),
    Row("452-for-the-first", EX_TEMPFAIL, deferred=2, phase="rcpt", smtp_code=452, recipients=TWELVE[:2]),
    Row("354-without-recipients", EX_OK, bounced=2, phase="rcpt", smtp_code=550, recipients=TWELVE[:2]),
    Row("354-refused-mixed", EX_TEMPFAIL, flies=True, delivered=3, deferred=1, bounced=1, taken=1, phase="rcpt",
        recipients=("ok@d.test", "busy@d.test", "forward@d.test", "gone@d.test", "maybe@d.test")),
    Row("550-at-mail", EX_OK, flies=True, bounced=1, phase="mail", smtp_code=550),
    Row("451-at-mail", EX_TEMPFAIL, flies=True, deferred=1, phase="mail", smtp_code=451),
    Row("451-at-data", EX_TEMPFAIL, deferred=1, phase="data", smtp_code=451),
    Row("554-at-final-dot", EX_OK, flies=True, bounced=1, phase="final", smtp_code=554, counts={"dots": 1}),
    Row("lmtp-per-recipient", EX_TEMPFAIL, delivered=1, deferred=1, bounced=1, taken=1, phase="final",
        recipients=("ok@d.test", "busy@d.test", "gone@d.test")),
]

VARIANTS = {"whole": {}, "split": {"split": True}, "no-pipelining": {"pipelining": False}}


def config_for(row, peer, home):
    """The bug's peer for d.test; a good one for the sender's domain, where bounces go."""
    return {**BASE, "smtp": row.smtp,
            'destination "*"': {"next_hop": peer.next_hop, "tls": {"level": row.level}, **row.destination},
            'destination "origin.test"': {"next_hop": home.next_hop}}


def cases():
    for row in ROWS:
        for variant in VARIANTS:
            if variant != "split" or row.splits:
                yield pytest.param(row, VARIANTS[variant], id=f"{row.name}-{variant}")


@pytest.mark.parametrize("row,variant", cases())
@pytest.mark.short(every=8)
def test_named_bug(tmp_path, certificate, row, variant):
    tls = certificate if row.tls else None
    with Peer(BUGS[row.bug], tls=tls, **variant) as peer, Peer(Good) as home:
        router = Router(tmp_path, config_for(row, peer, home))
        for i in range(row.messages):
            router.spool.drop(f"m{i}", message(row.recipients, row.body, ident=f"m{i}"))
        result = router.drain()
        ends = [e for e in result.log if not e["recipient"].endswith("@origin.test")]
        judge(row, result, ends, peer)
        wanted_bounces = 1 if row.bounced else 0
        assert len(home.messages) == wanted_bounces, "bounces to the sender"
        left = router.spool.files()
        assert len(router.spool.files("deferred")) == (1 if row.deferred else 0), left
        assert len(left) == (1 if row.deferred else 0), left
        assert not peer.complaints


@pytest.mark.parametrize("row", [row for row in ROWS if row.flies], ids=lambda row: row.name)
@pytest.mark.short(every=4)
def test_named_bug_in_one_flight(tmp_path, row):
    """The connection's first message goes well, by DATA; the second one flies into the bug."""
    with Peer(from_the_second(BUGS[row.bug]), chunking=True) as peer, Peer(Good) as home:
        config = config_for(row, peer, home)
        config['destination "*"'].update(ONE_CONNECTION)
        router = Router(tmp_path, config)
        for i in range(2):
            router.spool.drop(f"m{i}", message(row.recipients, row.body, ident=f"m{i}"))
        result = router.drain()
        ends = [e for e in result.log if not e["recipient"].endswith("@origin.test")]
        judge(dataclasses.replace(row, delivered=row.delivered + len(row.recipients), taken=row.taken + 1),
              result, ends, peer)
        verbs = [line.split()[0] for _, line in peer.commands if line.startswith(("DATA", "BDAT"))]
        assert verbs == ["DATA", "BDAT"]
        assert len(router.spool.files()) == (1 if row.deferred else 0)


def judge(row, result, ends, peer):
    assert result.code == row.code, (ends, result.stderr)
    counts = {kind: sum(e["event"] == kind for e in ends) for kind in ("delivered", "deferred", "bounced")}
    assert counts == {"delivered": row.delivered, "deferred": row.deferred, "bounced": row.bounced}, ends
    assert len(peer.messages) == row.taken
    for name, count in row.counts.items():
        assert peer.counts.get(name, 0) == count, (name, peer.counts)
    for end in ends:
        assert end["attempt"] == 1
        assert all(c.isprintable() for c in end["reply"] or ""), end
        if end["event"] == "delivered":
            continue
        assert end["in_doubt"] is row.in_doubt, end
        assert row.phase is None or end["phase"] == row.phase, end
        assert row.smtp_code is None or end["code"] == row.smtp_code, end


@pytest.mark.short
def test_batches_are_split_at_452_and_each_recipient_is_named_once(tmp_path):
    with Peer(BUGS["452-after-5-recipients"]) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop}})
        router.spool.drop("m", message(TWELVE))
        assert router.drain().code == EX_OK
        assert peer.recipients() == sorted(TWELVE)
        assert sorted(len(m.recipients) for m in peer.messages) == [2, 5, 5]


@pytest.mark.parametrize("pipelining", [True, False])
def test_content_never_follows_a_354_that_no_recipient_earned(tmp_path, pipelining):
    """And the connection is good for the next message."""
    with Peer(BUGS["354-without-recipients"], pipelining=pipelining) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, **ONE_CONNECTION}})
        for i in range(3):
            router.spool.drop(f"m{i}", message(["u@d.test"], sender=""))
        result = router.drain()
        assert len(result.events("bounced")) == 3
        assert peer.counts.get("orphan_octets", 0) == 0
        assert peer.counts["connections"] == 1
        assert len([f for f in router.spool.files("bad") if f.endswith(".why")]) == 3  # double bounces


def test_plaintext_after_retry_minimum_where_the_handshake_keeps_failing(tmp_path, certificate):
    with Peer(BUGS["tls-garbage"], tls=certificate) as peer:
        router = Router(tmp_path, {**BASE, "retry": {"minimum": "500ms", "maximum": "1s"},
                                   'destination "*"': {"next_hop": peer.next_hop}})
        router.spool.drop("m", message(["u@d.test"]))
        result = router.drain("--until-empty")
        assert result.code == EX_OK
        assert result.events("deferred")[0]["phase"] == "tls"
        assert result.one("delivered")["tls"] is None
        assert [m.tls for m in peer.messages] == [None]


def test_encryption_that_is_required_never_turns_into_plaintext(tmp_path, certificate):
    with Peer(BUGS["tls-garbage"], tls=certificate) as peer:
        router = Router(tmp_path, {**BASE, "retry": {"minimum": "200ms", "maximum": "400ms", "null_lifetime": "2s"},
                                   'destination "*"': {"next_hop": peer.next_hop, "tls": {"level": "encrypt"}}})
        router.spool.drop("m", message(["u@d.test"], sender=""))
        result = router.drain("--until-empty")
        assert result.one("bounced") and not result.events("delivered")
        assert len(result.events("deferred")) >= 2
        assert not peer.messages and "MAIL" not in peer.verbs()


def test_a_connection_that_was_closed_while_idle_costs_no_attempt(tmp_path):
    class LeavesAfterOne(Good):
        def on_mail(self, sender, params):
            if self.num_messages:
                return False  # without a word
            return super().on_mail(sender, params)

    with Peer(LeavesAfterOne) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, **ONE_CONNECTION}})
        for i in range(6):
            router.spool.drop(f"m{i}", message(["u@d.test"], ident=f"m{i}"))
        result = router.drain()
        assert result.code == EX_OK
        assert [e["attempt"] for e in result.events("delivered")] == [1] * 6
        assert not result.events("deferred")
        assert len(peer.messages) == 6


def test_a_connection_that_idled_to_its_end_gives_its_promise_back(tmp_path):
    """It was told to take a delivery when its lifetime was over: another one takes it."""
    with Peer(Good) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {
            "next_hop": peer.next_hop, "connection_lifetime": "1s", "idle": "30s", **ONE_CONNECTION}})
        process = router.start()
        router.spool.drop("m0", message(["u@d.test"], ident="m0"))
        wait_for(lambda: len(peer.messages) == 1, "the first message")
        begun = time.monotonic()
        wait_for(lambda: time.monotonic() > begun + 1.1, "the end of the connection's lifetime")
        router.spool.drop("m1", message(["u@d.test"], ident="m1"))
        wait_for(lambda: len(peer.messages) == 2, "the second message")
        assert process.terminate() == EX_OK
        assert peer.counts["connections"] == 2


def test_content_in_flights_is_whole_and_of_any_shape(tmp_path):
    """Dots are not doubled, the end needs none, and each length is the one announced."""
    bodies = [b".\r\n", b"..\r\n.\r\n", b"no end", b"bare\nlines\n.\n", b"a\r\n" * 12000, b"\xff\r\nnul:\0\r\n", b""]
    wires = [b".\r\n", b"..\r\n.\r\n", b"no end\r\n", b"bare\r\nlines\r\n.\r\n", b"a\r\n" * 12000,
             b"\xff\r\nnul:\r\n", b""]
    with Peer(Good, chunking=True) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, **ONE_CONNECTION}})
        for i, body in enumerate(bodies * 2):
            router.spool.drop(f"m{i}", message(["u@d.test"], body, ident=f"m{i}"))
        assert router.drain().code == EX_OK
        got = {m.header("Message-ID"): m.content.split(b"\r\n\r\n", 1)[1] for m in peer.messages}
        assert got == {f"<m{i}@origin.test>": wire for i, wire in enumerate(wires * 2)}
        verbs = [line.split()[0] for _, line in peer.commands if line.startswith(("DATA", "BDAT"))]
        assert verbs == ["DATA"] + ["BDAT"] * (2 * len(bodies) - 1)


def test_extensions_are_used_as_offered(tmp_path):
    utf8 = "f\u00fcr@d.test"
    with Peer(Good) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop}})
        router.spool.drop("m", message([utf8], "gr\u00fcn\r\n".encode()))
        assert router.drain().code == EX_OK
        mail = next(line for _, line in peer.commands if line.startswith("MAIL"))
        assert "SMTPUTF8" in mail and "BODY=8BITMIME" in mail and "SIZE=" in mail
        size = int(mail.split("SIZE=")[1].split()[0])
        assert size == len(peer.messages[0].content)
        assert peer.messages[0].recipients == [utf8]


def test_what_no_host_can_take_bounces(tmp_path):
    class Plain(Good):
        keywords = ["PIPELINING", "SIZE 2000"]

    with Peer(Plain) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop}})
        router.spool.drop("utf8", message(["f\u00fcr@d.test"], sender=""))
        router.spool.drop("large", message(["large@d.test"], b"0123456789\r\n" * 500, sender=""))
        router.spool.drop("eight", message(["eight@d.test"], b"gr\xc3\xbcn\r\n", sender=""))
        result = router.drain()
        assert result.one("bounced", "f\u00fcr@d.test")["enhanced"] == "5.6.7"
        assert result.one("bounced", "large@d.test")["enhanced"] == "5.3.4"
        assert result.one("delivered", "eight@d.test")
        assert b"gr\xc3\xbcn\r\n" in peer.messages[0].content
        assert "BODY=" not in " ".join(line for _, line in peer.commands)


def test_recipients_of_one_domain_share_a_transaction_and_domains_do_not(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop}})
        router.spool.drop("m", message(["a@x.test", "b@x.test", "c@y.test", "A@X.TEST", "a@x.test"]))
        assert router.drain().code == EX_OK
        transactions = sorted(sorted(m.recipients) for m in peer.messages)
        flat = [r.lower() for t in transactions for r in t]
        assert all(len({r.lower().split("@")[1] for r in t}) == 1 for t in transactions)
        assert len(transactions) == 2 and flat.count("b@x.test") == 1 and flat.count("c@y.test") == 1


@pytest.mark.short
def test_connections_stay_within_the_limit_of_the_destination(tmp_path):
    class Slowish(Good):
        def on_content(self, content):
            with self.peer.lock:
                self.peer.busy.add(self.number)
                self.peer.most_busy = max(self.peer.most_busy, len(self.peer.busy))
            # The reply waits until others had time to come in, so that a breach would show.
            self.peer.stopped.wait(0.03)
            with self.peer.lock:
                self.peer.busy.discard(self.number)
            return super().on_content(content)

    with Peer(Slowish) as peer:
        peer.busy, peer.most_busy = set(), 0
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, "connections": 3,
                                                               "max_deliveries": 5}})
        for i in range(60):
            router.spool.drop(f"m{i}", message([f"u{i}@d{i % 9}.test"], ident=f"m{i}"))
        assert router.drain().code == EX_OK
        assert len(peer.messages) == 60
        assert 1 < peer.most_busy <= 3
        assert peer.counts["connections"] >= 12
        per_connection = [sum(m.connection == n for m in peer.messages) for n in range(peer.counts["connections"])]
        assert max(per_connection) <= 5


@pytest.mark.short
def test_sigterm_finishes_the_transaction_in_flight(tmp_path):
    class Waits(Good):
        def on_content(self, content):
            self.peer.count("asked")
            self.peer.go.wait(30)
            return super().on_content(content)

    with Peer(Waits) as peer, Peer(Good) as other:
        peer.go = threading.Event()
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, **ONE_CONNECTION},
                                   'destination "idle.test"': {"next_hop": other.next_hop, "idle": "60s"}})
        router.spool.drop("idle", message(["u@idle.test"]))
        for i in range(3):
            router.spool.drop(f"m{i}", message(["u@d.test"], ident=f"m{i}"))
        process = router.start()
        wait_for(lambda: peer.counts.get("asked") and other.messages, "the final dot, and an idle connection")
        assert other.counts["open"] == 1
        process.popen.terminate()
        wait_for(lambda: other.counts["open"] == 0, "the idle connection's end, the first sign of SIGTERM")
        assert process.is_running() and not peer.messages
        peer.go.set()
        assert process.wait() == EX_OK
        assert peer.messages and not [e for e in router.log() if e["event"] != "delivered"]
        assert router.drain().code == EX_OK
        assert sorted(m.header("Message-ID") for m in peer.messages) == [f"<m{i}@origin.test>" for i in range(3)]


MUTE = {"EHLO": "ehlo", "STARTTLS": "starttls", "MAIL": "mail", "RCPT": "rcpt", "DATA": "data"}


@pytest.mark.parametrize("verb", MUTE)
def test_each_command_has_its_own_time_limit(tmp_path, certificate, verb):
    """Of all limits only the one of that command is short."""
    class Mute(Good):
        pipelining = False

        def dispatch(self, line):
            if line.startswith(verb):
                self.conn.stall()
                return False
            return super().dispatch(line)

    phase = MUTE[verb]
    with Peer(Mute, tls=certificate) as peer:
        level = "may" if verb == "STARTTLS" else "none"
        router = Router(tmp_path, {**BASE, "smtp": {f"{phase}_timeout": SHORT},
                                   'destination "*"': {"next_hop": peer.next_hop, "tls": {"level": level}}})
        router.spool.drop("m", message(["u@d.test"]))
        end = router.drain().one("deferred")
        assert (end["phase"], end["code"], end["enhanced"], end["in_doubt"]) == (phase, None, "4.4.2", False)


def test_the_reply_to_quit_is_not_waited_for(tmp_path):
    class NoGoodbye(Good):
        def dispatch(self, line):
            if line == "QUIT":
                self.peer.count("quit")
                self.peer.stopped.wait(60)
                return False
            return super().dispatch(line)

    with Peer(NoGoodbye) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, **ONE_BY_ONE}})
        for i in range(3):
            router.spool.drop(f"m{i}", message(["u@d.test"]))
        assert router.drain().code == EX_OK and len(peer.messages) == 3
        wait_for(lambda: peer.counts.get("quit") == 3, "QUIT of each connection")
        assert peer.counts["open"] == 3


def test_a_connection_without_work_says_quit_after_its_idle_time(tmp_path):
    with Peer(Good) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, "idle": SHORT}})
        router.start()
        router.spool.drop("m", message(["u@d.test"]))
        wait_for(lambda: peer.verbs().get("QUIT") == 1 and peer.counts["open"] == 0, "the connection's end")
        assert router.stop() == EX_OK


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("level", ["may", "encrypt"])
def test_a_failed_resumed_handshake_is_followed_by_a_full_one(tmp_path, certificate, level, version):
    """Within the attempt, and without counting as a failure of the host."""
    class BreaksSecond(Good):
        max_version = ssl.TLSVersion[version]

        def handshake(self):
            if self.number != 1:
                return super().handshake()
            self.conn.read_octets(5)  # of the ClientHello
            self.peer.count("broken")
            return False

    with Peer(BreaksSecond, tls=certificate) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, "tls": {"level": level},
                                                               **ONE_BY_ONE}})
        for i in range(3):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"]))
        result = router.drain()
        assert result.code == EX_OK
        assert [(e["event"], e["attempt"], e["tls"]["resumed"]) for e in result.log] == [
            ("delivered", 1, False), ("delivered", 1, False), ("delivered", 1, True)]
        assert (peer.counts["broken"], peer.counts["full"], peer.counts["resumed"]) == (1, 2, 1)


def test_urgent_mail_goes_first_and_its_tag_is_logged(tmp_path):
    class Waits(Good):
        def on_content(self, content):
            if not self.peer.messages:
                self.peer.count("asked")
                self.peer.go.wait(60)
            return super().on_content(content)

    def loaded():
        run = subprocess.run([program("sluice"), "status", "--json", "-c", router.config_path], capture_output=True,
                             timeout=60)
        return json.loads(run.stdout)["messages"]["loaded"]

    with Peer(Waits) as peer:
        peer.go = threading.Event()
        router = Router(tmp_path, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, **ONE_CONNECTION}})
        router.start()
        router.spool.drop("first", message(["first@d.test"]))
        wait_for(lambda: peer.counts.get("asked"), "the first message to be under way")
        for value in ("3", "", "7"):
            options = f"X-Sluice-Priority: {value}\r\nX-Sluice-Tag: tag {value}\r\n" if value else ""
            router.spool.drop(f"p{value}", options.encode() + message([f"p{value}@d.test"]))
        wait_for(lambda: loaded() == 4, "the others to wait behind it")
        peer.go.set()
        wait_for(lambda: len(router.log()) == 4, "all four")
        router.stop()
        assert [m.recipients for m in peer.messages] == [["first@d.test"], ["p7@d.test"], ["p@d.test"], ["p3@d.test"]]
        assert {e["recipient"]: e.get("tag") for e in router.log()} == {
            "first@d.test": None, "p@d.test": None, **{f"p{v}@d.test": f"tag {v}" for v in (3, 7)}}
        assert not any(b"X-Sluice" in m.content for m in peer.messages)


def test_a_deadline_ends_the_retries(tmp_path):
    with Peer(BUGS["451-at-mail"]) as peer, Peer(Good) as home:
        router = Router(tmp_path, {**BASE, "retry": {"minimum": "200ms", "maximum": "200ms"},
                                   'destination "*"': {"next_hop": peer.next_hop},
                                   'destination "origin.test"': {"next_hop": home.next_hop}})
        router.spool.drop("m", b"X-Sluice-Deadline: 1s\r\n" + message(["u@d.test"]))
        result = router.drain("--until-empty")
        assert result.code == EX_OK and result.one("bounced")["enhanced"] == "5.4.7"
        assert len(home.messages) == 1
