"""Journal against files: what a start makes of a restored spool, and what `sluice fsck` explains."""
import shutil

import pytest

from harness import EX_OK, EX_TEMPFAIL, Router, Sink, Spool, message

AT_ONCE = {"minimum": "1s", "maximum": "1s", "jitter_percent": 0}


def to_sink(sink):
    return {"pickup": {"settle": "0s"}, "retry": AT_ONCE, 'destination "*"': {"next_hop": sink.next_hop}}


def deferred_spool(folder, recipients=("a@d.test", "b@d.test")):
    """One deferred message: a@d.test has it, b@d.test waits."""
    with Sink(folder / "first", "defer=b@d.test") as sink:
        router = Router(folder, to_sink(sink))
        router.spool.drop("m", message(recipients, ident="m"))
        assert router.drain().code == EX_TEMPFAIL
        assert len(sink.messages()) == 1
    return router


@pytest.mark.parametrize("keeps_times, copies", [(True, ["b"]), (False, ["a", "b"])])
def test_a_restored_backup_is_delivered(tmp_path, keeps_times, copies):
    """Same names, new inodes: nothing is cancelled. With the times kept it is known who has it; without
    them everybody gets it, perhaps again."""
    old = deferred_spool(tmp_path / "old")
    restored = tmp_path / "restored"
    shutil.copytree(old.spool.path, restored, copy_function=shutil.copy2 if keeps_times else shutil.copy)
    with Sink(tmp_path / "second") as sink:
        router = Router(tmp_path / "new", to_sink(sink), spool=Spool(restored))
        result = router.drain("--until-empty")
        assert result.code == EX_OK, result.stderr
        assert sorted(e["recipient"][0] for e in result.events("delivered")) == copies
        assert router.spool.is_empty()
    words = "a copy of the file" if keeps_times else "not the file that was recorded"
    assert words in result.stderr
