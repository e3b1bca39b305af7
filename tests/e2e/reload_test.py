"""A configuration read anew while mail goes on: by `sluice reload` and by SIGHUP."""
import json
import signal
import subprocess

from harness import Router, Sink, message, program, render_config, wait_for

EX_UNAVAILABLE, EX_CONFIG = 69, 78


def reload(router, *arguments):
    out = subprocess.run([program("sluice"), "reload", "-c", str(router.config_path), *arguments],
                         capture_output=True, text=True, timeout=60)
    return out.returncode, out.stdout, out.stderr


def write_config(router):
    """Put there whole: an earlier SIGHUP may still be on its way, and half a file may be a valid one."""
    fresh = router.config_path.with_suffix(".fresh")
    fresh.write_text(render_config(router.config))
    fresh.rename(router.config_path)


def started(tmp_path, config):
    router = Router(tmp_path, {"pickup": {"settle": "0s"}, **config})
    router.start()
    wait_for((router.spool.path / "control").exists, "the control socket")
    return router


def drop(router, count, ident, domain="x.test"):
    for i in range(count):
        router.spool.drop(f"{ident}{i}", message([f"a@{domain}"], ident=f"{ident}{i}"))


def assert_each_once(sink, count):
    idents = sorted(line for _, content in sink.messages() for line in content.decode().splitlines()
                    if line.lower().startswith("x-test-id:") or line.lower().startswith("message-id:"))
    assert len(sink.messages()) == count
    assert len(set(idents)) == len(idents)


def test_level_limits_and_next_hop_change_under_load(tmp_path):
    """What waits at a site goes by the new settings; nothing is lost, nothing is sent twice."""
    count = 600
    with Sink(tmp_path / "first", "tls=none,delay=5") as first, Sink(tmp_path / "second", "tls=1.3") as second:
        router = started(tmp_path, {'destination "*"': {"next_hop": first.next_hop, "connections": 2,
                                                        "connections_initial": 2}})
        drop(router, count, "load")
        wait_for(lambda: len(router.log()) > 20, "the first deliveries")
        router.config['destination "*"'] = {"next_hop": second.next_hop, "connections": 5, "max_deliveries": 3,
                                            "tls": {"level": "encrypt"}}
        write_config(router)
        code, out, _ = reload(router, "--json")
        assert code == 0 and json.loads(out) == {"ok": True, "changed": ["destination"], "restart": []}
        wait_for(lambda: len(router.log()) >= count, "all deliveries")
        router.stop()
        events = router.log()
        assert all(e["event"] == "delivered" for e in events) and len(events) == count
        by_first, by_second = len(first.messages()), len(second.messages())
        assert by_first + by_second == count and by_first >= 20 and by_second > 0
        after = [e for e in events if e["port"] == second.port]
        assert len(after) == by_second and all(e["tls"]["version"] for e in after)


def test_what_stays_the_same_keeps_its_connection_and_sessions(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = started(tmp_path, {"workers": 1, 'destination "*"': {"next_hop": sink.next_hop, "connections": 1,
                                                                      "idle": "60s"}})
        drop(router, 1, "one")
        wait_for(lambda: len(router.log()) == 1, "a delivery")
        router.config['destination "other.test"'] = {"connections": 3}
        router.config["tls"] = {"session_cache": {"entries": 10}}
        write_config(router)
        router.process.popen.send_signal(signal.SIGHUP)
        wait_for(lambda: "was read anew; changed: tls.session_cache.entries, destination" in router.process.stderr(),
                 "the reload")
        drop(router, 1, "two")
        wait_for(lambda: len(router.log()) == 2, "a second delivery")
        router.stop()
        total = sink.stop()["total"]
        assert (total["connections"], total["messages"]) == (1, 2)


def test_sessions_outlive_a_change_of_the_cache_options(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = started(tmp_path, {"workers": 1, 'destination "*"': {"next_hop": sink.next_hop, "idle": "0s",
                                                                      "tls": {"level": "encrypt"}}})
        drop(router, 1, "one")
        wait_for(lambda: len(router.log()) == 1, "a delivery")
        router.config["tls"] = {"session_cache": {"entries": 100, "bytes": "1M", "timeout": "30m",
                                                  "tickets_per_destination": 2}}
        write_config(router)
        assert reload(router)[0] == 0
        drop(router, 1, "two")
        wait_for(lambda: len(router.log()) == 2, "a second delivery")
        router.stop()
        assert [e["tls"]["resumed"] for e in router.log()] == [False, True]


def test_only_sessions_that_still_fit_are_offered(tmp_path):
    """What was agreed under other settings is not; what is as before is."""
    with Sink(tmp_path / "a", "tls=1.3") as a, Sink(tmp_path / "b", "tls=1.3") as b:
        sections = {f'destination "{name}.test"': {"next_hop": sink.next_hop, "idle": "0s", "tls": {"level": "encrypt"}}
                    for name, sink in (("a", a), ("b", b))}
        router = started(tmp_path, {"workers": 1, **sections})

        def resumed(round):
            """Whether the next handshake with a, and with b, is a resumed one."""
            for name in "ab":
                drop(router, 1, f"{name}{round}-", domain=f"{name}.test")
            wait_for(lambda: len(router.log()) == 2 * round + 2, "the deliveries")
            by_port = {e["port"]: e["tls"]["resumed"] for e in router.log()[-2:]}
            return by_port[a.port], by_port[b.port]

        assert resumed(0) == (False, False)
        router.config['destination "b.test"']["tls"]["groups"] = "P-256"
        write_config(router)
        assert reload(router)[::2] == (0, "")
        assert resumed(1) == (True, False)
        router.config['destination "a.test"']["tls"]["session_cache"] = {"enabled": False}
        write_config(router)
        assert reload(router)[::2] == (0, "")
        assert resumed(2) == (False, True)
        router.config["tls"] = {"session_cache": {"entries": 0}}
        write_config(router)
        assert reload(router)[::2] == (0, "")
        assert resumed(3) == (False, False)
        router.stop()


def test_another_secret_in_the_same_file_is_taken(tmp_path):
    """The file of the configuration is the same: what it names is read again, too."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("pencil\n")
    with Sink(tmp_path / "sink") as sink:
        router = started(tmp_path, {'destination "*"': {"next_hop": sink.next_hop,
                                                        "auth": {"user": "me", "secret_file": str(secret)}}})
        secret.write_text("brush\n")
        code, out, _ = reload(router)
        assert code == 0 and out == "changed: files\n"
        code, out, _ = reload(router)
        assert code == 0 and out == "nothing changed\n"
        secret.chmod(0o644)
        code, _, words = reload(router)
        assert code == EX_CONFIG and "open to group or others" in words
        router.stop()


def test_a_bad_file_changes_nothing(tmp_path):
    with Sink(tmp_path / "sink") as sink:
        router = started(tmp_path, {'destination "*"': {"next_hop": sink.next_hop}})
        good = router.config_path.read_text()
        router.config_path.write_text(good + '\nsmtp { port = 99999 }\n')
        line = len(good.splitlines()) + 2
        code, _, words = reload(router)
        assert code == EX_CONFIG and f"sluice.conf:{line}:" in words
        # The router says it itself, too: here the command does not read the file.
        code, _, words = reload(router, "--spool", str(router.spool.path))
        assert code == EX_CONFIG and f"sluice.conf:{line}:" in words
        wait_for(lambda: f"the configuration stays as it was: {router.config_path}:{line}:" in router.process.stderr(),
                 "the note")
        router.config_path.write_text(good + '\ntls { cert_file = "/nowhere" }\n')
        code, _, words = reload(router)
        assert code == EX_CONFIG and "/nowhere" in words
        # Cut short by who writes it: as a configuration it would be valid, and lose the next hop.
        router.config_path.write_text("")
        code, _, words = reload(router, "--spool", str(router.spool.path))
        assert code == EX_CONFIG and "is empty" in words
        router.config_path.unlink()
        code, _, words = reload(router, "--spool", str(router.spool.path))
        assert code == EX_CONFIG and "No such file" in words
        drop(router, 3, "after")
        wait_for(lambda: len(router.log()) == 3, "deliveries")
        write_config(router)
        router.stop()
        code, _, words = reload(router)
        assert code == EX_UNAVAILABLE and words


def test_what_needs_a_restart_is_named(tmp_path):
    router = started(tmp_path, {"workers": 1})
    router.config["workers"] = 2
    router.config["dns"] = {"timeout": "1s", "servers": ["127.0.0.1:53"]}
    router.config["retry"] = {"minimum": "1m"}
    write_config(router)
    code, out, _ = reload(router)
    assert code == 0
    assert "changed: retry.minimum\n" in out and "need a restart: workers, dns.servers, dns.timeout\n" in out
    # It is still so, although the file has not changed since.
    code, out, _ = reload(router)
    assert code == 0 and "nothing changed" in out and "workers" in out
    wait_for(lambda: "until a restart: workers, dns.servers, dns.timeout" in router.process.stderr(), "the note")
    router.stop()


def test_reloads_one_after_the_other_under_load(tmp_path):
    """Settings go back and forth while mail is sent."""
    count = 300
    with Sink(tmp_path / "sink", "tls=1.3,delay=2") as sink:
        router = started(tmp_path, {'destination "*"': {"next_hop": sink.next_hop, "max_deliveries": 5}})
        for round in range(12):
            drop(router, count // 12, f"r{round}-")
            router.config['destination "*"']["connections"] = 3 + round % 3
            write_config(router)
            if round % 2:
                router.process.popen.send_signal(signal.SIGHUP)
            else:
                assert reload(router)[0] == 0
        wait_for(lambda: len(router.log()) >= count, "all deliveries")
        router.stop()
        events = router.log()
        assert all(e["event"] == "delivered" for e in events), [e for e in events if e["event"] != "delivered"][:1]
        assert len(events) == count and len(sink.messages()) == count
