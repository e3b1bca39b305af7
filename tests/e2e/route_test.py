"""From domain to host: hostile DNS, and hosts that fail before another host of the same domain gets its
turn. The DNS is scripted (tests/peer/dns_peer.py)."""
import contextlib
import socket

import pytest

from bugs import BUGS, Good
from dns_peer import DROP, GARBAGE, REFUSED, SERVFAIL, WRONG_ID, DnsPeer
from harness import EX_OK, EX_TEMPFAIL, HOSTNAME, Router, message, wait_for
from peer import Peer

FIRST, SECOND = "127.0.0.2", "127.0.0.3"


def config(dns, port, **more):
    return {"pickup": {"settle": "0s"}, "smtp": {"port": port, "banner_timeout": "300ms", "starttls_timeout": "300ms"},
            "dns": {"servers": [dns.server], "allow_local": True, "timeout": "200ms", "tries": 1, **more}}


def mx(*hosts):
    return {"MX": [f"{10 * (i + 1)} {host}." for i, host in enumerate(hosts)]}


GOOD = {"A": ["127.0.0.1"]}
RECORDS = {
    "mx.test": GOOD,
    "null.test": {"MX": ["0 ."]},
    "null-with-address.test": {"MX": ["0 ."], "A": ["127.0.0.1"]},
    "nothing.test": {"TXT": ['"no mail here"']},
    "implicit.test": GOOD,
    "alias.test": {"CNAME": ["real.test."]}, "real.test": mx("mx.test"),
    "circle.test": {"CNAME": ["circle2.test."]}, "circle2.test": {"CNAME": ["circle.test."]},
    "servfail.test": SERVFAIL, "refused.test": REFUSED, "drop.test": DROP,
    "garbage.test": GARBAGE, "wrong-id.test": WRONG_ID,
    "loop.test": mx(HOSTNAME, "mx.test"), HOSTNAME: GOOD,
    "behind-loop.test": mx("mx.test", HOSTNAME),
    "no-address.test": mx("nowhere.test"),
    "uncertain-address.test": {"MX": ["10 nowhere.test.", "10 servfail.test."]},
    "one-good.test": mx("servfail.test", "mx.test"),
    "mx-servfail.test": {"MX": SERVFAIL, "A": ["127.0.0.1"]},
    "literal-as-name.test": mx("127.0.0.1"),
    "many.test": {"MX": [f"{i} nowhere{i}.test." for i in range(200)] + ["5000 mx.test."]},
    "mx-is-alias.test": mx("alias-of-mx.test"), "alias-of-mx.test": {"CNAME": ["mx.test."]},
    "xn--bcher-kva.test": mx("mx.test"),
}

VERDICTS = [
    ("null.test", "bounced", "5.1.10"),
    ("null-with-address.test", "bounced", "5.1.10"),
    ("nosuch.test", "bounced", "5.1.2"),
    ("nothing.test", "bounced", "5.1.2"),
    ("implicit.test", "delivered", None),
    ("IMPLICIT.Test", "delivered", None),
    ("alias.test", "delivered", None),
    ("mx-is-alias.test", "delivered", None),
    ("servfail.test", "deferred", None),
    ("refused.test", "deferred", None),
    ("drop.test", "deferred", None),
    ("garbage.test", "deferred", None),
    ("wrong-id.test", "deferred", None),
    ("loop.test", "bounced", "5.4.6"),
    ("behind-loop.test", "delivered", None),
    ("no-address.test", "bounced", "5.4.4"),
    ("uncertain-address.test", "deferred", None),
    ("one-good.test", "delivered", None),
    ("mx-servfail.test", "deferred", None),
    ("b\u00fccher.test", "delivered", None),
    ("[127.0.0.1]", "delivered", None),
]


def test_via_takes_the_way_of_another_domain(tmp_path):
    """Its next hop, whatever the recipients' domains are; without one the mail waits."""
    with contextlib.closing(DnsPeer(dict(RECORDS))) as dns, Peer(Good) as hop, Peer(Good) as mx_host:
        made = config(dns, mx_host.port)
        made['destination "signer.internal"'] = {"next_hop": hop.next_hop, "max_recipients": 1}
        router = Router(tmp_path, made)
        for name, via in (("a", "Signer.Internal"), ("b", "unknown.internal"), ("c", None), ("d", "not a domain")):
            block = f"X-Sluice-Via: {via}\r\n".encode() if via else b""
            router.spool.drop(name, block + message([f"{name}1@implicit.test", f"{name}2@implicit.test"], ident=name))
        result = router.drain()
        assert sorted(r for m in hop.messages for r in m.recipients) == ["a1@implicit.test", "a2@implicit.test"]
        assert len(hop.messages) == 2 and [m.recipients[0][0] for m in mx_host.messages] == ["c"]
        event = result.events(recipient="b1@implicit.test")[0]
        assert (event["event"], event["phase"], event["enhanced"]) == ("deferred", "route", "4.3.5")
        assert event["reply"] == "no next hop is configured for X-Sluice-Via: unknown.internal"
        assert "X-Sluice-Via" in router.spool.why("d")


@pytest.mark.parametrize("domain,event,enhanced", VERDICTS, ids=[v[0] for v in VERDICTS])
@pytest.mark.short(every=4)
def test_verdict(tmp_path, domain, event, enhanced):
    with DnsPeer(dict(RECORDS)) as dns, Peer(Good) as peer:
        router = Router(tmp_path, config(dns, peer.port))
        router.spool.drop("m", message([f"u@{domain}"], sender=""))
        result = router.drain()
        assert len(result.log) == 1, result.log
        assert result.log[0]["event"] == event, result.log
        assert enhanced is None or result.log[0]["enhanced"] == enhanced
        assert result.code == (EX_TEMPFAIL if event == "deferred" else EX_OK)
        assert len(peer.messages) == (event == "delivered")


@pytest.mark.parametrize("domain", ["circle.test", "literal-as-name.test", "many.test"])
def test_oddities_end_without_delivery_or_with_one(tmp_path, domain):
    """What exactly is right here may be argued; that it ends, and at most once, may not."""
    with DnsPeer(dict(RECORDS)) as dns, Peer(Good) as peer:
        router = Router(tmp_path, config(dns, peer.port))
        router.spool.drop("m", message([f"u@{domain}"], sender=""))
        result = router.drain()
        assert result.code in (EX_OK, EX_TEMPFAIL) and len(result.log) == 1
        assert len(peer.messages) == len(result.events("delivered"))


def test_a_truncated_answer_is_asked_for_again_over_tcp(tmp_path):
    many = [f"{i + 20} nowhere-{'x' * 50}-{i}.test." for i in range(60)]
    records = {"mx.test": GOOD, "big.test": {"MX": ["10 mx.test."] + many}}

    class TruncatesOverUdp(DnsPeer):
        def answer(self, wire, over_tcp):
            out = super().answer(wire, over_tcp)
            if out is None or over_tcp or len(out) <= 1232:
                return out
            self.truncated = True
            # The question and TC, no answer.
            return (out[:2] + bytes([out[2] | 0x02]) + out[3:4] + b"\0\1\0\0\0\0\0\0"
                    + wire[12:wire.index(b"\0", 12) + 5])

    with TruncatesOverUdp(records) as dns, Peer(Good) as peer:
        router = Router(tmp_path, config(dns, peer.port))
        router.spool.drop("m", message(["u@big.test"], sender=""))
        assert router.drain().code == EX_OK
        assert dns.truncated and len(peer.messages) == 1


@pytest.mark.parametrize("trouble", [SERVFAIL, REFUSED, DROP])
def test_the_next_server_is_asked_when_one_fails(tmp_path, trouble):
    records = dict(RECORDS)
    with DnsPeer({name: trouble for name in records}) as broken, DnsPeer(records) as dns, Peer(Good) as peer:
        settings = config(dns, peer.port)
        settings["dns"]["servers"] = [broken.server, dns.server]
        router = Router(tmp_path, settings)
        router.spool.drop("m", message(["u@real.test"]))
        assert router.drain().code == EX_OK
        assert broken.asked("real.test", "MX") and len(peer.messages) == 1


def test_local_addresses_are_no_mail_hosts_unless_allowed(tmp_path):
    with DnsPeer(dict(RECORDS)) as dns, Peer(Good) as peer:
        router = Router(tmp_path, config(dns, peer.port, allow_local=False))
        for name, domain in (("a", "real.test"), ("b", "[127.0.0.1]"), ("c", "implicit.test")):
            router.spool.drop(name, message([f"u@{domain}"], sender=""))
        result = router.drain()
        assert [e["enhanced"] for e in result.events("bounced")] == ["5.4.6"] * 3
        assert peer.counts["connections"] == 0


@pytest.mark.short
def test_a_domain_is_looked_up_once_for_many_messages(tmp_path):
    with DnsPeer(dict(RECORDS)) as dns, Peer(Good) as peer:
        router = Router(tmp_path, config(dns, peer.port))
        for i in range(100):
            router.spool.drop(f"m{i}", message([f"u{i}@real.test"]))
        assert router.drain().code == EX_OK
        assert len(peer.messages) == 100
        assert dns.asked("real.test", "MX") == 1 and dns.asked("mx.test", "A") == 1


@pytest.mark.short
def test_domains_that_share_their_hosts_share_connections(tmp_path):
    records = {"mx.test": GOOD, **{f"d{i}.test": mx("mx.test") for i in range(50)}}
    with DnsPeer(records) as dns, Peer(Good) as peer:
        settings = config(dns, peer.port, timeout="10s")  # fifty look-ups at once
        settings['destination "*"'] = {"connections": 2}
        router = Router(tmp_path, settings)
        for i in range(50):
            router.spool.drop(f"m{i}", message([f"u@d{i}.test"]))
        assert router.drain().code == EX_OK
        assert len(peer.messages) == 50 and peer.counts["connections"] <= 3
        assert len({e["site"] for e in router.log()}) == 1


@contextlib.contextmanager
def two_hosts(first, tls=None):
    """Peers on one port of two addresses."""
    while True:
        a = Peer(first, address=FIRST, tls=tls)
        try:
            b = Peer(Good, address=SECOND, port=a.port, tls=tls)
        except OSError:
            a.close()
            continue
        break
    records = {"d.test": mx("one.test", "two.test"), "one.test": {"A": [FIRST]}, "two.test": {"A": [SECOND]}}
    with a, b, DnsPeer(records) as dns:
        yield a, b, dns


HOST_FAILURES = ["421-at-banner", "554-at-banner", "close-before-banner", "reset-before-banner",
                 "silent-after-connect", "garbage-banner", "ehlo-closes", "endless-reply", "421-after-rcpt-3"]


@pytest.mark.parametrize("bug", HOST_FAILURES)
@pytest.mark.short(every=4)
def test_a_failing_host_leads_to_the_next_one_within_the_attempt(tmp_path, bug):
    with two_hosts(BUGS[bug]) as (one, two, dns):
        router = Router(tmp_path, config(dns, one.port))
        router.spool.drop("m", message([f"u{i}@d.test" for i in range(5)]))
        result = router.drain()
        assert result.code == EX_OK
        assert {(e["event"], e["attempt"], e["mx"]) for e in result.log} == {("delivered", 1, "two.test")}
        assert one.counts["connections"] >= 1 and len(two.messages) == 1


@pytest.mark.parametrize("bug,level", [("tls-garbage", "may"), ("tls-garbage", "encrypt"), ("tls-silent", "may"),
                                       ("starttls-refused-454", "encrypt"), ("extra-after-220-starttls", "may")])
def test_broken_tls_leads_to_the_next_host(tmp_path, certificate, bug, level):
    with two_hosts(BUGS[bug], tls=certificate) as (one, two, dns):
        router = Router(tmp_path, {**config(dns, one.port), "tls": {"level": level}})
        router.spool.drop("m", message(["u@d.test"]))
        result = router.drain()
        assert result.code == EX_OK and not one.messages
        assert result.one("delivered")["tls"]["version"] == "TLSv1.3"
        assert len(two.messages) == 1


def test_a_host_that_refuses_connections_leads_to_the_next_one(tmp_path):
    with two_hosts(Good) as (one, two, dns):
        one.close()
        router = Router(tmp_path, config(dns, two.port))
        router.spool.drop("m", message(["u@d.test"]))
        assert router.drain().code == EX_OK
        assert len(two.messages) == 1


@pytest.mark.parametrize("bug,event", [("452-for-the-first", "deferred"), ("451-at-mail", "deferred"),
                                       ("554-at-final-dot", "bounced"), ("550-at-mail", "bounced")])
def test_an_answer_to_the_transaction_is_final_for_the_attempt(tmp_path, bug, event):
    with two_hosts(BUGS[bug]) as (one, two, dns):
        router = Router(tmp_path, config(dns, one.port))
        router.spool.drop("m", message(["u@d.test"], sender=""))
        assert router.drain().one(event)["mx"] == "one.test"
        assert two.counts["connections"] == 0


def test_a_host_that_leaves_the_route_of_an_idle_connection(tmp_path):
    """The second host loses its address while a connection to it is idle: the next delivery begins anew, in
    a route that is shorter, and its failure names the host that is left."""
    with two_hosts(Good) as (one, two, dns):
        one.close()
        dns.ttl = 1
        router = Router(tmp_path, {**config(dns, two.port, min_ttl="1s", max_ttl="1s"),
                                   "workers": 1, "retry": {"minimum": "1h"},
                                   'destination "*"': {"connections": 1, "idle": "1h"}})
        router.start()
        router.spool.drop("first", message(["u@d.test"]))
        wait_for(lambda: len(two.messages) == 1, "the first message")
        dns.records["two.test"] = {}
        dropped = 0

        def is_deferred():
            nonlocal dropped
            assert router.process.is_running(), router.process.stderr()
            if len(router.log()) == dropped + 1:
                dropped += 1
                router.spool.drop(f"m{dropped}", message(["u@d.test"]))
            return [e for e in router.log() if e["event"] == "deferred"]

        wait_for(is_deferred, "a delivery in the shorter route", timeout=60)
        (event,) = is_deferred()
        assert event["mx"] == "one.test" and event["address"] == FIRST and "one.test" in event["reply"]
        router.stop()


def test_equal_preferences_share_the_load(tmp_path):
    with two_hosts(Good) as (one, two, dns):
        for i in range(40):
            dns.records[f"s{i}.test"] = {"MX": ["10 one.test.", "10 two.test."]}
        settings = config(dns, one.port, timeout="10s")  # forty look-ups at once
        settings['destination "*"'] = {"max_deliveries": 1}
        router = Router(tmp_path, settings)
        for i in range(40):
            router.spool.drop(f"m{i}", message([f"u@s{i}.test"]))
        assert router.drain().code == EX_OK
        assert len(one.messages) + len(two.messages) == 40
        assert one.messages and two.messages


@contextlib.contextmanager
def deaf(address, port=0):
    """Takes no connection and refuses none: its backlog is full, so the kernel drops each SYN."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((address, port))
        listener.listen(0)
        for _ in range(3):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def patient(dns, port):
    """A dead address alone would keep a delivery for longer than the test lasts."""
    settings = config(dns, port)
    settings["smtp"].update(connect_timeout="1h", race_delay="10ms")
    return settings


@pytest.mark.short
def test_a_dead_address_never_keeps_the_next_from_its_turn(tmp_path):
    records = {"d.test": mx("both.test"), "both.test": {"A": [FIRST, SECOND]},
               "e.test": mx("one.test", "two.test"), "one.test": {"A": [FIRST]}, "two.test": {"A": [SECOND]}}
    with Peer(Good, address=SECOND) as peer, deaf(FIRST, peer.port), DnsPeer(records) as dns:
        router = Router(tmp_path, patient(dns, peer.port))
        for name in ("d", "e"):
            router.spool.drop(name, message([f"u@{name}.test"]))
        result = router.drain()
        assert result.code == EX_OK and len(peer.messages) == 2
        assert {e["attempt"] for e in result.log} == {1}


def test_a_host_whose_every_address_is_dead_does_not_keep_the_next_from_its_turn(tmp_path):
    """More of them than are dialed at a time."""
    dead = [f"127.0.0.{i}" for i in range(10, 19)]
    records = {"d.test": mx("one.test", "two.test"), "one.test": {"A": dead}, "two.test": {"A": [SECOND]}}
    with Peer(Good, address=SECOND) as peer, contextlib.ExitStack() as stack, DnsPeer(records) as dns:
        for address in dead:
            stack.enter_context(deaf(address, peer.port))
        router = Router(tmp_path, patient(dns, peer.port))
        router.spool.drop("m", message(["u@d.test"]))
        assert router.drain().one("delivered")["mx"] == "two.test"


def test_a_connection_that_nobody_answers_ends_by_its_time_limit(tmp_path):
    with deaf(FIRST) as port:
        router = Router(tmp_path, {"pickup": {"settle": "0s"}, "smtp": {"connect_timeout": "200ms"},
                                   'destination "*"': {"next_hop": f"[{FIRST}]:{port}"}})
        router.spool.drop("m", message(["u@d.test"]))
        end = router.drain().one("deferred")
        assert (end["phase"], end["code"], end["enhanced"]) == ("connect", None, "4.4.1")


def test_the_family_that_worked_goes_first_the_next_time(tmp_path):
    """IPv6 goes first until only IPv4 has worked; then IPv6 is not asked although it would answer."""
    records = {"d.test": mx("mx.test"), "mx.test": {"A": ["127.0.0.1"], "AAAA": ["::1"]}}
    with Peer(Good) as four, DnsPeer(records) as dns:
        router = Router(tmp_path, {**config(dns, four.port), 'destination "*"': {"max_deliveries": 1}})
        router.start()
        router.spool.drop("m0", message(["u@d.test"]))
        wait_for(lambda: len(four.messages) == 1, "the first message")
        with Peer(Good, address="::1", port=four.port) as six:
            router.spool.drop("m1", message(["u@d.test"]))
            wait_for(lambda: len(four.messages) == 2, "the second message")
            assert six.counts["connections"] == 0
            router.stop()


class Small(Good):
    keywords = ["PIPELINING", "SIZE 2000"]


MISFITS = [("large@d.test", b"0123456789\r\n" * 500), ("f\u00fcr@d.test", b"x\r\n")]


@pytest.mark.parametrize("recipient,body", MISFITS, ids=["size", "smtputf8"])
def test_what_one_host_cannot_take_goes_to_the_next(tmp_path, recipient, body):
    with two_hosts(Small) as (one, two, dns):
        router = Router(tmp_path, config(dns, one.port))
        router.spool.drop("m", message([recipient], body))
        end = router.drain().one("delivered")
        assert (end["mx"], end["attempt"]) == ("two.test", 1) and not one.messages


@pytest.mark.parametrize("recipient,body", MISFITS, ids=["size", "smtputf8"])
def test_what_one_host_cannot_take_waits_while_the_next_is_down(tmp_path, recipient, body):
    """It bounces only when every host has said that it cannot."""
    with two_hosts(Small) as (one, two, dns):
        two.close()
        router = Router(tmp_path, config(dns, one.port))
        router.spool.drop("m", message([recipient], body, sender=""))
        assert [e["event"] for e in router.drain().log] == ["deferred"]
