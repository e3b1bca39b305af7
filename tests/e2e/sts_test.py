"""MTA-STS (RFC 8461): policies from an HTTPS server, records from knot through unbound, scripted mail hosts."""
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading

import dns.message
import dns.query
import pytest
from authority import Authority
from dnssec import Dnssec, tlsa
from harness import EX_OK, EX_TEMPFAIL, Router, message, program, unavailable, wait_for
from peer import Peer, Server
from policy_server import PolicyServer, policy

BASE = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}
ZONE, SIGNED = "sts.test", "signed.test"
OK = {"level": "sts", "source": "sts"}
MAY = {"level": "may", "source": "default"}


class World:
    """Mail hosts: mx* with a good certificate, bad* with one of another CA, named* with one for another name,
    plain* without TLS."""

    def __init__(self, folder, stack):
        self.ca, other = Authority(folder / "ca"), Authority(folder / "other", "Another CA")
        good = self.ca.issue(f"mx.{ZONE}", f"*.pool.{ZONE}", f"mx.{SIGNED}")
        self.peer = stack(Peer(Server, tls=good))
        for address, tls in (("127.0.0.2", None), ("127.0.0.3", other.issue(f"bad.{ZONE}")),
                             ("127.0.0.4", self.ca.issue(f"elsewhere.{ZONE}"))):
            stack(Peer(Server, address=address, port=self.peer.port, tls=tls))
        self.web = stack(PolicyServer(self.ca))
        self.other, self.lines = other, []
        hosts = ["mx 60 A 127.0.0.1", "plain 60 A 127.0.0.2", "bad 60 A 127.0.0.3", "named 60 A 127.0.0.4",
                 "a.pool 60 A 127.0.0.1", "x.a.pool 60 A 127.0.0.1"]
        self.hosts, self.domains = hosts, {}
        self.make_domains()
        owner = f"_{self.peer.port}._tcp"
        match, mismatch = tlsa(good[0]), tlsa(other.file)
        signed = ["mx 60 A 127.0.0.1", f"{owner}.mx 60 TLSA {match}", "mxbad 60 A 127.0.0.1",
                  f"{owner}.mxbad 60 TLSA {mismatch}"]
        for name, host, allowed in (("dane", "mx", "elsewhere.test"), ("danebad", "mxbad", f"mxbad.{SIGNED}")):
            signed += [f"{name} 60 MX 10 {host}", *self.records(name, "1")]
            self.web.add(f"mta-sts.{name}.{SIGNED}", policy("enforce", allowed))
        self.web.issue()
        self.dns = stack(Dnssec(folder / "dns", {SIGNED: signed}, {ZONE: self.zone()}))

    @staticmethod
    def records(name, record):
        txt = [record] if isinstance(record, str) else record or []
        return [f'_mta-sts.{name} 60 TXT "{t if "=" in t else f"v=STSv1; id={t};"}"' for t in txt] + \
            [f"mta-sts.{name} 60 A 127.0.0.1"]

    def domain(self, name, hosts, page, record="1", certificate=None):
        self.domains[name] = [f"{name} 60 MX {10 * i} {h}" for i, h in enumerate(hosts.split(), 1)] + \
            self.records(name, record)
        if page:
            self.web.add(f"mta-sts.{name}.{ZONE}", page, certificate)

    def zone(self):
        return self.hosts + [line for lines in self.domains.values() for line in lines]

    def change(self, name, hosts, page, record):
        """Returns when the resolver gives the new TXT records out."""
        self.domain(name, hosts, page, record)
        self.dns.change(ZONE, self.zone())
        wanted = sorted(re.findall(r'"([^"]*)"', " ".join(self.domains[name])))

        def seen():
            query = dns.message.make_query(f"_mta-sts.{name}.{ZONE}", "TXT")
            answer = dns.query.udp(query, "127.0.0.1", port=self.dns.port, timeout=5).answer
            return sorted(s.decode() for rr in answer for item in rr for s in item.strings) == wanted
        wait_for(seen, "the new records")

    def make_domains(self):
        mx, pool = f"mx.{ZONE}", f"*.pool.{ZONE}"
        self.domain("ok", "mx", policy("enforce", mx))
        self.domain("wild", "a.pool", policy("enforce", pool.upper()))
        self.domain("deepwild", "x.a.pool", policy("enforce", pool))
        self.domain("wrongmx", "mx", policy("enforce", "other.test"))
        self.domain("second", "bad plain mx", policy("enforce", mx))
        self.domain("plain", "plain", policy("enforce", f"plain.{ZONE}"))
        self.domain("bad", "bad", policy("enforce", f"bad.{ZONE}"))
        self.domain("named", "named", policy("enforce", f"named.{ZONE}"))
        for name, host, allowed in (("tok", "mx", "mx"), ("tplain", "plain", "plain"), ("tbad", "bad", "bad"),
                                    ("tnamed", "named", "named"), ("twrongmx", "mx", "other")):
            self.domain(name, host, policy("testing", f"{allowed}.{ZONE}"))
        self.domain("off", "mx", policy("none"))
        self.domain("twice", "mx", policy("enforce", "other.test"), ["1", "2"])
        self.domain("malformed", "mx", policy("enforce", "other.test"), "v=STSv1; id=")
        self.domain("other-txt", "mx", policy("enforce", mx), ["v=spf1 -all", "7"])
        # What follows would defer if the policy were believed.
        bad = policy("enforce", "other.test")
        self.domain("redirect", "mx", lambda h: h.answer(302, "", Location=f"https://mta-sts.wrongmx.{ZONE}:"
                                                         f"{self.web.port}/.well-known/mta-sts.txt"))
        self.domain("missing", "mx", lambda h: h.answer(404, bad))
        self.domain("html", "mx", lambda h: h.answer(200, bad, Content_Type="text/html"))
        self.domain("huge", "mx", bad + "x: y\r\n" * 20000)
        self.domain("bigheader", "mx", lambda h: h.answer(200, bad, X_Long="x" * 30000))
        self.domain("garbage", "mx", "<html>\n")
        self.domain("truncated", "mx", lambda h: h.answer(200, bad, Content_Length=str(len(bad) + 1), Connection="close"))
        self.domain("certname", "mx", bad, certificate=self.ca.issue("mta-sts.elsewhere.test"))
        self.domain("certca", "mx", bad, certificate=self.other.issue(f"mta-sts.certca.{ZONE}"))
        self.domain("certold", "mx", bad, certificate=self.ca.issue(f"mta-sts.certold.{ZONE}", days=-1))
        self.release = threading.Event()
        self.domain("slow", "mx", self.trickle)
        self.domain("chunked", "mx", lambda h: self.chunked(h, policy("enforce", mx)))
        self.domain("untiltheend", "mx", lambda h: self.until_the_end(h, policy("enforce", mx)))
        for name in ("kept", "kept-web", "edition", "restart", "file", "many", "refresh"):
            self.domain(name, "mx", policy("enforce", "other.test"))
        self.domain("lonely", "mx", None)
        self.domains["lonely"] = ["lonely 60 MX 10 mx"]

    def trickle(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        while not self.release.wait(0.05):
            handler.wfile.write(b"x")

    @staticmethod
    def chunked(handler, text):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain; charset=us-ascii")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for octet in text.encode():
            handler.wfile.write(b"1\r\n%c\r\n" % octet)
        handler.wfile.write(b"0\r\n\r\n")

    @staticmethod
    def until_the_end(handler, text):
        handler.send_response(200)
        handler.send_header("content-type", "Text/Plain")
        handler.end_headers()
        handler.wfile.write(text.encode())
        handler.close_connection = True
        handler.connection.unwrap()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    for needed in ("knotd", "unbound"):
        if not shutil.which(needed, path="/usr/sbin:/usr/bin"):
            unavailable(f"{needed} is not installed")
    with contextlib.ExitStack() as stack:
        made = World(tmp_path_factory.mktemp("sts"), stack.enter_context)
        yield made
        made.release.set()


def router(folder, world, tls=None, sts=None, options=None):
    return Router(folder, {**BASE, "smtp": {"port": world.peer.port},
                           "tls": {"system_ca_file": "none", "ca_file": str(world.ca.file), **(tls or {}),
                                   "sts": {"port": world.web.port, "timeout": "20s", **(sts or {})}},
                           "dns": {"servers": [world.dns.server], "allow_local": True, "ipv6": False, "min_ttl": "0s",
                                   "max_ttl": "1s", "max_negative_ttl": "0s"},
                           **({'destination "*"': options} if options else {})})


def send(run, names, extra=b"", ident="m"):
    for name in names:
        domain = name if name.endswith(".test") else f"{name}.{ZONE}"
        data = message([f"a@{domain}"], ident=f"{ident}-{name}")
        run.spool.drop(f"{ident}-{name}", data.replace(b"X-Receiver", extra + b"X-Receiver", 1))
    result = run.drain()
    return {e["domain"].removesuffix("." + ZONE): e for e in result.log}, result


def test_enforce(tmp_path, world):
    events, result = send(router(tmp_path, world), ["ok", "wild", "second", "other-txt", "chunked", "untiltheend"])
    assert result.code == EX_OK
    for name, event in events.items():
        assert (event["event"], event["policy"], event["tls"]["verified"]) == ("delivered", OK, True), event
        assert event["sts"] == {"mode": "enforce", "id": "7" if name == "other-txt" else "1", "result": "ok"}
    assert events["second"]["mx"] == f"mx.{ZONE}"


ENFORCE_ROWS = [("wrongmx", "tls", "does not allow this host", "mx-mismatch"),
                ("deepwild", "tls", "does not allow this host", "mx-mismatch"),
                ("plain", "starttls", "not offered", "starttls-not-supported"),
                ("bad", "tls", "certificate", "certificate-not-trusted"),
                ("named", "tls", "not for", "certificate-host-mismatch")]


def test_enforce_defers(tmp_path, world):
    before = len(world.peer.messages)
    events, result = send(router(tmp_path, world, {"on_failure": "plaintext-now"}), [r[0] for r in ENFORCE_ROWS])
    assert result.code == EX_TEMPFAIL
    for name, phase, words, failure in ENFORCE_ROWS:
        event = events[name]
        assert (event["event"], event["phase"], words in event["reply"]) == ("deferred", phase, True), event
        assert (event["policy"], event["sts"]["result"]) == (OK, failure)
    for name, mx in (("wrongmx", "mx"), ("deepwild", "x.a.pool")):  # named, but nobody went there
        fields = [events[name][field] for field in ("mx", "address", "port", "hosts")]
        assert fields == [f"{mx}.{ZONE}", None, None, 0]
    assert events["plain"]["address"] == "127.0.0.2"
    assert len(world.peer.messages) == before


def test_testing_changes_nothing_and_says_what_would_have_failed(tmp_path, world):
    wanted = {"tok": "ok", "tplain": "starttls-not-supported", "tbad": "certificate-not-trusted",
              "tnamed": "certificate-host-mismatch", "twrongmx": "mx-mismatch"}
    events, result = send(router(tmp_path, world), wanted)
    assert result.code == EX_OK
    for name, failure in wanted.items():
        assert (events[name]["event"], events[name]["policy"]) == ("delivered", MAY)
        assert events[name]["sts"] == {"mode": "testing", "id": "1", "result": failure}
    assert events["tplain"]["tls"] is None and events["tbad"]["tls"]["verified"] is False


def test_testing_on_a_connection_that_is_used_again(tmp_path, world):
    run = router(tmp_path, world, options={"connections": 1})
    for i in range(4):
        run.spool.drop(f"m{i}", message([f"a@tbad.{ZONE}"], ident=f"m{i}"))
    result = run.drain()
    assert result.code == EX_OK
    results = [e.get("sts", {}).get("result") for e in result.log]
    assert results == ["certificate-not-trusted"] * 4, (result.log, result.stderr)
    assert any(e["reused"] for e in result.log)


@pytest.mark.parametrize("without,enforcing,fate", [("tplain", "plain", "deferred"), ("tbad", "bad", "deferred"),
                                                    ("tok", "ok", "delivered"), ("ok", "wrongmx", "deferred"),
                                                    ("ok", "tok", "delivered")])
def test_a_connection_is_judged_by_each_domain_anew(tmp_path, world, without, enforcing, fate):
    """The same host for a domain whose policy enforces and for one whose does not."""
    run = router(tmp_path, world, options={"connections": 1, "idle": "1h"})
    run.start()
    for number, name in enumerate((without, enforcing)):
        run.spool.drop(f"m{number}", message([f"a@{name}.{ZONE}"], ident=f"m{number}"))
        wait_for(lambda n=number: len(run.log()) > n, "the attempt")
    run.stop()
    first, second = run.log()
    assert (first["event"], second["event"]) == ("delivered", fate), second
    if fate == "delivered":
        assert second["tls"]["verified"] == (enforcing == "ok")


FAILURES = {"redirect": "HTTP status 302", "missing": "HTTP status 404", "html": "media type", "huge": "body is too large",
            "bigheader": "header is too large", "garbage": "sts-policy-invalid", "truncated": "ended before",
            "certname": "sts-webpki-invalid", "certca": "sts-webpki-invalid", "certold": "sts-webpki-invalid"}


def test_a_policy_that_cannot_be_had_is_none(tmp_path, world):
    requests = world.web.requests[f"mta-sts.wrongmx.{ZONE}"]
    events, result = send(router(tmp_path, world), [*FAILURES, "off", "twice", "malformed", "lonely"])
    assert result.code == EX_OK
    assert all(e["policy"] == MAY and "sts" not in e for e in events.values())
    lines = {m.group(1): m.group(0) for m in re.finditer(r"no policy from mta-sts\.([\w-]+)\..*", result.stderr)}
    assert lines.keys() == FAILURES.keys()
    for name, words in FAILURES.items():
        assert words in lines[name]
    assert world.web.requests[f"mta-sts.wrongmx.{ZONE}"] == requests  # the redirection was not followed
    assert all(world.web.requests[f"mta-sts.{n}.{ZONE}"] == 0 for n in ("twice", "malformed"))


def test_status_counts_policies_fetches_and_refusals(tmp_path, world):
    run = router(tmp_path, world)
    run.start()
    wait_for((run.spool.path / "control").exists, "the control socket")
    for name in ("ok", "missing", "wrongmx"):
        run.spool.drop(name, message([f"a@{name}.{ZONE}"], ident=name))
    wait_for(lambda: len(run.log()) == 3, "the attempts")

    def status(*arguments):
        return subprocess.run([program("sluice"), "status", "-c", str(run.config_path), *arguments],
                              capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(status("--json"))["mta_sts"] == {"policies": 2, "fetches": 3, "failures": 1, "outlived": 0,
                                                       "refused": 1}
    assert "MTA-STS: 2 policies kept; 3 fetches, of which 1 failed; " in status()
    run.stop()
    off = router(tmp_path / "off", world, sts={"enabled": False})
    off.start()
    wait_for((off.spool.path / "control").exists, "the control socket")
    out = subprocess.run([program("sluice"), "status", "-c", str(off.config_path), "--json"], capture_output=True,
                         text=True, timeout=60, check=True).stdout
    assert json.loads(out)["mta_sts"] is None
    off.stop()


def test_a_slow_policy_host_costs_no_more_than_the_timeout(tmp_path, world):
    events, result = send(router(tmp_path, world, sts={"timeout": "500ms"}), ["slow"])
    assert (result.code, events["slow"]["policy"]) == (EX_OK, MAY)
    assert "the response took too long" in result.stderr


def test_a_failed_fetch_is_not_repeated_at_once(tmp_path, world):
    run = router(tmp_path, world)
    run.start()
    before = world.web.requests[f"mta-sts.missing.{ZONE}"]
    for i in range(3):
        run.spool.drop(f"m{i}", message([f"a@missing.{ZONE}"], ident=f"m{i}"))
        wait_for(lambda n=i: len(run.log()) > n, "the delivery")
    run.stop()
    assert world.web.requests[f"mta-sts.missing.{ZONE}"] == before + 1


def test_mail_for_one_domain_shares_a_fetch(tmp_path, world):
    run = router(tmp_path, world)
    for i in range(50):
        run.spool.drop(f"m{i}", message([f"a{i}@many.{ZONE}"], ident=f"m{i}"))
    result = run.drain()
    assert len(result.events("deferred")) == 50
    assert world.web.requests[f"mta-sts.many.{ZONE}"] == 1


def test_a_live_policy_outlasts_records_and_server(tmp_path, world):
    """RFC 8461 5.1, and over a restart: the policy would let nothing through, and none would let it."""
    run = router(tmp_path, world)
    assert send(run, ["kept", "kept-web"], ident="first")[1].code == EX_TEMPFAIL
    file = run.spool.path / "mta-sts"
    assert os.stat(file).st_mode & 0o777 == 0o600
    world.change("kept", "mx", lambda h: h.answer(500, ""), None)
    world.change("kept-web", "mx", lambda h: h.answer(500, ""), "2")
    events, result = send(run, ["kept", "kept-web"], ident="second")
    assert "edition 2 (sts-policy-fetch-error: HTTP status 500); the one that was kept goes on" in result.stderr
    assert [e["sts"]["result"] for e in result.log if e["domain"] in (f"kept.{ZONE}", f"kept-web.{ZONE}")]
    for name in ("kept", "kept-web"):
        assert events[name]["sts"] == {"mode": "enforce", "id": "1", "result": "mx-mismatch"}
    file.write_bytes(file.read_bytes().replace(b"enforce", b"testing", 1))
    events, result = send(run, ["kept"], ident="third")
    assert "mta-sts is damaged" in result.stderr
    assert (events["kept"]["event"], events["kept"]["policy"]) == ("delivered", MAY)


def test_a_kept_policy_needs_no_fetch_and_a_new_edition_does(tmp_path, world):
    run = router(tmp_path, world)
    host = f"mta-sts.edition.{ZONE}"
    assert send(run, ["edition"], ident="first")[0]["edition"]["event"] == "deferred"
    assert send(run, ["edition"], ident="second")[0]["edition"]["event"] == "deferred"
    assert world.web.requests[host] == 1
    world.change("edition", "mx", policy("enforce", f"mx.{ZONE}"), "2")
    events, _ = send(run, ["edition"], ident="third")
    assert events["edition"]["sts"] == {"mode": "enforce", "id": "2", "result": "ok"}
    assert world.web.requests[host] == 2


def age(file, seconds):
    """As if all policies in it had been fetched that much earlier."""
    head, *rows, _ = file.read_text().splitlines()
    rows = [row.split(" ") for row in rows]
    body = "".join(line + "\n" for line in [head, *(" ".join([*r[:4], str(int(r[4]) - seconds), *r[5:]]) for r in rows)])
    file.write_text(body + f"sha256 {hashlib.sha256(body.encode()).hexdigest()}\n")
    return {r[0]: int(r[4]) for r in rows}


def test_a_kept_policy_is_renewed_without_mail(tmp_path, world):
    run = router(tmp_path, world)
    host, file = f"mta-sts.refresh.{ZONE}", run.spool.path / "mta-sts"
    assert send(run, ["refresh"])[0]["refresh"]["event"] == "deferred"
    assert world.web.requests[host] == 1
    age(file, 3600)
    run.start()
    wait_for((run.spool.path / "control").exists, "the control socket")
    assert run.stop() == EX_OK
    assert world.web.requests[host] == 1  # not yet old enough, whenever that run looked
    age(file, 50000)
    run.start()
    wait_for(lambda: world.web.requests[host] == 2, "the renewal")
    assert run.stop() == EX_OK
    # A renewal that fails leaves the policy, and says so.
    world.web.add(host, lambda h: h.answer(500, ""))
    age(file, 86400 // 2 + 3600)
    run.start()
    wait_for(lambda: f"warning: MTA-STS: no policy from {host}" in run.process.stderr(), "the warning")
    assert run.stop() == EX_OK
    assert len(run.log()) == 1


def test_nothing_is_kept_where_the_file_is_none(tmp_path, world):
    run = router(tmp_path, world, sts={"file": "none"})
    for ident in ("first", "second"):
        assert send(run, ["file"], ident=ident)[0]["file"]["event"] == "deferred"
    assert world.web.requests[f"mta-sts.file.{ZONE}"] == 2
    assert not (run.spool.path / "mta-sts").exists()


def test_dane_goes_first(tmp_path, world):
    events, _ = send(router(tmp_path, world), [f"dane.{SIGNED}", f"danebad.{SIGNED}"])
    good, bad = events[f"dane.{SIGNED}"], events[f"danebad.{SIGNED}"]
    assert (good["event"], good["policy"]) == ("delivered", {"level": "dane", "source": "dane"})
    assert (bad["event"], "no TLSA record" in bad["reply"]) == ("deferred", True)


def test_levels_around_sts(tmp_path, world):
    before = world.web.requests[f"mta-sts.wrongmx.{ZONE}"]
    events, _ = send(router(tmp_path / "none", world, {"level": "none"}), ["wrongmx"])
    assert (events["wrongmx"]["event"], events["wrongmx"]["tls"]) == ("delivered", None)
    events, _ = send(router(tmp_path / "hop", world, options={"next_hop": world.peer.next_hop}), ["wrongmx"])
    assert events["wrongmx"]["policy"] == MAY
    events, _ = send(router(tmp_path / "off", world, sts={"enabled": False}), ["wrongmx"])
    assert events["wrongmx"]["policy"] == MAY
    assert world.web.requests[f"mta-sts.wrongmx.{ZONE}"] == before
    events, _ = send(router(tmp_path / "local", world, {"level": "sts"}), ["ok", "tok", "lonely"])
    assert events["ok"]["policy"] == events["tok"]["policy"] == {"level": "sts", "source": "local"}
    assert (events["lonely"]["event"], "has no MTA-STS policy" in events["lonely"]["reply"]) == ("deferred", True)
    events, _ = send(router(tmp_path / "asked", world), ["ok", "lonely"], extra=b"X-Sluice-TLS: sts\r\n")
    assert (events["ok"]["event"], events["lonely"]["event"]) == ("delivered", "deferred")
    assert events["lonely"]["policy"] == {"level": "sts", "source": "message"}


def test_a_session_without_checks_does_not_serve_a_policy(tmp_path, world):
    """Same host: the domain without a policy leaves a session behind, which the one with a policy must not use."""
    run = router(tmp_path, world, options={"connections": 1, "max_deliveries": 1})
    run.start()
    for i, name in enumerate(("lonely", "lonely", "ok", "ok")):
        run.spool.drop(f"m{i}", message([f"a@{name}.{ZONE}"], ident=f"m{i}"))
        wait_for(lambda n=i: len(run.log()) > n, "the delivery")
    run.stop()
    assert [(e["tls"]["resumed"], e["tls"]["verified"]) for e in run.log()] == [
        (False, False), (True, False), (False, True), (True, True)]
