"""Journal against files: what a start makes of a restored spool, and what `sluice fsck` explains."""
import json
import os
import shutil
import socket
import subprocess

import pytest

from harness import BUILD, EX_OK, EX_TEMPFAIL, PATIENCE, Router, Sink, Spool, message, program, wait_for

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


@pytest.mark.parametrize("operations", [(), ("retry",), ("hold", "release")])
def test_a_file_that_was_written_anew_in_place_is_tried_in_full(tmp_path, operations):
    """The inode number is the recorded one, the content is not: a start and the operations on a spool without
    a router must see that before they believe what is known of its recipients."""
    router = deferred_spool(tmp_path)
    (path,) = router.spool.files("deferred")
    (router.spool.path / path).write_bytes(message(["a@d.test", "b@d.test"], ident="other", body=b"Other.\r\n"))
    for operation in operations:
        subprocess.run([program("sluice"), "queue", operation, "-c", str(router.config_path), path.rsplit("/")[-1]],
                       check=True, timeout=60 * PATIENCE)
    with Sink(tmp_path / "second") as sink:
        router.config['destination "*"']["next_hop"] = sink.next_hop
        result = router.drain("--until-empty")
        assert sorted(e["recipient"][0] for e in result.events("delivered")) == ["a", "b"]
        assert router.spool.is_empty()
    assert operations or "not the file that was recorded" in result.stderr


def fsck(router, *options):
    """(exit code, {(kind, path without ids): state}, stderr)"""
    done = subprocess.run([program("sluice"), "fsck", "-c", str(router.config_path), "--json", *options],
                          capture_output=True, text=True, timeout=60 * PATIENCE)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(row["what"] and row["why"] for row in rows)
    return done.returncode, {(row["kind"], row["path"]): row["state"] for row in rows}, done.stderr


def listing(root):
    return {path: path.lstat().st_mtime_ns for path in root.rglob("*")}


def test_nothing_to_say_of_a_sound_spool(tmp_path):
    router = deferred_spool(tmp_path)
    router.spool.drop("waiting", message(["c@d.test"], ident="n"))
    before = listing(router.spool.path)
    assert fsck(router)[:2] == (EX_OK, {})
    assert listing(router.spool.path) == before
    assert fsck(router, "--repair")[:2] == (EX_OK, {})


def test_every_difference_is_explained_and_repaired(tmp_path):
    router = deferred_spool(tmp_path)
    root = router.spool.path
    (known,) = router.spool.files("deferred")
    ident = known.rsplit("/")[-1]
    mail = {name: message([f"{name}@d.test"], ident=name) for name in ("orphan", "held", "twice", "noid")}
    orphan = "deferred/bc/0123456789abc"
    (root / "deferred/bc").mkdir(exist_ok=True)
    (root / orphan).write_bytes(mail["orphan"])
    (root / "hold/0123456789abd").write_bytes(mail["held"])
    (root / "hold" / ident).write_bytes(mail["twice"])
    (root / "deferred/bc/no-id").write_bytes(mail["noid"])
    (root / "bad/x").write_text("x")
    (root / "bad/y.why").write_text("why\n")
    (root / "tmp/old").write_text("half")
    os.utime(root / "tmp/old", (1, 1))
    (root / "journal/0000000a.segment.damaged").write_text("?")
    os.chmod(root / "deferred", 0o777)
    with socket.socket(socket.AF_UNIX) as control:
        folder = os.open(root, os.O_PATH)
        control.bind(f"/proc/self/fd/{folder}/control")
        os.close(folder)
    repairable = {("unknown-file", orphan), ("unknown-held", "hold/0123456789abd"),
                  ("known-twice", f"hold/{ident}"), ("no-id", "deferred/bc/no-id"), ("bad-without-why", "bad/x"),
                  ("control-left", "control"), ("folder-open", "deferred")}
    left = {("why-without-file", "bad/y.why"), ("old-in-tmp", "tmp/old"),
            ("segment-set-aside", "journal/0000000a.segment.damaged")}
    before = listing(root)
    code, rows, _ = fsck(router)
    assert code == 1
    assert rows == {**dict.fromkeys(repairable, "repairable"), **dict.fromkeys(left, "left")}
    assert listing(root) == before
    code, rows, err = fsck(router, "--repair")
    assert code == 1
    assert rows == {**dict.fromkeys(repairable, "repaired"), **dict.fromkeys(left, "left")}, err
    assert fsck(router)[:2] == (1, dict.fromkeys(left, "left"))
    with Sink(tmp_path / "second") as sink:
        router.config['destination "*"']["next_hop"] = sink.next_hop
        result = router.drain("--until-empty")
        assert sorted(e["recipient"][0] for e in result.events("delivered")) == ["b", "n", "o"]
    held = [path.read_bytes() for path in (root / "hold").iterdir()]
    assert sorted(held) == sorted([mail["held"], mail["twice"]])


@pytest.mark.parametrize("change, kind", [("remove", "missing-file"), ("copy", "copy"), ("write", "other-file"),
                                          ("hold", "wrong-folder"), ("new", "wrong-folder")])
def test_what_became_of_a_recorded_file(tmp_path, change, kind):
    router = deferred_spool(tmp_path)
    (known,) = router.spool.files("deferred")
    path = router.spool.path / known
    if change == "copy":
        shutil.copy2(path, path.with_name("c.tmp"))
        os.rename(path.with_name("c.tmp"), path)
    elif change == "write":
        path.write_bytes(message(["a@d.test", "b@d.test"], ident="other", body=b"Other.\r\n"))
    elif change == "remove":
        path.unlink()
    else:
        known = f"{change}/{path.name}"
        os.rename(path, router.spool.path / known)
    assert fsck(router)[:2] == (1, {(kind, known): "repairable"})
    assert fsck(router, "--repair")[:2] == (EX_OK, {(kind, known): "repaired"})
    assert fsck(router)[:2] == (EX_OK, {})
    with Sink(tmp_path / "second") as sink:
        router.config['destination "*"']["next_hop"] = sink.next_hop
        result = router.drain("--until-empty")
        assert sorted(e["recipient"][0] for e in result.events("delivered")) == {
            "remove": [], "write": ["a", "b"]}.get(change, ["b"])
        assert router.spool.is_empty()


def test_what_was_finished_just_before_a_crash_is_forgotten(tmp_path):
    """Killed between the unlink and its record."""
    with Sink(tmp_path / "sink") as sink:
        router = Router(tmp_path, to_sink(sink))
        router.spool.drop("m", message(["a@d.test"], ident="m"))
        process = router.start("--drain", env={"LD_PRELOAD": str(BUILD / "tests" / "liborder_shim.so"),
                                               "ORDER_KILL_AFTER": "m"})
        process.wait()
        assert len(sink.messages()) == 1
    left = [("missing-file", "new/m"), ("control-left", "control")]
    assert fsck(router)[:2] == (1, dict.fromkeys(left, "repairable"))
    assert fsck(router, "--repair")[:2] == (EX_OK, dict.fromkeys(left, "repaired"))
    assert fsck(router)[:2] == (EX_OK, {})


def test_beside_a_running_router_it_only_reads(tmp_path):
    router = Router(tmp_path)
    router.start()
    wait_for(lambda: (router.spool.path / "control").exists(), "the router")
    (router.spool.path / "bad/x").write_text("x")
    code, rows, err = fsck(router)
    assert (code, rows) == (1, {("bad-without-why", "bad/x"): "repairable"}) and "a router runs" in err
    assert fsck(router, "--repair")[:2] == (EX_TEMPFAIL, rows)
    assert not (router.spool.path / "bad/x.why").exists()
    router.stop()


def test_missing_folders_and_no_spool(tmp_path):
    router = deferred_spool(tmp_path)
    shutil.rmtree(router.spool.path / "hold")
    assert fsck(router)[:2] == (1, {("folder-missing", "hold"): "repairable"})
    assert fsck(router, "--repair")[:2] == (EX_OK, {("folder-missing", "hold"): "repaired"})
    assert fsck(router)[:2] == (EX_OK, {})
    shutil.rmtree(router.spool.path / "journal")
    (known,) = router.spool.files("deferred")
    assert fsck(router)[:2] == (1, {("folder-missing", "journal"): "repairable"})
    assert fsck(router, "--repair")[:2] == (EX_OK, {("folder-missing", "journal"): "repaired",
                                                    ("unknown-file", known): "repaired"})
    shutil.rmtree(router.spool.path)
    assert fsck(router)[:2] == (66, {})
    assert not router.spool.path.exists()
