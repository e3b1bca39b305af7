"""A start with a journal that does not fit the files: the rows of docs/journal.md's table, each with what is sent
and what is said. Restored backups and files that were replaced or went are in fsck_test.py and spool_test.py."""
import os
import shutil
import struct

import pytest

from harness import EX_OK, EX_TEMPFAIL, Router, Sink, message, wait_for

HEAD_LEN = 64
KIND_INTENT = 1
UNKNOWN = "the journal does not know it"


def run_against(router, folder, personality="", *, until_empty=True):
    """One run against a sink of its own: the result and the recipients that got mail, as 'a.m' for a@m.test."""
    with Sink(folder, personality) as sink:
        router.config['destination "*"'] = {"next_hop": sink.next_hop, "connections": 1}
        result = router.drain("--until-empty" if until_empty else "--drain")
    assert result.code == (EX_OK if until_empty else EX_TEMPFAIL), result.stderr
    return result, sorted(e["recipient"].removesuffix(".test").replace("@", ".") for e in result.events("delivered"))


def waiting_spool(folder, *names):
    """Of each message name, a@name.test has its copy, b@name.test and c@name.test wait."""
    router = Router(folder, {"pickup": {"settle": "0s"}, "queue": {"in_doubt": "retry"},
                             "retry": {"minimum": "1s", "maximum": "1s", "jitter_percent": 0}})
    for name in names:
        router.spool.drop(name, message([f"{who}@{name}.test" for who in "abc"], ident=name))
    deferred = ",".join(f"defer={who}@{name}.test" for name in names for who in "bc")
    _, got = run_against(router, folder / "first", deferred, until_empty=False)
    assert got == sorted(f"a.{name}" for name in names)
    return router


def newest_segment(router):
    """(path, its octets, [(offset, length, id, kind)]) of the segment with the highest sequence number."""
    def seq(path):
        return struct.unpack_from("<Q", path.read_bytes(), 8)[0]
    path = max((router.spool.path / "journal").glob("*.segment"), key=seq)
    data, records, at = bytearray(path.read_bytes()), [], HEAD_LEN
    (salt,) = struct.unpack_from("<Q", data, 16)
    while at < len(data) - HEAD_LEN:
        length, tag, _, ident, _, kind = struct.unpack_from("<IIQQQB", data, at)
        if tag != salt >> 32:
            break
        records.append((at, length, ident, kind))
        at += length
    assert records
    return path, data, records


def test_a_torn_tail_never_was_and_is_not_worth_a_word(tmp_path):
    router = waiting_spool(tmp_path, "m")
    path, data, records = newest_segment(router)
    at, length, _, _ = records[-1]
    data[at + length // 2:at + length] = bytes(length - length // 2)
    path.write_bytes(data)
    result, got = run_against(router, tmp_path / "second")
    assert got == ["b.m", "c.m"]
    assert router.spool.is_empty()
    assert "journal" not in result.stderr, result.stderr


def test_damage_between_records_leaves_what_it_hit_in_doubt(tmp_path):
    router = waiting_spool(tmp_path, "m", "n")
    path, data, records = newest_segment(router)
    last = records[-1][2]
    (hit,) = {ident for _, _, ident, _ in records} - {last}
    for at, length, ident, kind in records:
        if ident == hit and kind != KIND_INTENT:
            data[at + length // 2] ^= 0xFF
    path.write_bytes(data)
    result, got = run_against(router, tmp_path / "second")
    assert [name[0] for name in got] == ["a", "b", "b", "c", "c"]
    assert router.spool.is_empty()
    assert "damaged places passed over" in result.stderr


def test_a_segment_without_a_head_is_kept_aside_and_its_mail_tried_again(tmp_path):
    router = waiting_spool(tmp_path, "m")
    for path in (router.spool.path / "journal").glob("*.segment"):
        data = path.read_bytes()
        if any(data[:HEAD_LEN]):
            junk = b"x" * HEAD_LEN
            path.write_bytes(junk + data[HEAD_LEN:-HEAD_LEN] + junk)
    result, got = run_against(router, tmp_path / "second")
    assert got == ["a.m", "b.m", "c.m"]
    assert router.spool.is_empty()
    assert "both heads of" in result.stderr and UNKNOWN in result.stderr
    assert list((router.spool.path / "journal").glob("*.damaged"))


def test_a_journal_older_than_the_files(tmp_path):
    """Since it was saved b@m.test got its copy, n left, and o came."""
    router = waiting_spool(tmp_path, "m", "n")
    journal, saved = router.spool.path / "journal", tmp_path / "saved"
    before = set(router.spool.files("deferred"))
    shutil.copytree(journal, saved)
    router.spool.drop("o", message(["a@o.test", "b@o.test"], ident="o"))
    with Sink(tmp_path / "between", "defer=c@m.test,defer=b@o.test") as sink:
        router.config['destination "*"']["next_hop"] = sink.next_hop
        router.start()
        wait_for(lambda: len(set(router.spool.files("deferred")) - before) == 1
                 and len(router.spool.files("new", "deferred")) == 2
                 and [e["recipient"] for e in router.log() if e["event"] == "delivered"].count("b@m.test"),
                 "m to be delivered to b, n to leave, o to be deferred")
        router.stop()
    files = set(router.spool.files("deferred"))
    shutil.rmtree(journal)
    shutil.copytree(saved, journal)
    result, got = run_against(router, tmp_path / "second")
    assert got == ["a.o", "b.m", "b.o", "c.m"]
    assert router.spool.is_empty()
    unknown = [line for line in result.stderr.splitlines() if UNKNOWN in line]
    (new,) = files - before
    assert len(unknown) == 1 and new in unknown[0]
    (gone,) = before - files
    assert gone in result.stderr and result.stderr.count("is gone, so its delivery is cancelled") == 1


@pytest.mark.parametrize("folder, copies", [("deferred", 3), ("hold", 0), ("new", 3)])
def test_files_older_than_the_journal(tmp_path, folder, copies):
    """A file comes back that the journal saw leave."""
    router = waiting_spool(tmp_path, "m")
    (name,) = router.spool.files("deferred")
    path = router.spool.path / name
    shutil.copy2(path, tmp_path / "saved")
    _, got = run_against(router, tmp_path / "second")
    assert got == ["b.m", "c.m"] and router.spool.is_empty()
    back = path if folder == "deferred" else router.spool.path / folder / path.name
    shutil.copy2(tmp_path / "saved", tmp_path / "spool" / "tmp" / "back")
    os.rename(tmp_path / "spool" / "tmp" / "back", back)
    with Sink(tmp_path / "third") as sink:
        router.config['destination "*"']["next_hop"] = sink.next_hop
        result = router.drain("--until-empty")
    assert len(result.events("delivered")) == copies
    assert (UNKNOWN in result.stderr) == (folder != "new")
    assert router.spool.files() == ([f"hold/{path.name}"] if folder == "hold" else [])
