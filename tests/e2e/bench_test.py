"""sluice-bench: its results, its page in a real browser, and that a wrong outcome is one.

The scenarios themselves are ctest's suite/*, in their short form."""
import json
import os
import re
import shutil
import struct
import subprocess
import zlib

import pytest

from harness import BUILD, ROOT, unavailable, wait_for

BENCH = ROOT / "bench/sluice-bench"


def bench(*arguments, expect=0):
    done = subprocess.run([BENCH, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    words = bench("run", "tls-1", "latency", "--short", "--spool-on", "tmpfs", "--build", BUILD, "--out", folder)
    return folder, words


def test_a_run_says_where_and_what(measured):
    folder, words = measured
    result = json.loads((folder / "result.json").read_text())
    assert "spool on tmpfs" in words and "ratio to limit" in words
    assert result["machine"]["spool_on"].startswith("tmpfs")
    assert any("BoringSSL" in line for line in result["machine"]["versions"])
    assert {"cpu", "cores", "kernel", "system", "build"} <= result["machine"].keys()
    tls, latency = result["scenarios"]
    rows = {row["sender"]: row for row in tls["rows"]}
    assert list(rows) == ["sluice", "limit", "limit, pipelined", "limit, no unlink"]
    assert all(row["ratio"] > 0 and row["duplicates"] == 0 for row in rows.values())
    assert (rows["sluice"]["connections"], rows["sluice"]["handshakes_full"]) == (1, 1)
    assert rows["sluice"]["rss_kb"] > 0
    assert latency["rows"][0]["latency_ms"]["50"] > 0


def test_compare_puts_two_results_side_by_side(measured):
    file = measured[0] / "result.json"
    assert re.search(r"tls-1 +ratio to limit +\S+ +\S+ +\+0\.0 %", bench("compare", file, file))


def test_the_table_in_markdown_comes_from_the_result_alone(measured, tmp_path):
    for name in ("one.md", "two.md"):
        bench("report", measured[0] / "result.json", "--markdown", tmp_path / name)
    text = (tmp_path / "one.md").read_text()
    assert text == (tmp_path / "two.md").read_text()
    assert "### tls-1" in text and "| sluice |" in text and "not edited by hand" in text


def pixels(png):
    """The distinct rows of an image: one of a blank page has one."""
    data, at, packed = png.read_bytes(), 8, b""
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + length] if name == b"IDAT" else b""
        at += length + 12
    line = width * {2: 3, 6: 4}[kind] * depth // 8 + 1
    raw = zlib.decompress(packed)
    return {raw[i * line:(i + 1) * line] for i in range(height)}


def test_the_page_shows_tables_and_plots_in_a_browser(measured, tmp_path):
    browser = shutil.which("chromium")
    if not browser:
        unavailable("chromium is not installed")
    page, picture = measured[0] / "report.html", tmp_path / "page.png"
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page.read_text()), "the page needs something from elsewhere"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={tmp_path}/profile", f"--screenshot={picture}", "--window-size=1000,1600"]
    subprocess.run([*command, page.as_uri()], check=True, timeout=120, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    assert len(pixels(picture)) > 50
    shown = subprocess.run([*command[:-2], "--dump-dom", page.as_uri()], check=True, timeout=120, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    assert shown.count("<table") == 4 and shown.count("<svg") == 3
    for words in ("tls-1", "limit, no unlink", "spool on", "ratio to limit"):
        assert words in shown


def test_loss_is_no_result(tmp_path):
    """A sender that says it sent all and sent nothing."""
    liar = tmp_path / "bench/limit/sluice-limit"
    for name in ("router/sluice", "bench/sink/sluice-sink", "bench/dns/sluice-dns"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(BUILD / name)
    liar.parent.mkdir(parents=True)
    liar.write_text("#!/bin/sh\nexit 0\n")
    liar.chmod(0o755)
    words = bench("run", "plain-1", "--short", "--spool-on", "tmpfs", "--build", tmp_path, expect=1)
    assert "0 of 300 messages arrived" in words


def test_an_ended_run_leaves_nothing_behind(tmp_path):
    result, temporary = tmp_path / "result.json", tmp_path / "tmp"
    temporary.mkdir()
    run = subprocess.Popen([BENCH, "run", "latency", "plain-1", "--short", "--messages", "20000", "--spool-on", "tmpfs",
                            "--build", BUILD, "--json", result], env={**os.environ, "TMPDIR": str(temporary)},
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any(temporary.glob("*/job/delivery.log")), "a router", 60)
    run.terminate()
    assert run.wait(60) == 130
    assert not any(temporary.iterdir()) and not result.exists()


def test_what_cannot_be_measured_is_refused(tmp_path):
    bench("run", "no-such", expect=2)
    assert "nor built" in bench("run", "plain-1", "--build", tmp_path, expect=69)
    (tmp_path / "x.json").write_text("{}")
    assert "no result" in bench("report", tmp_path / "x.json", "--markdown", tmp_path / "x.md", expect=69)
