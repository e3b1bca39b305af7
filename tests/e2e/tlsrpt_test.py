"""TLS reports (RFC 8460): what the router counts, and what `sluice tlsrpt` makes of it."""
import datetime
import json
import subprocess

from harness import EX_OK, EX_TEMPFAIL, Dns, Router, message, program
from peer import Peer, Server, make_certificate
from tls_behaviours import Failing

EX_UNAVAILABLE, EX_USAGE = 69, 64
BASE = {"hostname": "mta.example", "pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}


def tlsrpt(router, *arguments):
    return subprocess.run([program("sluice"), "tlsrpt", "-c", str(router.config_path), *arguments], capture_output=True,
                          text=True, timeout=60, check=False)


def reports(router, *arguments):
    out = tlsrpt(router, *arguments)
    assert out.returncode == EX_OK, out.stderr
    return {r["policies"][0]["policy"]["policy-domain"]: r for r in map(json.loads, out.stdout.splitlines())}


def summary(report):
    counts = report["policies"][0]["summary"]
    return counts["total-successful-session-count"], counts["total-failure-session-count"]


def test_sessions_are_counted_by_domain_and_kept_over_a_restart(tmp_path):
    with Peer(Server, address="127.0.0.2", tls=make_certificate(tmp_path)) as good, \
            Peer(Server, address="127.0.0.3", port=good.port) as plain, \
            Peer(Failing, address="127.0.0.4", port=good.port, tls=make_certificate(tmp_path)) as broken, \
            Dns(tmp_path / "dns", ["good.test MX 60 10 mx.good.test", "mx.good.test A 60 127.0.0.2",
                                   "plain.test MX 60 10 mx.plain.test", "mx.plain.test A 60 127.0.0.3",
                                   "broken.test MX 60 10 mx.broken.test", "mx.broken.test A 60 127.0.0.4"]) as dns:
        router = Router(tmp_path, {**BASE, "smtp": {"port": good.port}, "workers": 1,
                                   "tls": {"report": {"organization": "Example", "contact": "postmaster@mta.example"}},
                                   "dns": {"servers": [dns.server], "allow_local": True, "ipv6": False},
                                   'destination "*"': {"connections": 1, "max_deliveries": 2},
                                   'destination "relay.test"': {"next_hop": good.next_hop}})
        for i in range(6):
            router.spool.drop(f"good{i}", message(["a@good.test"], ident=f"good{i}"))
        for name in ("plain", "broken", "relay"):
            router.spool.drop(name, message([f"a@{name}.test"], ident=name))
        assert router.drain().code == EX_TEMPFAIL
        first = reports(router)
        sessions = good.counts["full"] + good.counts["resumed"] - 1  # one was the relay's
        assert sessions == 3
        assert sorted(first) == ["broken.test", "good.test", "plain.test"]
        assert summary(first["good.test"]) == (3, 0)
        assert (summary(first["plain.test"]), summary(first["broken.test"])) == ((0, 1), (0, 1))
        assert len(plain.messages) == 1 and not broken.messages
        router.spool.drop("more", message(["a@good.test"], ident="more"))
        router.drain()
        assert summary(reports(router, "good.test")["good.test"]) == (4, 0)
    report = first["plain.test"]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    assert (report["organization-name"], report["contact-info"]) == ("Example", "postmaster@mta.example")
    assert report["date-range"]["start-datetime"] == f"{today}T00:00:00Z"
    assert report["report-id"] == f"{today}.plain.test@mta.example"
    assert report["policies"][0]["policy"] == {"policy-type": "no-policy-found", "policy-domain": "plain.test"}
    detail = report["policies"][0]["failure-details"][0]
    assert (detail["result-type"], detail["receiving-mx-hostname"], detail["receiving-ip"]) == (
        "starttls-not-supported", "mx.plain.test", "127.0.0.3")
    assert detail["sending-mta-ip"].startswith("127.") and detail["failed-session-count"] == 1
    assert first["broken.test"]["policies"][0]["failure-details"][0]["result-type"] == "validation-failure"


def test_what_is_not_there_is_said(tmp_path):
    router = Router(tmp_path, BASE)
    router.drain()
    assert tlsrpt(router).returncode == EX_UNAVAILABLE
    assert tlsrpt(router, "--day", "2001-01-01").returncode == EX_UNAVAILABLE
    assert tlsrpt(router, "--day", "yesterday").returncode == EX_USAGE
    assert tlsrpt(router, "a b").returncode in (EX_USAGE, EX_UNAVAILABLE)


def test_old_days_are_removed_and_what_is_damaged_is_counted_anew(tmp_path):
    router = Router(tmp_path, {**BASE, "tls": {"report": {"keep": "14d"}}})
    router.drain()
    folder = router.spool.path / "tlsrpt"
    (folder / "2001-01-01.json").write_text("old")
    (folder / "readme.txt").write_text("not ours")
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    (folder / f"{today}.json").write_text("{ damaged")
    (folder / f"{today}.json").chmod(0o600)
    result = router.drain()
    assert sorted(p.name for p in folder.iterdir()) == [f"{today}.json", "readme.txt"]
    assert "no count of TLS sessions" in result.stderr


def test_switched_off_it_makes_no_folder(tmp_path):
    router = Router(tmp_path, {**BASE, "tls": {"report": {"keep": "0s"}}})
    assert router.drain().code == EX_OK
    assert not (router.spool.path / "tlsrpt").exists()
