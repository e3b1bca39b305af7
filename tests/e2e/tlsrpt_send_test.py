"""Sending TLS reports (RFC 8460 5): to an HTTPS server, and as mail through a next hop that would sign it."""
import contextlib
import datetime
import email
import email.policy
import gzip
import json
import subprocess
import time

import pytest
from authority import Authority
from dns_peer import SERVFAIL, DnsPeer
from harness import EX_OK, Router, Sink, message, program, wait_for
from peer import Peer, Server, make_certificate
from policy_server import PolicyServer

EX_UNAVAILABLE = 69
FROM, CONTACT = "tlsrpt@mta.example", "Postmaster@MTA.example"
# Not yesterday: that day's counts are only taken up two minutes after midnight.
DAY = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=2)).date()
BEGIN = int(datetime.datetime.combine(DAY, datetime.time(), datetime.timezone.utc).timestamp())


class World:
    """Receivers of reports: https://*.web.test, whose certificate nobody knows, and a sink that is the signer."""

    def __init__(self, folder, stack):
        self.web = stack(PolicyServer(Authority(folder / "ca")))
        self.web.add("elsewhere.test", "")
        self.web.issue()
        self.signer = stack(Sink(folder / "signer", "name=signer"))
        self.records = {}
        self.dns = DnsPeer(self.records)
        stack(contextlib.closing(self.dns))

    def domain(self, name, *rua):
        """A recipient domain with a TLSRPT record; "https" is an endpoint of its own."""
        uris = [f"https://{name.replace('.test', '.web.test')}:{self.web.port}/v1?d={name}" if u == "https" else u
                for u in rua]
        self.records[f"_smtp._tls.{name}"] = {"TXT": [f'"v=TLSRPTv1; rua={",".join(uris)}"']}
        self.records[name.replace(".test", ".web.test")] = {"A": ["127.0.0.1"]}
        return uris

    def posts(self, name):
        with self.web.lock:
            return [p for p in self.web.posts if p.host == name.replace(".test", ".web.test")]

    def mails(self):
        return [m for m in self.signer.messages() if b"tlsrpt" in m[1]]


@pytest.fixture
def world(tmp_path):
    with contextlib.ExitStack() as stack:
        yield World(tmp_path / "world", stack.enter_context)


def router(folder, world, report=None, **more):
    return Router(folder, {"hostname": "mta.example", "pickup": {"settle": "0s"}, "workers": 1,
                           "retry": {"minimum": "1h", "maximum": "1h"},
                           "dns": {"servers": [world.dns.server], "allow_local": True, "ipv6": False, "min_ttl": "0s",
                                   "max_ttl": "1s", "max_negative_ttl": "0s", "tries": 1},
                           "tls": {"report": {"send": True, "from": FROM, "contact": CONTACT, "via": "signer.internal",
                                              "organization": "Example", "delay": "0s", "retry": "200ms",
                                              **(report or {})}},
                           'destination "signer.internal"': {"next_hop": world.signer.next_hop}, **more})


def counted(run, *domains, day=DAY):
    """What a router would have counted on that day."""
    policies = {f"{d}\nno-policy-found\n": {"domain": d, "type": "no-policy-found", "string": [], "mx": [],
                                            "successes": 2, "failures": 0, "details": {}} for d in domains}
    folder = run.spool.path / "tlsrpt"
    folder.mkdir(exist_ok=True)
    file = folder / f"{day}.json"
    file.write_text(json.dumps({"version": 1, "day": str(day), "left_out": 0, "policies": policies}))
    file.chmod(0o600)


def status(run, day=DAY):
    out = subprocess.run([program("sluice"), "tlsrpt", "-c", str(run.config_path), "--status", "--day", str(day)],
                         capture_output=True, text=True, timeout=60, check=False)
    assert out.returncode == EX_OK, out.stderr
    return {row["domain"]: row for row in map(json.loads, out.stdout.splitlines())}


def has_ended(run, *domains):
    """No report of them waits any more."""
    rows = status(run)
    return all(rows[d]["state"] in ("sent", "failed", "not-wanted") for d in domains) and rows


def printed(run, domain):
    out = subprocess.run([program("sluice"), "tlsrpt", "-c", str(run.config_path), "--day", str(DAY), domain],
                         capture_output=True, text=True, timeout=60, check=True)
    return json.loads(out.stdout)


def test_what_was_counted_reaches_who_wants_it(tmp_path, world):
    """From sessions to reports: counted by one run, sent by the next one after the day."""
    (https,), (mailto,) = world.domain("good.test", "https"), world.domain("plain.test", "mailto:reports@rua.test")
    with Peer(Server, address="127.0.0.2", tls=make_certificate(tmp_path)) as good, \
            Peer(Server, address="127.0.0.3", port=good.port) as plain:
        for name, host in (("good", good), ("plain", plain), ("silent", plain)):
            world.records[f"{name}.test"] = {"MX": [f"10 mx.{name}.test."]}
            world.records[f"mx.{name}.test"] = {"A": [host.address]}
        run = router(tmp_path, world, smtp={"port": good.port})
        for name in ("good", "plain", "silent"):
            run.spool.drop(name, message([f"a@{name}.test"], ident=name))
        assert run.drain().code == EX_OK
        assert not world.web.posts and not world.mails()
        (today,) = (run.spool.path / "tlsrpt").iterdir()
        text = today.read_text().replace(today.stem, str(DAY))
        today.unlink()
        file = run.spool.path / "tlsrpt" / f"{DAY}.json"
        file.write_text(text)
        file.chmod(0o600)
        run.start()
        rows = wait_for(lambda: has_ended(run, "good.test", "plain.test", "silent.test"), "the reports")
        wait_for(lambda: world.mails() and run.spool.is_empty(), "the mail")
        run.stop()
    assert {d: (r["state"], r["endpoint"], r["attempts"]) for d, r in rows.items()} == {
        "good.test": ("sent", https, 1), "plain.test": ("sent", mailto, 1), "silent.test": ("not-wanted", "", 1)}
    check_post(world, run)
    check_mail(world, run)


def check_post(world, run):
    (post,) = world.posts("good.test")
    assert (post.path, post.headers["Content-Type"]) == ("/v1?d=good.test", "application/tlsrpt+gzip")
    assert post.headers["User-Agent"] == "sluice"
    report = json.loads(gzip.decompress(post.body))
    assert report == printed(run, "good.test")
    assert report["report-id"] == f"{DAY}.good.test@mta.example"
    assert report["contact-info"] == "Postmaster@mta.example"
    assert report["policies"][0]["summary"] == {"total-successful-session-count": 1, "total-failure-session-count": 0}


def check_mail(world, run):
    ((envelope, data),) = world.mails()
    assert (envelope["mail-from"], envelope["rcpt-to"]) == ([f"<{FROM}>"], ["<reports@rua.test>"])
    mail = email.message_from_bytes(data, policy=email.policy.default)
    assert not mail.defects and mail.get_content_type() == "multipart/report"
    assert mail["Content-Type"].params["report-type"] == "tlsrpt"
    assert (mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"]) == ("plain.test", "mta.example")
    assert (mail["TLS-Required"], mail["From"], mail["To"]) == ("No", FROM, "reports@rua.test")
    subject = mail["Subject"].replace("\t", " ")
    assert subject == f"Report Domain: plain.test Submitter: mta.example Report-ID: <{DAY}.plain.test@mta.example>"
    assert not any(name.startswith("X-Sluice") for name in mail.keys())
    text, attachment = mail.iter_parts()
    assert text.get_content_type() == "text/plain" and "plain.test" in text.get_content()
    assert attachment.get_content_type() == "application/tlsrpt+gzip"
    assert attachment["Content-Transfer-Encoding"] == "base64"
    assert attachment.get_filename() == f"mta.example!plain.test!{BEGIN}!{BEGIN + 86399}.json.gz"
    report = json.loads(gzip.decompress(attachment.get_content()))
    assert report == printed(run, "plain.test")
    detail = report["policies"][0]["failure-details"][0]
    assert (detail["result-type"], detail["receiving-ip"]) == ("starttls-not-supported", "127.0.0.3")


def test_a_restart_sends_nothing_again_and_loses_nothing(tmp_path, world):
    for name in ("sent.test", "later.test"):
        world.domain(name, "https")
    world.domain("mail.test", "mailto:a@rua.test")
    world.records["_smtp._tls.later.test"], later = SERVFAIL, world.records["_smtp._tls.later.test"]
    run = router(tmp_path, world, {"retry": "2s"})
    counted(run, "sent.test", "later.test", "mail.test")
    run.start()
    wait_for(lambda: has_ended(run, "sent.test", "mail.test"), "two reports")
    wait_for(lambda: status(run)["later.test"]["state"] == "retry", "the third to fail")
    wait_for(lambda: world.mails() and run.spool.is_empty(), "the mail")
    run.kill()
    world.records["_smtp._tls.later.test"] = later
    run.start()
    rows = wait_for(lambda: has_ended(run, "later.test"), "the third report")
    run.stop()
    assert rows["later.test"]["attempts"] >= 2
    run.start()
    wait_for(run.status, "the third run")
    run.stop()
    assert [len(world.posts(n)) for n in ("sent.test", "later.test")] == [1, 1] and len(world.mails()) == 1


def draft_name(domain):
    """As the router names it: base/bytes.c has the hash."""
    value = 0xcbf29ce484222325
    for octet in domain.encode():
        value = (value ^ octet) * 0x100000001b3 % 2**64
    value = (value ^ value >> 32) * 0xd6e8feb86659fd93 % 2**64
    value ^= value >> 32
    return f"tlsrpt-{DAY}-{value:016x}"


def test_a_message_that_the_ledger_knows_of_is_published_by_the_next_run(tmp_path, world):
    """The router ended between the two."""
    world.domain("a.test", "mailto:a@rua.test")
    run = router(tmp_path, world)
    counted(run, "a.test")
    ledger = run.spool.path / "tlsrpt" / f"{DAY}.sent"
    ledger.write_text(json.dumps({"domain": "a.test", "state": "sent", "endpoint": "mailto:a@rua.test"}))
    ledger.chmod(0o600)
    (run.spool.path / "tmp").mkdir(exist_ok=True)
    draft = run.spool.path / "tmp" / (draft_name("a.test") + ".tmp")
    draft.write_bytes(message(["a@rua.test"], sender=FROM, ident="tlsrpt-draft"))
    run.config['destination "*"'] = {"next_hop": world.signer.next_hop}
    run.start()
    wait_for(lambda: world.mails() and run.spool.is_empty(), "the mail")
    run.stop()
    assert not draft.exists() and len(world.mails()) == 1 and b"tlsrpt-draft" in world.mails()[0][1]


def test_failures_are_tried_again_and_given_up(tmp_path, world):
    statuses = iter([500, 302, 404])
    world.domain("flaky.test", "https")
    world.domain("second.test", f"https://nowhere.test:{world.web.port}/", "https")
    world.web.receivers["flaky.web.test"] = lambda: next(statuses, 201)
    run = router(tmp_path, world, {"retry": "100ms"})
    counted(run, "flaky.test", "second.test")
    run.start()
    rows = wait_for(lambda: has_ended(run, "flaky.test", "second.test"), "the reports")
    run.stop()
    assert (rows["flaky.test"]["state"], rows["flaky.test"]["attempts"]) == ("sent", 4)
    assert (rows["second.test"]["state"], rows["second.test"]["attempts"]) == ("sent", 1)
    assert len(world.posts("flaky.test")) == 4
    assert not [p for p in world.web.posts if p.path == "/redirected"]
    words = run.process.stderr()
    for status_code in (500, 302, 404):
        assert f"HTTP status {status_code}" in words


def test_a_report_that_nobody_takes_is_given_up_a_day_after_its_first_attempt(tmp_path, world):
    world.domain("dead.test", "https")
    world.web.receivers["dead.web.test"] = lambda: 503
    run = router(tmp_path, world)
    counted(run, "dead.test")
    now_ms = int(time.time() * 1000)
    ledger = run.spool.path / "tlsrpt" / f"{DAY}.sent"
    ledger.write_text(json.dumps({"domain": "dead.test", "state": "retry", "attempts": 7, "at": now_ms - 3600000,
                                  "first": now_ms - 25 * 3600000, "next": now_ms - 1000, "endpoint": "", "why": ""}))
    ledger.chmod(0o600)
    run.start()
    rows = wait_for(lambda: has_ended(run, "dead.test"), "the end")
    run.stop()
    assert (rows["dead.test"]["state"], rows["dead.test"]["attempts"]) == ("failed", 8)
    assert "TLS report of" in run.process.stderr() and "given up after 8 attempts" in run.process.stderr()


def test_without_a_signer_nothing_is_mailed_and_the_log_says_so_once(tmp_path, world):
    for name in ("a.test", "b.test"):
        world.domain(name, "mailto:x@rua.test")
    world.domain("c.test", "mailto:x@rua.test", "https")
    run = router(tmp_path, world, {"via": ""})
    counted(run, "a.test", "b.test", "c.test")
    run.start()
    rows = wait_for(lambda: has_ended(run, "a.test", "b.test", "c.test"), "the reports")
    run.stop()
    assert [rows[f"{n}.test"]["state"] for n in "abc"] == ["not-wanted", "not-wanted", "sent"]
    assert run.process.stderr().count("TLS reports are not mailed") == 1
    assert run.spool.is_empty() and not world.mails()


def test_a_next_hop_for_all_mail_takes_reports_too(tmp_path, world):
    world.domain("a.test", "mailto:x@rua.test")
    run = router(tmp_path, world, {"via": ""}, **{'destination "*"': {"next_hop": world.signer.next_hop}})
    counted(run, "a.test")
    run.start()
    wait_for(world.mails, "the mail")
    run.stop()


def test_records_that_do_not_count(tmp_path, world):
    world.records["_smtp._tls.twice.test"] = {"TXT": ['"v=TLSRPTv1; rua=mailto:a@b.test"'] * 1 +
                                              ['"v=TLSRPTv1; rua=mailto:c@d.test"']}
    world.records["_smtp._tls.bad.test"] = {"TXT": ['"v=TLSRPTv1; rua=mailto:a@b.test!10m"']}
    world.records["_smtp._tls.other.test"] = {"TXT": ['"v=spf1 -all"']}
    run = router(tmp_path, world)
    names = ("twice.test", "bad.test", "other.test", "none.test")
    counted(run, *names)
    run.start()
    rows = wait_for(lambda: has_ended(run, *names), "the look-ups")
    run.stop()
    assert {rows[n]["state"] for n in names} == {"not-wanted"}
    assert "several TLSRPT records" in rows["twice.test"]["why"] and "not valid" in rows["bad.test"]["why"]
    assert not world.mails()


def test_it_is_off_unless_asked_for(tmp_path, world):
    world.domain("a.test", "https")
    run = router(tmp_path, world, {"send": False})
    counted(run, "a.test")
    run.start()
    wait_for(run.status, "the router")
    run.stop()
    assert not world.web.posts and world.dns.asked("_smtp._tls.a.test", "TXT") == 0
    assert status(run)["a.test"]["state"] == "waiting"


def test_reports_wait_for_their_random_instant(tmp_path, world):
    world.domain("a.test", "https")
    yesterday = DAY + datetime.timedelta(days=1)
    run = router(tmp_path, world, {"delay": "20h"})
    counted(run, *(f"d{i}.test" for i in range(30)), day=yesterday)
    run.config_path.write_text("")
    run.command()
    due = [datetime.datetime.fromisoformat(row["next"].replace("Z", "+00:00")) for row in status(run, yesterday).values()]
    midnight = datetime.datetime.combine(yesterday + datetime.timedelta(days=1), datetime.time(), datetime.timezone.utc)
    assert min(due) >= midnight + datetime.timedelta(minutes=2)
    assert max(due) - min(due) > datetime.timedelta(hours=5) and max(due) < midnight + datetime.timedelta(hours=21)
