"""The main job: what is dropped into the spool arrives once, and what cannot ends where the contract says."""
import collections
import contextlib
import os
import signal
import socket
import stat
import subprocess
import time

import pytest

from harness import (BUILD, EX_OK, EX_TEMPFAIL, ROOT, Dns, Process, Router, Sink, Spool, message, program,
                     unavailable, wait_for)

FAST = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1s", "maximum": "2s"}}


def to_sink(sink, **more):
    return {**FAST, 'destination "*"': {"next_hop": sink.next_hop, **more}}


def arrived(sink):
    """How often each Message-ID arrived."""
    ids = collections.Counter()
    for _, content in sink.messages():
        for line in content.split(b"\r\n\r\n", 1)[0].split(b"\r\n"):
            if line.lower().startswith(b"message-id:"):
                ids[line.split(b"<", 1)[1].split(b"@", 1)[0].decode()] += 1
    return ids


@pytest.mark.short
def test_delivers_over_tls_with_resumption_and_unharmed(tmp_path):
    body = b".leading dot\nbare newline\nand \xc3\xa4 and no final line end"
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = Router(tmp_path, to_sink(sink, max_deliveries=1, connections=1))
        for i in range(20):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"], body, ident=f"m{i}"))
        result = router.drain()
        assert result.code == EX_OK
        assert router.spool.is_empty()
        assert arrived(sink) == {f"m{i}": 1 for i in range(20)}
        for _, content in sink.messages():
            assert content.startswith(b"Received: by ")
            assert b"X-Receiver" not in content
            assert content.endswith(b"\r\n\r\n" + body.replace(b"\n", b"\r\n") + b"\r\n")
        resumed = [e for e in result.events("delivered") if e["tls"]["resumed"]]
        assert len(resumed) == 19
        assert "TLS session cache: 20 look-ups, 19 hits, 1 misses; 19 resumed, 0 refused" in result.stderr


def test_the_session_cache_is_shown_at_the_end_of_a_run(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = Router(tmp_path, to_sink(sink, max_deliveries=1, connections=1))
        for i in range(3):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"]))
        rows = [line.split() for line in router.drain("--drain", "--progress").stderr.splitlines()]
        assert ["TLS", "session", "cache", "look-ups", "hits", "misses", "resumed", "refused", "failed", "full",
                "kept"] in rows
        total = next(row for row in rows if row[:2] == ["all", "1"])
        assert total[2:9] == ["3", "2", "1", "2", "0", "0", "1"]


def test_plaintext_where_starttls_is_not_offered_unless_encryption_is_required(tmp_path):
    with Sink(tmp_path / "sink", "tls=none") as sink:
        config = to_sink(sink)
        config['destination "strict.test"'] = {"next_hop": sink.next_hop, "tls": {"level": "encrypt"}}
        router = Router(tmp_path, config)
        router.spool.drop("open", message(["a@open.test"], ident="open"))
        router.spool.drop("strict", message(["a@strict.test"], ident="strict"))
        result = router.drain()
        assert result.code == EX_TEMPFAIL
        assert arrived(sink) == {"open": 1}
        assert result.one("deferred")["recipient"] == "a@strict.test"
        assert len(router.spool.files("deferred")) == 1


@pytest.mark.short
def test_each_recipient_has_its_own_outcome_and_the_sender_is_told(tmp_path):
    with Sink(tmp_path / "sink", "reject=bad@d.test") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["good@d.test", "bad@d.test"], ident="m", extra=["Bcc: secret@d.test"]))
        result = router.drain()
        assert result.code == EX_OK
        assert result.one("bounced")["recipient"] == "bad@d.test"
        bounce = [c for i, c in sink.messages() if b"multipart/report" in c]
        assert len(bounce) == 1
        assert b"Final-Recipient: rfc822; bad@d.test" in bounce[0]
        assert b"secret" not in b"".join(c for _, c in sink.messages())


def test_a_double_bounce_ends_in_bad(tmp_path):
    with Sink(tmp_path / "sink", "reject=bad@d.test,reject=@origin.test") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["bad@d.test"]))
        assert router.drain().code == EX_OK
        bad = router.spool.files("bad")
        assert len(bad) == 2 and any(name.endswith(".why") for name in bad)


def test_a_double_bounce_beside_a_deferral_ends_in_bad_too(tmp_path):
    with Sink(tmp_path / "sink", "reject=bad@d.test,defer-first=1") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["bad@d.test", "good@d.test"], sender="", ident="m"))
        assert router.drain("--until-empty").code == EX_OK
        assert arrived(sink) == {"m": 1}
        assert len(router.spool.files("bad")) == 2  # the message and its reason


@pytest.mark.short
def test_deferred_mail_waits_over_a_restart_and_is_then_delivered(tmp_path):
    with Sink(tmp_path / "sink", "defer-first=1") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        assert router.drain().code == EX_TEMPFAIL
        waiting = router.queue()
        assert len(waiting) == 1 and waiting[0]["recipients"][0]["attempts"] == 1
        assert router.spool.files() == [waiting[0]["path"]]
        assert router.drain("--until-empty").code == EX_OK
        assert arrived(sink) == {"m": 1}
        assert router.spool.is_empty() and router.queue() == []


def test_mail_that_expires_bounces(tmp_path):
    with Sink(tmp_path / "sink", "defer=u@d.test") as sink:
        config = to_sink(sink)
        config["retry"] = {"minimum": "1s", "maximum": "1s", "lifetime": "2s"}
        router = Router(tmp_path, config)
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        result = router.drain("--until-empty")
        assert result.code == EX_OK
        assert result.one("bounced")["recipient"] == "u@d.test"
        assert sum(b"multipart/report" in c for _, c in sink.messages()) == 1


def test_hostile_files_end_in_bad_with_a_reason_and_stop_nothing(tmp_path):
    with Sink(tmp_path / "sink") as sink:
        router = Router(tmp_path, to_sink(sink))
        new = router.spool.path / "new"
        (tmp_path / "target").write_bytes(message(["u@d.test"]))
        (new / "symlink").symlink_to(tmp_path / "target")
        os.mkfifo(new / "fifo")
        os.link(tmp_path / "target", new / "linked")
        (new / "empty").write_bytes(b"")
        (new / "nobody").write_bytes(b"Subject: no recipients\n\nhello\n")
        (new / "huge").write_bytes(b"To: u@d.test\n" + b"X-A: b\n" * 3_000_000 + b"\nhi\n")
        router.spool.drop("good", message(["u@d.test"], ident="good"))
        router.spool.drop("deep", message(["u@d.test"], ident="deep"), folder="new/sub")
        router.spool.drop("nul", message(["u@d.test"], b"a\0b\r\n", ident="nul"))
        assert router.drain().code == EX_OK
        assert arrived(sink) == {"good": 1, "deep": 1, "nul": 1}
        names = set(router.spool.files("bad"))
        for name in ("symlink", "fifo", "linked", "empty", "nobody", "huge"):
            assert f"bad/{name}" in names and f"bad/{name}.why" in names, names
        assert router.spool.files("new") == []
        assert stat.S_ISFIFO(os.lstat(router.spool.path / "bad" / "fifo").st_mode)


def test_a_running_router_takes_what_is_renamed_and_what_is_copied(tmp_path):
    with Sink(tmp_path / "sink") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.start()
        wait_for(lambda: (router.spool.path / "lock").exists(), "the router to start")
        router.spool.drop("renamed", message(["u@d.test"], ident="renamed"))
        with open(router.spool.path / "new" / "copied", "wb") as copy:
            data = message(["u@d.test"], ident="copied")
            copy.write(data[:40])
            copy.flush()
            copy.write(data[40:])
        wait_for(lambda: arrived(sink) == {"renamed": 1, "copied": 1}, "both messages")
        assert router.stop() == EX_OK
        assert router.spool.is_empty()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.short
def test_nothing_is_lost_when_the_router_ends_in_the_middle(tmp_path, end):
    with Sink(tmp_path / "sink", "delay=5") as sink:
        router = Router(tmp_path, to_sink(sink, connections=4))
        total = 300
        for i in range(total):
            router.spool.drop(f"m{i}", message([f"u{i}@d{i % 7}.test"], ident=f"m{i}"))
        for _ in range(3):
            seen = len(sink.messages())
            process = router.start()
            wait_for(lambda: len(sink.messages()) > seen + 20 or not router.spool.files(), "some mail")
            if end == signal.SIGTERM:
                assert router.stop() == EX_OK
            else:
                os.kill(process.pid, end)
                process.wait()
        assert router.drain("--until-empty").code == EX_OK
        counts = arrived(sink)
        assert set(counts) == {f"m{i}" for i in range(total)}
        doubled = [name for name, count in counts.items() if count > 1]
        if end == signal.SIGTERM:
            assert doubled == []
        else:
            # Three kills, four connections: at most what was between the final dot and its record.
            assert len(doubled) <= 12, doubled
        assert router.spool.is_empty()


def test_every_row_of_the_dns_table(tmp_path):
    with Sink(tmp_path / "sink", "name=mx.test") as sink, Dns(tmp_path / "dns", [
            "mx.test A 60 127.0.0.1",
            "good.test MX 60 10 mx.test",
            "backup.test MX 60 10 nowhere.test", "backup.test MX 60 20 mx.test",
            "implicit.test A 60 127.0.0.1",
            "null.test MX 60 0 .",
            "noaddress.test MX 60 10 nowhere.test",
            "loop.test MX 60 10 sender.sluice.test", "loop.test MX 60 20 mx.test",
            "broken.test SERVFAIL",
    ]) as dns:
        router = Router(tmp_path, {**FAST, "smtp": {"port": sink.port},
                                   "dns": {"servers": [dns.server], "allow_local": True, "ipv6": False}})
        domains = ["good.test", "backup.test", "implicit.test", "null.test", "noaddress.test", "loop.test",
                   "broken.test", "nosuch.test", "[127.0.0.1]"]
        for domain in domains:
            router.spool.drop(domain.strip("[]"), message([f"u@{domain}"], sender="", ident=domain.strip("[]")))
        result = router.drain()
        assert result.code == EX_TEMPFAIL
        ends = {e["recipient"].split("@")[1]: (e["event"], e.get("enhanced")) for e in result.log}
        assert ends["good.test"][0] == ends["backup.test"][0] == ends["implicit.test"][0] == "delivered"
        assert ends["[127.0.0.1]"][0] == "delivered"
        assert ends["null.test"] == ("bounced", "5.1.10")
        assert ends["nosuch.test"] == ("bounced", "5.1.2")
        assert ends["noaddress.test"] == ("bounced", "5.4.4")
        assert ends["loop.test"] == ("bounced", "5.4.6")
        assert ends["broken.test"][0] == "deferred"


@contextlib.contextmanager
def dead_host():
    """Refuses connections, and keeps its port from whatever else runs on this machine."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"[127.0.0.1]:{held.getsockname()[1]}"


def test_a_dead_host_costs_one_probe_and_its_backlog_is_not_attempted(tmp_path):
    with dead_host() as next_hop:
        router = Router(tmp_path, {"pickup": {"settle": "0s"},
                                   'destination "*"': {"next_hop": next_hop, "connections": 1,
                                                       "connections_initial": 1}})
        for i in range(50):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"]))
        result = router.drain()
    assert result.code == EX_TEMPFAIL
    assert len(result.events("deferred")) == 1
    assert len(router.spool.files("deferred")) == 50


@pytest.mark.short
def test_mail_over_a_sites_share_is_woken_when_there_is_room(tmp_path):
    """Were it only looked at now and then, twenty rounds of it would outlast the test's patience."""
    with Sink(tmp_path / "sink", "delay=2") as sink:
        router = Router(tmp_path, {**to_sink(sink, connections=4), "queue": {"site_share": 10}})
        for i in range(200):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"], ident=f"m{i}"))
        assert router.drain().code == EX_OK
        assert arrived(sink) == {f"m{i}": 1 for i in range(200)}


def test_a_drain_does_not_wait_for_what_is_parked_at_a_dead_site(tmp_path):
    with dead_host() as next_hop:
        router = Router(tmp_path, {"pickup": {"settle": "0s"}, "queue": {"site_share": 4},
                                   'destination "*"': {"next_hop": next_hop}})
        for i in range(30):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"]))
        assert router.drain().code == EX_TEMPFAIL
    assert len(router.spool.files()) == 30


def test_the_transcript_shows_the_dialogue(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        config = to_sink(sink)
        config["log"] = {"transcript": True, "transcript_file": str(tmp_path / "transcript")}
        router = Router(tmp_path, config)
        router.spool.drop("m", message(["u@d.test"]))
        assert router.drain().code == EX_OK
        words = (tmp_path / "transcript").read_text()
        for part in ("STARTTLS", "TLSv1.3", "MAIL FROM:", "RCPT TO:<u@d.test>", "250"):
            assert part in words


def test_a_transcript_of_one_destination_needs_no_other(tmp_path):
    with Sink(tmp_path / "sink") as sink:
        router = Router(tmp_path, {**to_sink(sink), 'destination "loud.test"': {"transcript": True}})
        router.spool.drop("loud", message(["u@loud.test"]))
        router.spool.drop("quiet", message(["u@quiet.test"]))
        assert router.drain().code == EX_OK
        words = router.log_path.with_name(router.log_path.name + ".transcript").read_text()
        assert "RCPT TO:<u@loud.test>" in words and "quiet.test" not in words


def test_configuration_errors_name_file_line_and_expectation(tmp_path):
    path = tmp_path / "wrong.conf"
    for text, word in (("smtp {\n  prot = 25\n}\n", "prot"), ("smtp {\n  port = 99999\n}\n", "port"),
                       ("retry { minimum = \"5 bananas\" }\n", "minimum")):
        path.write_text(text)
        run = subprocess.run([program("sluice"), "check", "-c", str(path)], capture_output=True, text=True, timeout=60)
        assert run.returncode == 78
        assert f"{path}:" in run.stderr and word in run.stderr
        run = subprocess.run([program("sluice"), "run", "-c", str(path), "--drain"], capture_output=True, timeout=60)
        assert run.returncode == 78
    path.write_text("")
    run = subprocess.run([program("sluice"), "check", "-c", str(path)], capture_output=True, text=True, timeout=60)
    assert run.returncode == EX_OK
    (tmp_path / "effective.conf").write_text(run.stdout)
    again = subprocess.run([program("sluice"), "check", "-c", str(tmp_path / "effective.conf")],
                           capture_output=True, text=True, timeout=60)
    assert again.returncode == EX_OK and again.stdout == run.stdout


@pytest.mark.parametrize("has_file", [True, False], ids=["empty", "none"])
def test_an_empty_configuration_and_none_at_all_run(tmp_path, has_file):
    (tmp_path / "empty.conf").write_text("")
    chosen = ["-c", str(tmp_path / "empty.conf")] if has_file else []
    if not has_file and os.path.exists("/etc/sluice/sluice.conf"):
        unavailable("/etc/sluice/sluice.conf is there")
    spool = Spool(tmp_path / "spool")
    spool.drop("nobody", b"Subject: no recipients\n\nhello\n")
    run = subprocess.run([program("sluice"), "run", *chosen, "--spool", str(spool.path), "--drain"],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == EX_OK, run.stderr
    assert spool.files("bad") == ["bad/nobody", "bad/nobody.why"]


def test_the_demo_agrees_with_the_receiver(tmp_path):
    run = Process([ROOT / "bench" / "demo" / "demo.sh", BUILD, "--messages", "60"], tmp_path, "demo")
    assert run.wait(120) == EX_OK, run.stderr()
