"""`sluice tls-cache` against receivers whose tickets behave in different ways."""
import json
import os
import re
import subprocess

from harness import Router, Sink, message, program, wait_for

EX_UNAVAILABLE = 69
COUNT = 12
REASONS = ("first", "no_ticket", "used_up", "expired", "evicted", "key_changed")


def tls_cache(router, *arguments):
    out = subprocess.run([program("sluice"), "tls-cache", *arguments, "-c", str(router.config_path)],
                         capture_output=True, text=True, timeout=60)
    return out.returncode, out.stdout, out.stderr


def test_says_why_handshakes_were_full(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3", "tls=1.3,tickets=0", "tls=1.3,rotate=1") as sink:
        good, none, rotating = sink.ports
        router = Router(tmp_path, {
            "workers": 1, "pickup": {"settle": "0s"},
            'destination "*"': {"connections": 1, "max_deliveries": 1},
            **{f'destination "{name}.test"': {"next_hop": f"[127.0.0.1]:{port}"}
               for name, port in (("good", good), ("none", none), ("rotating", rotating))}})
        router.start()
        for i in range(COUNT):
            for name in ("good", "none", "rotating"):
                router.spool.drop(f"{name}{i}", message([f"a@{name}.test"], ident=f"{name}{i}"))
        wait_for(lambda: len(router.log()) == 3 * COUNT, "all deliveries")
        code, out, _ = tls_cache(router, "--json")
        assert code == 0
        answer = json.loads(out)
        rows = {int(row["destination"].rsplit(":", 1)[1]): row for row in answer["destinations"]}
        totals = answer["totals"]
        assert totals["lookups"] == 3 * COUNT
        assert totals["lookups"] == totals["hits"] + sum(totals[k] for k in REASONS)
        assert totals["first"] == 3
        assert rows[good]["resumed"] == COUNT - 1
        assert rows[none]["no_ticket"] == COUNT - 1
        assert (rows[none]["avoidable"], rows[none]["resumed"]) == (0, 0)
        assert rows[rotating]["refused"] > 0
        assert rows[rotating]["avoidable"] == max(r["avoidable"] for r in rows.values())
        assert answer["destinations"][0] is not None and answer["destinations"][0]["avoidable"] == rows[rotating]["avoidable"]
        assert totals["cpu_full"] > 0 and totals["cpu_resumed"] > 0
        assert sum(r["resumed"] for r in rows.values()) == sum(bool(e["tls"]["resumed"]) for e in router.log())

        code, text, _ = tls_cache(router)
        assert code == 0
        assert f"{3 * COUNT} look-ups" in text and f"[127.0.0.1]:{rotating}" in text
        assert json.loads(tls_cache(router, "--json", "--top", "1")[1])["matching"] == 3
        assert json.loads(tls_cache(router, "--json", "127.0.0.1")[1])["matching"] == 3
        assert json.loads(tls_cache(router, "--json", "mx.elsewhere.test")[1])["destinations"] == []

        assert json.loads(tls_cache(router, "flush", "--json", "mx.elsewhere.test")[1])["flushed"] == 0
        assert json.loads(tls_cache(router, "flush", "--json")[1])["flushed"] == 3
        router.spool.drop("again", message(["a@good.test"], ident="again"))
        wait_for(lambda: len(router.log()) == 3 * COUNT + 1, "one more delivery")
        assert not router.log()[-1]["tls"]["resumed"]
        router.stop()
    code, _, words = tls_cache(router)
    assert code == EX_UNAVAILABLE and words


def test_wrong_usage_and_a_cache_that_is_off(tmp_path):
    with Sink(tmp_path / "sink") as sink:
        router = Router(tmp_path, {'destination "*"': {"next_hop": sink.next_hop}, "tls": {"session_cache": {"entries": 0}}})
        router.start()
        wait_for((tmp_path / "spool" / "control").exists, "the control socket")
        assert tls_cache(router, "--top", "0")[0] == 64
        assert tls_cache(router, "a", "b")[0] == 64
        code, _, words = tls_cache(router)
        assert code == 75 and "switched off" in words
        router.stop()


def test_each_destination_has_its_own_settings(tmp_path):
    """off keeps nothing; a cache of one destination lets the others evict each other."""
    with Sink(tmp_path / "sink", "tls=1.3", "tls=1.3", "tls=1.3") as sink:
        names = ("one", "two", "off")
        router = Router(tmp_path, {
            "workers": 1, "pickup": {"settle": "0s"},
            "tls": {"session_cache": {"entries": 1, "tickets_per_destination": 1}},
            'destination "*"': {"connections": 1, "max_deliveries": 1},
            **{f'destination "{name}.test"': {"next_hop": f"[127.0.0.1]:{port}",
                                              "tls": {"session_cache": {"enabled": name != "off"}}}
               for name, port in zip(names, sink.ports)}})
        router.start()
        for i in range(COUNT):
            for name in names:
                router.spool.drop(f"{name}{i}", message([f"a@{name}.test"], ident=f"{name}{i}"))
            wait_for(lambda: len(router.log()) == 3 * (i + 1), "all deliveries")
        totals = json.loads(tls_cache(router, "--json")[1])["totals"]
        assert totals["lookups"] == 2 * COUNT
        assert totals["lookups"] == totals["hits"] + sum(totals[k] for k in REASONS)
        assert totals["destinations"] == 1 and totals["sessions"] == 1
        assert totals["evicted"] > 0 and totals["evictions"] > totals["evicted"]
        assert totals["avoidable"] >= totals["evicted"] and totals["cpu_avoidable"] > 0
        assert 0 < totals["bytes"] < 10000
        router.stop()


def persistent(tmp_path, sink, **cache):
    return Router(tmp_path, {
        "workers": 1, "pickup": {"settle": "0s"}, "log": {"level": "debug"},
        "tls": {"session_cache": {"file": str(tmp_path / "sessions"), **cache}},
        'destination "*"': {"next_hop": sink.next_hop, "connections": 1, "max_deliveries": 1}})


def send(router, count, ident):
    for i in range(count):
        router.spool.drop(f"{ident}{i}", message(["a@x.test"], ident=f"{ident}{i}"))
    result = router.drain()
    assert result.code == 0 and len(result.events("delivered")) == count
    return sum(e["tls"]["resumed"] for e in result.events("delivered")), result.stderr


def test_a_restart_costs_no_full_handshake(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = persistent(tmp_path, sink)
        assert send(router, 5, "first")[0] == 4
        assert (tmp_path / "sessions").stat().st_mode & 0o7777 == 0o600
        resumed, words = send(router, 5, "second")
        assert resumed == 5
        assert re.search(r"TLS session cache: [1-9]\d* sessions of 1 destinations read from .*, 0 left out", words)
        # What is checked or offered is in the key: nothing that was made before is used.
        router.config["tls"]["groups"] = "P-256"
        resumed, words = send(router, 5, "third")
        assert resumed == 4
        counts = sink.stop()["total"]
        assert (counts["handshakes_full"], counts["handshakes_resumed"]) == (2, 13), counts


def test_the_file_is_written_at_intervals(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = persistent(tmp_path, sink, save_interval="1s")
        router.start()
        router.spool.drop("one", message(["a@x.test"], ident="one"))
        wait_for(lambda: "1 destinations saved to" in router.process.stderr(), "a save")
        router.kill()
        assert send(router, 3, "later")[0] == 3


def test_a_file_that_others_may_have_seen_is_not_read(tmp_path):
    path = tmp_path / "sessions"
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = persistent(tmp_path, sink)
        assert send(router, 2, "first")[0] == 1
        path.chmod(0o644)
        resumed, words = send(router, 2, "mode")
        assert resumed == 1 and "expected mode 0600" in words and "begins empty" in words
        assert path.stat().st_mode & 0o7777 == 0o600
        os.chown(path, 65534, -1)
        resumed, words = send(router, 2, "owner")
        assert resumed == 1 and "belongs to another user" in words
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        resumed, words = send(router, 2, "damaged")
        assert resumed == 1 and "is damaged" in words
        path.write_bytes(path.read_bytes()[:11] + b"\xff")
        resumed, words = send(router, 2, "version")
        assert resumed == 1 and "another version" in words
        # No folder: a warning at the end, and the mail is delivered all the same.
        router.config["tls"]["session_cache"]["file"] = str(tmp_path / "none" / "sessions")
        resumed, words = send(router, 2, "folder")
        assert resumed == 1 and "cannot be saved" in words


class Tracer(Router):
    """Without the capability to look into every process; what may not be dumped may then not be looked into."""
    PREFIX = ["setpriv", "--bounding-set", "-sys_ptrace"] if os.geteuid() == 0 else []

    def command(self, *arguments):
        return [*self.PREFIX, *super().command(*arguments)]

    def may_be_dumped(self):
        return subprocess.run([*self.PREFIX, "readlink", f"/proc/{self.process.pid}/fd/0"],
                              capture_output=True, timeout=60).returncode == 0


def test_leaves_no_core_dump_unless_it_is_allowed(tmp_path):
    for allowed in (False, True):
        router = Tracer(tmp_path / str(allowed), {"core_dumps": allowed})
        router.start()
        wait_for((router.spool.path / "control").exists, "the control socket")
        assert router.may_be_dumped() == allowed
        assert tls_cache(router)[0] == 0
        router.stop()
