"""REQUIRETLS and TLS-Required: No (RFC 8689) against scripted receivers, by next hop and by signed zones."""
import shutil

import pytest
from authority import Authority
from dnssec import Dnssec, tlsa
from harness import EX_OK, EX_TEMPFAIL, Dns, Router, message, unavailable, wait_for
from peer import Peer, Server
from policy_server import PolicyServer, policy

BASE = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}
NAME = "mx.secure.test"
KEYWORD = "REQUIRETLS"


class Capable(Server):
    """Offers it under TLS, as it must be. Counts how often MAIL asked for it."""

    def on_ehlo(self, name):
        self.keywords = Server.keywords + ([KEYWORD] if self.tls_version else [])
        return super().on_ehlo(name)

    def on_mail(self, sender, params):
        self.peer.count("mail")
        self.peer.count("required", KEYWORD in params.split())
        return super().on_mail(sender, params)


class OnlyBefore(Capable):
    """Offers it in plaintext alone: the work of whoever sits in the middle."""

    def on_ehlo(self, name):
        self.keywords = Server.keywords + ([] if self.tls_version else [KEYWORD])
        return Server.on_ehlo(self, name)


class Without(Capable):
    def on_ehlo(self, name):
        return Server.on_ehlo(self, name)


class Later(Capable):
    def on_starttls(self):
        return self.reply("454 4.7.0 not now")


class Never(Capable):
    def on_starttls(self):
        return self.reply("502 5.5.1 never heard of it")


class Rejecting(Capable):
    def accept_rcpt(self, recipient):
        if recipient.startswith("bad"):
            return self.reply("550 5.1.1 no such user")
        return super().accept_rcpt(recipient)


class RejectingWithout(Without, Rejecting):
    pass


class Busy(Capable):
    def accept_rcpt(self, recipient):
        return self.reply("450 4.2.1 come back")


@pytest.fixture(scope="module")
def certificates(authority, tmp_path_factory):
    other = Authority(tmp_path_factory.mktemp("other"), "Another CA")
    return {"good": authority.issue(NAME), "wrong name": authority.issue("mx.elsewhere.test"),
            "expired": authority.issue(NAME, days=-1), "unknown CA": other.issue(NAME)}


def requiring(recipients, **more):
    return b"X-Sluice-RequireTLS: true\r\n" + message(recipients, **more)


def router_to(folder, peer, authority, tls=None, **config):
    tls = {"system_ca_file": "none", "ca_file": str(authority.file), "match": NAME, **(tls or {})}
    return Router(folder, {**BASE, 'destination "*"': {"next_hop": peer.next_hop, "tls": tls}, **config})


ROWS = [
    # the receiver, its certificate, enhanced code of the bounce (None: delivered, "4": deferred)
    (Capable, "good", None),
    (Without, "good", "5.7.30"),
    (OnlyBefore, "good", "5.7.30"),
    (Capable, None, "5.7.10"),
    (OnlyBefore, None, "5.7.10"),
    (Never, "good", "5.7.10"),
    (Later, "good", "4"),
    (Capable, "wrong name", "5.7.10"),
    (Capable, "expired", "5.7.10"),
    (Capable, "unknown CA", "5.7.10"),
]


@pytest.mark.parametrize("behaviour,certificate,code", ROWS, ids=[f"{r[0].__name__}-{r[1]}" for r in ROWS])
def test_row(tmp_path, authority, certificates, behaviour, certificate, code):
    with Peer(behaviour, tls=certificate and certificates[certificate]) as peer:
        router = router_to(tmp_path, peer, authority)
        router.spool.drop("m", requiring(["a@d.test"]))
        result = router.drain()
    event = result.one(recipient="a@d.test")
    assert event["policy"]["message"] == "requiretls"
    if code is None:
        assert (event["event"], event["tls"]["verified"]) == ("delivered", True)
        assert peer.counts["required"] == 1
        return
    assert "a@d.test" not in peer.recipients()
    assert (event["event"], event["enhanced"][:len(code)]) == ("deferred" if code == "4" else "bounced", code), event


RECORD = 'TXT 60 "v=STSv1; id=1;"'
STS_ROWS = [
    # the record _mta-sts.d.test, what the policy host says, the enhanced code of the bounce, or how the code begins
    (RECORD, policy("enforce", NAME), "2"),
    (None, policy("enforce", NAME), "5.7.10"),
    ("SERVFAIL", policy("enforce", NAME), "4"),
    (RECORD, lambda h: h.answer(503, ""), "4"),
    (RECORD, "nonsense", "5.7.10"),
    (RECORD, policy("testing", NAME), "5.7.10"),
    (RECORD, policy("enforce", "mx.elsewhere.test"), "4"),
]


@pytest.mark.parametrize("record,page,code", STS_ROWS, ids=[str(i) for i in range(len(STS_ROWS))])
def test_without_dnssec_mta_sts_vouches_and_what_nobody_knows_yet_is_no_bounce(tmp_path, authority, certificates,
                                                                              record, page, code):
    """RFC 8689 4.2.1. A policy that cannot be had now may be there later; other mail goes as without one."""
    records = [f"_mta-sts.d.test {record}"] if record else []
    with Peer(Capable, tls=certificates["good"]) as peer, PolicyServer(authority) as web, \
            Dns(tmp_path / "dns", [f"d.test MX 60 10 {NAME}", f"{NAME} A 60 127.0.0.1",
                                   "mta-sts.d.test A 60 127.0.0.1", *records]) as dns:
        web.add("mta-sts.d.test", page)
        web.issue()
        router = Router(tmp_path, {**BASE, "smtp": {"port": peer.port},
                                   "tls": {"system_ca_file": "none", "ca_file": str(authority.file),
                                           "sts": {"port": web.port}},
                                   "dns": {"servers": [dns.server], "allow_local": True, "ipv6": False, "tries": 1}})
        router.spool.drop("m1", requiring(["a@d.test"]))
        router.spool.drop("m2", message(["other@d.test"]))
        result = router.drain()
    event, other = result.one(recipient="a@d.test"), result.one(recipient="other@d.test")
    names = {"2": "delivered", "4": "deferred", "5": "bounced"}
    assert (event["event"], event["enhanced"][:len(code)]) == (names[code[0]], code), event
    assert peer.counts.get("required", 0) == (code == "2")
    assert other["event"] == ("deferred" if "elsewhere" in str(page) else "delivered"), other


def test_other_mail_shares_the_connection_and_does_not_say_it(tmp_path, authority, certificates):
    with Peer(Capable, tls=certificates["good"]) as peer:
        router = router_to(tmp_path, peer, authority, {"level": "verify"})
        for i in range(4):
            router.spool.drop(f"m{i}", (requiring if i % 2 else message)(["a@d.test"], ident=f"m{i}"))
        result = router.drain()
    assert (result.code, len(result.events("delivered"))) == (EX_OK, 4)
    assert (peer.counts["mail"], peer.counts["required"]) == (4, 2)


def test_a_session_that_was_not_checked_for_it_does_not_serve(tmp_path, authority, certificates):
    """At `may` the receiver's certificate goes unchecked: that connection carries no mail that requires TLS."""
    with Peer(Capable, tls=certificates["unknown CA"]) as peer:
        router = router_to(tmp_path, peer, authority, workers=1)
        router.config['destination "*"'].update(connections=1, idle="30s")
        router.spool.drop("m1", message(["a@d.test"]))
        router.start()
        wait_for(lambda: len(router.log()) == 1, "the first delivery")
        router.spool.drop("m2", requiring(["b@d.test"]))
        wait_for(lambda: len(router.log()) >= 2, "the bounce")
        router.stop()
    assert [(e["event"], e["enhanced"]) for e in router.log()[:2]] == [("delivered", "2.0.0"), ("bounced", "5.7.10")]
    assert "b@d.test" not in peer.recipients()


def test_it_survives_a_deferral_and_a_restart(tmp_path, authority, certificates):
    """Also of a file that is streamed, whose envelope is read again each time."""
    with Peer([Busy, Capable], tls=certificates["good"]) as peer:
        router = router_to(tmp_path, peer, authority, queue={"content_inline_max": "0"}, retry={"minimum": "1s", "maximum": "1s"})
        router.spool.drop("m", requiring(["a@d.test"], body=b"x" * 70 + b"\r\n" * 20000))
        assert router.drain().one()["event"] == "deferred"
        assert router.spool.files("deferred")

        def again():
            result = router.drain()
            return result.log and result
        result = wait_for(again, "the retry")
    assert result.one("delivered")["policy"]["message"] == "requiretls"
    assert (peer.counts["mail"], peer.counts["required"]) == (2, 2)


@pytest.mark.parametrize("behaviour,required,how", [(Rejecting, 2, "requiretls"), (RejectingWithout, 1, "waived")])
def test_a_report_is_protected_and_not_lost(tmp_path, authority, certificates, behaviour, required, how):
    """RFC 8689 5: REQUIRETLS for the report too; without a host that has it, TLS will do. Never the whole message."""
    with Peer(Rejecting, tls=certificates["good"]) as peer, Peer(behaviour, tls=certificates["good"]) as origin:
        router = router_to(tmp_path, peer, authority)
        router.config['destination "origin.test"'] = {"next_hop": origin.next_hop}
        router.spool.drop("m", b"X-Sluice-Ret: FULL\r\n" + requiring(["bad@d.test"], body=b"the body\r\n"))
        result = router.drain()
    assert result.code == EX_OK
    report = result.one("delivered", "sender@origin.test")
    assert (report["sender"], report["policy"]["message"]) == ("", how)
    assert report["tls"]
    [told] = origin.messages
    assert b"rfc822-headers" in told.content and b"the body" not in told.content
    assert peer.counts["required"] + origin.counts.get("required", 0) == required


def test_a_report_never_goes_in_plaintext(tmp_path, authority, certificates):
    with Peer(Rejecting, tls=certificates["good"]) as peer, Peer(Server) as origin:
        router = router_to(tmp_path, peer, authority)
        router.config['destination "origin.test"'] = {"next_hop": origin.next_hop}
        router.spool.drop("m", requiring(["bad@d.test"]))
        result = router.drain()
    assert result.code == EX_TEMPFAIL
    assert result.one("deferred")["phase"] == "starttls"
    assert not origin.messages


@pytest.fixture(scope="module")
def world(tmp_path_factory, authority, certificates):
    for needed in ("knotd", "unbound"):
        if not shutil.which(needed, path="/usr/sbin:/usr/bin"):
            unavailable(f"{needed} is not installed")
    good = certificates["good"]
    with Peer(Capable, tls=good) as capable, Peer(Without, address="127.0.0.2", port=capable.port, tls=good) as without:
        owner = f"_{capable.port}._tcp"
        zone = ["pkix 60 MX 10 mx", "mx 60 A 127.0.0.1",
                "dane 60 MX 10 mxdane", "mxdane 60 A 127.0.0.1", f"{owner}.mxdane 60 TLSA {tlsa(good[0])}",
                "mismatch 60 MX 10 mxbad", "mxbad 60 A 127.0.0.1", f"{owner}.mxbad 60 TLSA 3 1 1 {'00' * 32}",
                "without 60 MX 10 mxwithout", "mxwithout 60 A 127.0.0.2", f"{owner}.mxwithout 60 TLSA {tlsa(good[0])}",
                "both 60 MX 10 mxwithout", "both 60 MX 20 mx"]
        insecure = ["d 60 MX 10 mx.secure.test."]
        with Dnssec(tmp_path_factory.mktemp("dns"), {"secure.test": zone}, {"insecure.test": insecure}) as resolver:
            yield resolver, capable, without


def drain(folder, world, authority, data, tls=None):
    resolver, capable = world[:2]
    router = Router(folder, {**BASE, "smtp": {"port": capable.port},
                             "tls": {"system_ca_file": "none", "ca_file": str(authority.file), **(tls or {})},
                             "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False}})
    router.spool.drop("m", data)
    return router.drain()


@pytest.mark.parametrize("domain,code,mx", [
    ("pkix.secure.test", None, "mx.secure.test"),
    ("dane.secure.test", None, "mxdane.secure.test"),
    ("both.secure.test", None, "mx.secure.test"),
    ("without.secure.test", "5.7.30", "mxwithout.secure.test"),
    ("mismatch.secure.test", "5.7.10", "mxbad.secure.test"),
    ("d.insecure.test", "5.7.10", "mx.secure.test"),
])
def test_by_mx(tmp_path, world, authority, domain, code, mx):
    """Without a signature (or an MTA-STS policy) on the way to the host nobody vouches for it (RFC 8689 4.2.1)."""
    before = world[1].counts.get("required", 0)
    result = drain(tmp_path, world, authority, requiring([f"a@{domain}"], sender="s@insecure.test"))
    event = result.one(recipient=f"a@{domain}")
    assert (event["event"], event["mx"]) == ("bounced" if code else "delivered", mx), event
    assert world[1].counts.get("required", 0) - before == (code is None)
    assert event["enhanced"] == (code or "2.0.0")


def test_each_domain_is_vouched_for_by_its_own_way_to_the_host(tmp_path, world, authority):
    """pkix.secure.test and d.insecure.test share host and connection: who opened it vouches for nobody else."""
    resolver, capable = world[:2]
    for domains, fates in ((("pkix.secure.test", "d.insecure.test"), ["delivered", "bounced"]),
                           (("d.insecure.test", "pkix.secure.test"), ["delivered", "delivered"])):
        router = Router(tmp_path / domains[0], {
            **BASE, "workers": 1, "smtp": {"port": capable.port},
            "tls": {"system_ca_file": "none", "ca_file": str(authority.file), "level": "verify"},
            "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False},
            'destination "*"': {"connections": 1, "idle": "1h"}})
        router.start()
        for number, domain in enumerate(domains):
            data = message([f"a@{domain}"], sender="s@insecure.test", ident=f"m{number}")
            router.spool.drop(f"m{number}", b"X-Sluice-RequireTLS: true\r\n" * number + data)
            wait_for(lambda n=number: len(router.log()) > n, "the attempt")
        router.stop()
        events = [e for e in router.log() if e["recipient"].startswith("a@")]
        assert [e["event"] for e in events] == fates, events


OPTIONAL = ["TLS-Required: No"]


def test_tls_required_no_switches_off_what_was_discovered(tmp_path, world, authority):
    data = message(["a@mismatch.secure.test"])
    assert drain(tmp_path / "found", world, authority, data).one("deferred")["phase"] == "tls"
    data = message(["a@mismatch.secure.test"], extra=OPTIONAL)
    event = drain(tmp_path / "ignored", world, authority, data).one("delivered")
    assert event["policy"] == {"level": "may", "source": "default", "message": "optional"}
    assert event["tls"]
    header = b"From: s@origin.test\r\nTo: a@mismatch.secure.test\r\nTLS-Required: No\r\n\r\n"
    for inline in ("256K", "0"):
        router = Router(tmp_path / inline, {**BASE, "smtp": {"port": world[1].port}, "queue": {"content_inline_max": inline},
                                            "dns": {"servers": [world[0].server], "allow_local": True, "ipv6": False}})
        router.spool.drop("m", header + b"x" * 60 + b"\r\n" * 20000)
        assert router.drain().one("delivered")["policy"]["message"] == "optional"


def test_tls_required_no_never_switches_off_configuration_or_requiretls(tmp_path, world, authority):
    data = message(["a@mismatch.secure.test"], extra=OPTIONAL)
    assert drain(tmp_path / "local", world, authority, data, {"level": "dane-only"}).one("deferred")["phase"] == "tls"
    data = requiring(["a@mismatch.secure.test"], sender="s@insecure.test", extra=OPTIONAL)
    event = drain(tmp_path / "message", world, authority, data).one(recipient="a@mismatch.secure.test")
    assert (event["event"], event["policy"]["message"]) == ("bounced", "requiretls")
