"""The main job against Postfix, Exim and OpenSMTPD, found through knot: each message arrives once, and
its content is the same octet by octet. Runs inside `roots.sh run`.

SLUICE_E2E_MESSAGES sets how many (1500; the long form is 10000)."""
import collections
import os
import pathlib
import re
import resource
import time

import pytest

from generated import Generated
from harness import EX_OK, EX_TEMPFAIL, PATIENCE, Router, Spool, difference, message, note, strip_trace, wait_for
from servers import Knot, start_all

MESSAGES = int(os.environ.get("SLUICE_E2E_MESSAGES", "1500"))
DOMAINS = 100
DEAD = "127.0.9.9"  # nobody listens there
MAX_DELIVERIES, CONNECTIONS = 5, 2  # few, so that many connections and resumed sessions are needed
QUIET_S = 60  # receivers that store nothing for so long have nothing left to store

if "SLUICE_E2E_ROOTS" not in os.environ:
    pytest.skip("needs the roots of `roots.sh run`", allow_module_level=True)


class World:
    """The servers, and which domain leads to which."""

    def __init__(self, folder):
        self.receivers = start_all(folder)
        self.postfix, self.exim, self.opensmtpd = self.receivers
        self.domains = [f"d{n}.test" for n in range(DOMAINS)]
        self.knot = Knot(folder / "knot", self.zone())
        self.bodies = collections.defaultdict(list)

    def receiver_of(self, n):
        return self.receivers[n % len(self.receivers)]

    def uses_tls(self, n):
        return n % 10 != 9 and not self.receiver_of(n).tls_is_broken

    def zone(self):
        """Most domains have a host name of their own; from 70 on they share one a receiver; some have a
        dead host before the good one."""
        lines = [f"dead A {DEAD}", "broken-tls MX 10 broken-tls-mx", f"broken-tls-mx A {self.opensmtpd.tls_address}"]
        shared = set()
        for n in range(DOMAINS):
            receiver = self.receiver_of(n)
            address = receiver.address_for(n, self.uses_tls(n))
            host = f"mx{n}" if n < 70 else f"shared-{receiver.name}-{'tls' if self.uses_tls(n) else 'plain'}"
            if 40 <= n < 45:
                lines.append(f"d{n} MX 5 dead")
            lines.append(f"d{n} MX 10 {host}")
            if host not in shared:
                lines.append(f"{host} A {address}")
                shared.add(host)
        return lines


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("servers"))
    yield world
    keep = os.environ.get("SLUICE_E2E_LOGS")  # a folder, for who wants to look
    if keep:
        for receiver in world.receivers:
            pathlib.Path(keep, receiver.name + ".log").write_text(receiver.log())


def summary(events):
    """What went wrong, counted."""
    return collections.Counter((e["event"], e["mx"], e["phase"], e["code"], e["reply"]) for e in events
                               if e["event"] != "delivered").most_common(5)


def router_for(tmp_path, name, **config):
    # On the tmpfs of the roots: this test is not about the disk.
    spool = Spool(pathlib.Path(os.environ["SLUICE_E2E_ROOTS"]) / f"spool-{name}")
    # No dns.servers: resolv.conf names knot, as on a machine of its own.
    return Router(tmp_path, {"pickup": {"settle": "0s"}, "dns": {"allow_local": True}, **config}, spool)


def stored_copies(world, wanted):
    """Waits until the receivers have stored everything (they accept first and store later)."""
    best, since = -1, time.monotonic()
    while True:
        count = sum(r.count() for r in world.receivers)
        if count >= wanted or time.monotonic() - since > QUIET_S * PATIENCE:
            return count
        if count > best:
            best, since = count, time.monotonic()
        time.sleep(0.2)


def test_bulk_arrives_once_and_unharmed(world, tmp_path):
    before = [r.connections() for r in world.receivers]
    router = router_for(tmp_path, "bulk", **{
        'destination "*"': {"connections": CONNECTIONS, "max_deliveries": MAX_DELIVERIES}})
    expected = collections.Counter()
    for number in range(MESSAGES):
        generated = Generated(number, world.domains)
        router.spool.drop(f"bulk-{number}", generated.file)
        expected.update((number, recipient) for recipient in generated.recipients)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    result = router.drain(timeout=120 + MESSAGES / 10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime) / MESSAGES
    note(f"{MESSAGES} messages, {len(expected)} recipients in {time.monotonic() - started:.1f} s, "
         f"{cpu * 1e6:.0f} us CPU each")
    assert result.code == EX_OK, summary(result.log)
    assert router.spool.is_empty()
    assert collections.Counter((e["event"], e["attempt"]) for e in result.log) == {("delivered", 1): len(expected)}

    stored_copies(world, len(expected))
    seen = collections.Counter()
    for receiver in world.receivers:
        for copy in receiver.delivered():
            content = strip_trace(copy.data, b"\n")
            number = int(re.search(rb"(?m)^X-E2E-Id: (\d+)$", content).group(1))
            seen[(number, copy.recipient)] += 1
            wrong = difference(Generated(number, world.domains).sent, content, b"\n")
            assert wrong is None, f"{receiver.name}, message {number}: {wrong}"
    assert seen - expected == collections.Counter(), "arrived more often than sent"
    assert expected - seen == collections.Counter(), "did not arrive"
    judge_connections(world, result.log, before)


def judge_connections(world, log, before):
    """Connections and TLS sessions, as the router's log and the receivers' logs tell them."""
    plain_first = {(e["id"], e["domain"]): e for e in log if not e["reused"]}
    deliveries = {(e["id"], e["domain"]) for e in log}
    sites = len({e["site"] for e in log})
    connections = len(plain_first)
    note(f"{len(deliveries)} deliveries to {sites} sites over {connections} connections")
    assert len(deliveries) / MAX_DELIVERIES <= connections + sites
    assert connections <= 2 * len(deliveries) / MAX_DELIVERIES + 2 * CONNECTIONS * sites
    at_receivers = sum(r.connections() for r in world.receivers) - sum(before)
    assert connections <= at_receivers <= connections * 1.1 + sites, at_receivers

    tls = [e for e in plain_first.values() if e["tls"]]
    domains = {e["domain"] for e in log}
    for n, domain in enumerate(world.domains):
        if domain in domains:
            assert all(bool(e["tls"]) == world.uses_tls(n) for e in log if e["domain"] == domain), domain
    resumed = sum(e["tls"]["resumed"] for e in tls)
    tls_sites = len({e["site"] for e in tls})
    note(f"{len(tls)} TLS sessions to {tls_sites} sites, {resumed} of them resumed; "
         f"Postfix says {world.postfix.handshakes()}")
    # At most the connections that a site opens at once find no ticket; a few more when tickets run out.
    assert len(tls) - resumed <= CONNECTIONS * tls_sites * 1.25
    assert world.postfix.handshakes()[1] >= 0.9 * sum(
        e["tls"]["resumed"] for e in tls if e["address"] == world.postfix.tls_address)


@pytest.mark.parametrize("name", ["postfix", "exim"])
def test_resumes_all_but_the_first_of_100(world, tmp_path, name):
    """A connection a message, counted by the receiver: Postfix stands for OpenSSL, Exim for GnuTLS."""
    receiver = getattr(world, name)
    full, resumed = receiver.handshakes()
    router = router_for(tmp_path, name, **{'destination "*"': {"connections": 1, "max_deliveries": 1}})
    domain = next(d for n, d in enumerate(world.domains) if world.receiver_of(n) is receiver and world.uses_tls(n))
    for i in range(100):
        router.spool.drop(f"m{i}", message([f"u@{domain}"], ident=f"{name}-{i}"))
    result = router.drain()
    assert result.code == EX_OK
    assert sum(e["tls"]["resumed"] for e in result.events("delivered")) >= 99
    wait_for(lambda: sum(receiver.handshakes()) >= full + resumed + 100, f"{name}'s log")
    now_full, now_resumed = receiver.handshakes()
    note(f"{name}: {now_full - full} full, {now_resumed - resumed} resumed")
    assert now_resumed - resumed >= 99


def test_a_real_host_with_broken_tls_gets_plaintext_after_a_while(world, tmp_path):
    router = router_for(tmp_path, "broken", retry={"minimum": "500ms", "maximum": "1s"})
    router.spool.drop("m", message(["u@broken-tls.test"], ident="broken"))
    result = router.drain("--until-empty")
    assert result.code == EX_OK
    assert result.events("deferred")[0]["phase"] == "tls"
    assert result.one("delivered")["tls"] is None
    strict = router_for(tmp_path / "strict", "strict", tls={"level": "encrypt"})
    strict.spool.drop("m", message(["u@broken-tls.test"], ident="strict"))
    assert strict.drain().code == EX_TEMPFAIL
    wait_for(lambda: any(b"<broken@" in c.data for c in world.opensmtpd.delivered()), "the copy at OpenSMTPD")
    assert not any(b"<strict@" in c.data for c in world.opensmtpd.delivered())


def test_a_receiver_that_restarts_in_the_middle_loses_nothing(world, tmp_path):
    router = router_for(tmp_path, "restart", retry={"minimum": "500ms", "maximum": "1s"})
    domain = next(d for n, d in enumerate(world.domains) if world.receiver_of(n) is world.postfix and n < 40)
    for i in range(300):
        router.spool.drop(f"m{i}", message([f"u@{domain}"], b"x" * 990 + b"\r\n", ident=f"restart-{i}"))
    process = router.start("--until-empty")
    wait_for(lambda: len(router.log()) >= 30, "some mail to be delivered")
    world.postfix.chroot("postfix", "stop")
    wait_for(lambda: any(e["event"] == "deferred" for e in router.log()) or not process.is_running(), "a failure")
    world.postfix.chroot("postfix", "start")
    assert process.wait(90) == EX_OK
    ids = collections.Counter()

    def all_there():
        ids.clear()
        for copy in world.postfix.delivered():
            found = re.search(rb"<(restart-\d+)@", copy.data)
            if found:
                ids[found.group(1)] += 1
        return len(ids) == 300

    wait_for(all_there, "all copies", 60)
    in_doubt = sum(e["in_doubt"] for e in router.log())
    assert sum(ids.values()) - 300 <= in_doubt
