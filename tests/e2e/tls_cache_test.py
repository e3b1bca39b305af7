"""`sluice tls-cache` against receivers whose tickets behave in different ways."""
import json
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
