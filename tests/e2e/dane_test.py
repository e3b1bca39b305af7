"""DANE (RFC 7672) against zones that knot signs and unbound validates."""
import json
import shutil
import subprocess
import time

import pytest
from authority import Authority
from dnssec import Dnssec, tlsa
from harness import (EX_OK, EX_TEMPFAIL, Router, assert_sanitizers_silent, message, program, render_config,
                     unavailable, wait_for)
from peer import Peer, Server

BASE = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    for needed in ("knotd", "unbound"):
        if not shutil.which(needed, path="/usr/sbin:/usr/bin"):
            unavailable(f"{needed} is not installed")
    folder = tmp_path_factory.mktemp("dane")
    ca, other = Authority(folder / "ca"), Authority(folder / "other")
    cert = ca.issue("mx.good.test")
    cert[0].write_bytes(cert[0].read_bytes() + ca.file.read_bytes())  # DANE-TA wants the anchor in the chain
    with Peer(Server, tls=cert) as tls_peer, Peer(Server, address="127.0.0.2", port=tls_peer.port) as plain_peer:
        good, next_key = tlsa(cert[0]), tlsa(other.issue("mx.good.test")[0])
        owner = f"_{tls_peer.port}._tcp"
        zone = []

        def domain(name, host, *records, alias=None, address="127.0.0.1", host_zone=None):
            zone.append(f"{name} 60 MX 10 {host}{'.' + host_zone + '.' if host_zone else ''}")
            if host_zone:
                return
            zone.append(f"{host} 60 CNAME {alias}" if alias else f"{host} 60 A {address}")
            zone.extend(f"{owner}.{host} 60 TLSA {r}" for r in records)

        for usage in (3, 2):
            for selector in (0, 1):
                for matching in (0, 1, 2):
                    subject = cert[0] if usage == 3 else ca.file
                    domain(f"u{usage}{selector}{matching}", f"mx{usage}{selector}{matching}",
                           tlsa(subject, usage, selector, matching))
        domain("ta", "mx", tlsa(ca.file, 2, 0, 1))
        zone.append(f"mx 60 MX 10 mxelse\nmxelse 60 A 127.0.0.1\n{owner}.mxelse 60 TLSA {tlsa(ca.file, 2, 0, 1)}")
        domain("rollover", "mxroll", next_key, good)
        domain("mismatch", "mxbad", next_key)
        domain("ta-mismatch", "mxbadta", tlsa(other.file, 2, 0, 1))
        domain("unusable", "mxodd", tlsa(cert[0], 1, 1, 1), "3 1 9 00")
        domain("unusable-plain", "mxoddplain", tlsa(cert[0], 1, 1, 1), address="127.0.0.2")
        domain("plain", "mxplain", good, address="127.0.0.2")
        domain("none", "mxnone")
        domain("none-plain", "mxnoneplain", address="127.0.0.2")
        zone.append(f"alias 60 MX 10 mxalias\nmxalias 60 CNAME target\ntarget 60 A 127.0.0.1\n{owner}.target 60 TLSA {good}")
        zone.append(f"alias-own 60 MX 10 mxaliasown\nmxaliasown 60 CNAME bare\nbare 60 A 127.0.0.1\n{owner}.mxaliasown 60 TLSA {good}")
        zone.append(f"tlsa-alias 60 MX 10 mxta\nmxta 60 A 127.0.0.1\n{owner}.mxta 60 CNAME shared\nshared 60 TLSA {good}")
        zone.append(f"implicit 60 A 127.0.0.1\n{owner}.implicit 60 TLSA {good}")
        zone.append("mixed 60 MX 10 mxbad\nmixed 60 MX 20 mxroll")
        zone.append("mixed-insecure 60 MX 10 mxbad\nmixed-insecure 60 MX 20 mx.insecure.test.")
        zone.append(f"lame 60 MX 10 mxlame\nmxlame 60 A 127.0.0.1\n{owner}.mxlame 60 CNAME x.bogus.test.")
        zone.append("far 60 MX 10 mx.insecure.test.")
        insecure = ["d 60 MX 10 mx", "mx 60 A 127.0.0.1", f"{owner}.mx 60 TLSA {next_key}"]
        insecure += [f"{host} 60 MX 10 {host}.good.test." for host in ("mxbad", "mxplain", "mx311")]
        bogus = ["d 60 MX 10 mx", "mx 60 A 127.0.0.1", f"x 60 TLSA {good}"]
        with Dnssec(folder / "dns", {"good.test": zone}, {"insecure.test": insecure}, {"bogus.test": bogus}) as resolver:
            yield resolver, tls_peer, plain_peer, owner, good, next_key, zone


def drain(folder, world, recipients, tls=None, extra=b"", count=1, **options):
    return drop_all(folder, world, recipients, tls, extra, count, options).drain()


def drain_router(folder, world, recipients):
    router = drop_all(folder, world, recipients, None, b"", 1, {})
    router.drain()
    return router


def drop_all(folder, world, recipients, tls, extra, count, options):
    resolver, peer = world[:2]
    router = Router(folder, {**BASE, "smtp": {"port": peer.port}, "tls": {"system_ca_file": "none", **(tls or {})},
                             "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False},
                             **({'destination "*"': options} if options else {})})
    for i in range(count):
        data = message(recipients, ident=f"m{i}")
        router.spool.drop(f"m{i}", data.replace(b"X-Receiver", extra + b"X-Receiver", 1) if extra else data)
    return router


USABLE = [f"u{u}{s}{m}" for u in (3, 2) for s in (0, 1) for m in (0, 1, 2)]
ROWS = [(name, "dane", "dane", True) for name in USABLE if not name.startswith("u2")] + [
    ("ta", "dane", "dane", True),
    ("mx", "dane", "dane", True),  # the certificate is for the recipients' domain, not for its host
    ("rollover", "dane", "dane", True),
    ("alias", "dane", "dane", True),
    ("alias-own", "dane", "dane", True),
    ("tlsa-alias", "dane", "dane", True),
    ("implicit", "dane", "dane", True),
    ("mixed", "dane", "dane", True),
    ("unusable", "encrypt", "dane", False),
    ("none", "may", "default", False),
    ("far", "may", "default", False),
]


@pytest.mark.parametrize("name,level,source,verified", ROWS, ids=[r[0] for r in ROWS])
def test_delivers(tmp_path, world, name, level, source, verified):
    result = drain(tmp_path, world, [f"a@{name}.good.test"])
    assert result.code == EX_OK
    event = result.one("delivered")
    assert event["policy"] == {"level": level, "source": source}
    assert event["tls"]["verified"] == verified


@pytest.mark.parametrize("name", [n for n in USABLE if n.startswith("u2")])
def test_dane_ta_checks_the_name(tmp_path, world, name):
    """The certificate is for mx.good.test: it fits neither host nor domain of these."""
    result = drain(tmp_path, world, [f"a@{name}.good.test"])
    assert result.code == EX_TEMPFAIL
    assert "not for" in result.one("deferred")["reply"]


@pytest.mark.parametrize("name,phase,words", [
    ("mismatch.good.test", "tls", "no TLSA record"),
    ("ta-mismatch.good.test", "tls", "no TLSA record"),
    ("plain.good.test", "starttls", "not offered"),
    ("unusable-plain.good.test", "starttls", "not offered"),
    ("lame.good.test", "tls", "look-up"),
    ("d.bogus.test", "route", "SERVFAIL"),
])
def test_defers_rather_than_weaken(tmp_path, world, name, phase, words):
    result = drain(tmp_path, world, [f"a@{name}"])
    assert result.code == EX_TEMPFAIL
    event = result.one("deferred")
    assert (event["phase"], words in event["reply"]) == (phase, True), event
    assert not event["in_doubt"]


def test_without_records_or_without_security_dane_does_not_apply(tmp_path, world):
    plain = drain(tmp_path / "plain", world, ["a@none-plain.good.test"])
    assert (plain.code, plain.one("delivered")["tls"]) == (EX_OK, None)
    insecure = drain(tmp_path / "insecure", world, ["a@d.insecure.test"])
    assert insecure.one("delivered")["policy"] == {"level": "may", "source": "default"}
    mixed = drain(tmp_path / "mixed", world, ["a@mixed-insecure.good.test"])
    assert mixed.one("delivered")["mx"] == "mx.insecure.test"


def test_the_records_and_their_failure_are_in_the_tls_report(tmp_path, world):
    router = drain_router(tmp_path, world, ["a@mismatch.good.test", "a@lame.good.test", "a@u311.good.test"])
    out = subprocess.run([program("sluice"), "tlsrpt", "-c", str(router.config_path)], capture_output=True, text=True,
                         timeout=60, check=True).stdout
    rows = {r["policies"][0]["policy"]["policy-domain"]: r["policies"][0] for r in map(json.loads, out.splitlines())}
    assert rows["u311.good.test"]["summary"]["total-successful-session-count"] == 1
    mismatch = rows["mismatch.good.test"]
    assert mismatch["policy"]["policy-type"] == "tlsa"
    assert mismatch["policy"]["policy-string"][0].startswith("3 1 1 ")
    assert mismatch["failure-details"][0]["result-type"] == "validation-failure"
    assert rows["lame.good.test"]["failure-details"][0]["result-type"] == "dnssec-invalid"


def test_levels_around_dane(tmp_path, world):
    only = drain(tmp_path / "only", world, ["a@u311.good.test"], {"level": "dane-only"})
    assert only.one("delivered")["policy"] == {"level": "dane-only", "source": "local"}
    missing = drain(tmp_path / "missing", world, ["a@none.good.test"], {"level": "dane-only"})
    assert "TLSA" in missing.one("deferred")["reply"]
    off = drain(tmp_path / "off", world, ["a@mismatch.good.test"], {"level": "none"})
    assert off.one("delivered")["tls"] is None
    asked = drain(tmp_path / "asked", world, ["a@none.good.test"], extra=b"X-Sluice-TLS: dane-only\r\n")
    assert asked.one("deferred")["policy"]["source"] == "message"


def test_what_dane_verified_is_resumed(tmp_path, world):
    before = dict(world[1].counts)
    result = drain(tmp_path, world, ["a@u311.good.test"], count=8, connections=1, max_deliveries=1)
    assert result.code == EX_OK
    assert world[1].counts["resumed"] - before["resumed"] == 7
    assert all(e["tls"]["verified"] for e in result.events("delivered"))


def test_probe_tells_the_records_and_who_decided(tmp_path, world):
    resolver, peer = world[:2]
    path = tmp_path / "probe.conf"
    path.write_text(render_config({"smtp": {"port": peer.port}, "tls": {"system_ca_file": "none"},
                                   "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False}}))

    def probe(domain):
        out = subprocess.run([program("sluice"), "probe", "-c", str(path), "--json", domain], capture_output=True,
                             text=True, timeout=60, check=False)
        assert_sanitizers_silent(out.stderr)
        return out.returncode, json.loads(out.stdout)["hosts"][0]

    code, host = probe("u311.good.test")
    assert (code, host["fate"], host["secure"]) == (EX_OK, "authenticated", True)
    assert (host["policy"]["level"], host["policy"]["source"]) == ("dane", "dane")
    assert host["tlsa"]["records"][0]["record"].startswith("3 1 1 ") and host["tlsa"]["records"][0]["usable"]
    verification = host["sessions"][0]["tls"]["verification"]
    assert (verification["dane"], verification["verify"].split(":")[0]) == ("ok", "certificate-not-trusted")
    code, host = probe("mismatch.good.test")
    assert (code, host["fate"]) == (EX_TEMPFAIL, "refused")
    assert "no TLSA record" in host["sessions"][0]["why"]
    code, host = probe("lame.good.test")
    assert (code, host["tlsa"]["state"], bool(host["policy"]["unusable"])) == (EX_TEMPFAIL, "failed", True)


def one_after_the_other(folder, world, domains):
    """Mail for each, when the one before has its outcome: all on one connection, where the router thinks that it may."""
    resolver, peer = world[:2]
    router = Router(folder, {**BASE, "workers": 1, "smtp": {"port": peer.port}, "tls": {"system_ca_file": "none"},
                             "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False},
                             'destination "*"': {"connections": 1, "idle": "1h"}})
    router.start()
    for number, domain in enumerate(domains):
        router.spool.drop(f"m{number}", message([f"a@{domain}"], ident=f"m{number}"))
        wait_for(lambda n=number: len(router.log()) > n, "the attempt")
    router.stop()
    return router.log()


def test_a_connection_of_an_unsigned_domain_carries_nothing_of_a_signed_one(tmp_path, world):
    """Both name the same MX host, so they are one site; only to the signed one its TLSA records apply."""
    first, second = one_after_the_other(tmp_path, world, ["mxbad.insecure.test", "mismatch.good.test"])
    assert (first["event"], first["policy"]["level"]) == ("delivered", "may")
    assert (second["event"], "no TLSA record" in second["reply"]) == ("deferred", True), second


def test_nor_in_plaintext(tmp_path, world):
    first, second = one_after_the_other(tmp_path, world, ["mxplain.insecure.test", "plain.good.test"])
    assert (first["event"], first["tls"]) == ("delivered", None)
    assert (second["event"], "not offered" in second["reply"]) == ("deferred", True), second


def test_a_connection_that_was_checked_carries_both(tmp_path, world):
    """A signed domain's connection is good for anybody; the other way round it is made anew."""
    log = one_after_the_other(tmp_path, world, ["u311.good.test", "mx311.insecure.test", "u311.good.test",
                                                "mx311.insecure.test"])
    assert [(e["event"], e["policy"]["level"], e["tls"]["verified"], e["reused"]) for e in log] == [
        ("delivered", "dane", True, False), ("delivered", "may", False, True), ("delivered", "dane", True, True),
        ("delivered", "may", False, True)]
    log = one_after_the_other(tmp_path / "unsigned", world, ["mx311.insecure.test", "u311.good.test"])
    assert [(e["policy"]["level"], e["tls"]["verified"], e["reused"]) for e in log] == [
        ("may", False, False), ("dane", True, False)]


def test_an_untrusted_resolver_gives_no_dane(tmp_path, world):
    """AD counts from loopback servers only, so with another one beside it DANE is off."""
    resolver, peer = world[:2]
    router = Router(tmp_path, {**BASE, "smtp": {"port": peer.port}, "tls": {"system_ca_file": "none"},
                               "dns": {"servers": [resolver.server, "192.0.2.53"], "allow_local": True, "ipv6": False}})
    router.spool.drop("m", message(["a@mismatch.good.test"]))
    result = router.drain()
    assert result.one("delivered")["policy"] == {"level": "may", "source": "default"}


def test_a_changed_record_ends_resumption_and_delivery(tmp_path, world):
    """The records are part of the session's key: after a rollover away from the certificate nothing is resumed."""
    resolver, peer, _, owner, good, next_key, zone = world
    router = Router(tmp_path, {**BASE, "smtp": {"port": peer.port}, "tls": {"system_ca_file": "none"},
                               "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False, "min_ttl": "0s",
                                       "max_ttl": "1s"},
                               'destination "*"': {"max_deliveries": 1, "connections": 1}})
    router.start()
    router.spool.drop("m0", message(["a@u311.good.test"], ident="m0"))
    wait_for(lambda: len(router.log()) == 1, "the first delivery")
    line = f"{owner}.mx311 60 TLSA {good}"
    assert line in zone
    resolver.change("good.test", [f"{owner}.mx311 60 TLSA {next_key}" if l == line else l for l in zone])
    try:
        for attempt in range(200):
            router.spool.drop(f"n{attempt}", message(["a@u311.good.test"], ident=f"n{attempt}"))
            wait_for(lambda n=attempt: len(router.log()) >= n + 2, "another attempt")
            if router.log()[-1]["event"] == "deferred":
                break
            wait_for_next_second()
    finally:
        resolver.change("good.test", zone)
        router.stop()
    last = router.log()[-1]
    assert (last["event"], "no TLSA record" in last["reply"]) == ("deferred", True)


def wait_for_next_second():
    begin = int(time.monotonic())
    wait_for(lambda: int(time.monotonic()) > begin, "the next second")
