"""Whole runs of the router under valgrind's memcheck: plain and over TLS, with a deferral, a bounce and a restart."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))

from harness import BUILD, EX_OK, EX_TEMPFAIL, Router, Sink, message  # noqa: E402

END = 300.0  # seconds; memcheck is slow


class CheckedRouter(Router):
    def command(self, *arguments):
        _, *rest = super().command(*arguments)
        return [HERE / "memcheck.sh", BUILD / "tests" / "valgrind" / "sluice_libc_malloc", *rest]


@pytest.mark.parametrize("tls", ["none", "1.3"])
def test_a_run_and_a_restart_are_clean(tmp_path, tls):
    with Sink(tmp_path / "sink", f"tls={tls},defer=later@d.test,reject=no@d.test") as sink:
        router = CheckedRouter(tmp_path, {
            "pickup": {"settle": "0s"}, "retry": {"minimum": "1s", "maximum": "1s", "jitter_percent": 0},
            'destination "*"': {"next_hop": sink.next_hop, "max_deliveries": 2}})
        for i in range(5):
            router.spool.drop(f"m{i}", message([f"u{i}@d.test"], ident=f"m{i}"))
        router.spool.drop("mixed", message(["ok@d.test", "later@d.test", "no@d.test"], b"x" * 100000, ident="mixed"))
        router.spool.drop("nobody", b"Subject: no envelope\r\n\r\n")
        first = router.drain(timeout=END)
        assert first.code == EX_TEMPFAIL, first.stderr
        assert "==" not in first.stderr, first.stderr
    with Sink(tmp_path / "second", f"tls={tls}") as sink:
        router.config['destination "*"']["next_hop"] = sink.next_hop
        second = router.drain("--until-empty", timeout=END)
        assert second.code == EX_OK, second.stderr
        assert "==" not in second.stderr, second.stderr
        assert router.spool.files("new", "deferred", "hold") == []
    delivered = {e["tls"] is not None for e in (*first.events("delivered"), *second.events("delivered"))}
    assert delivered == {tls != "none"}
