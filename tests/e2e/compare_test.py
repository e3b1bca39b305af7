"""sluice-bench compare: Postfix, Exim and OpenSMTPD as senders beside sluice, all in the suite's own network.
Their roots are installed by ctest's e2e/roots. Outcomes only: each message arrived once, over connections and TLS as
the scenario wants. Few messages, because Exim needs several processes for each."""
import json
import os
import subprocess
import sys

import pytest

from harness import BUILD, ROOT, wait_for

sys.path.insert(0, str(ROOT / "bench"))
from suite import accounting  # noqa: E402

MESSAGES = 20
BENCH = ROOT / "bench/sluice-bench"


def compare(tmp_path, *scenarios):
    file = tmp_path / "result.json"
    done = subprocess.run([BENCH, "compare", *scenarios, "--messages", str(MESSAGES), "--short", "--spool-on", "tmpfs",
                           "--build", BUILD, "--json", file], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout, {one["scenario"]: one for one in json.loads(file.read_text())["scenarios"]}


def test_all_senders_deliver_the_same_mail_once(tmp_path):
    words, results = compare(tmp_path, "plain-1", "tls-conn")
    plain = {row["sender"]: row for row in results["plain-1"]["rows"]}
    conn = {row["sender"]: row for row in results["tls-conn"]["rows"]}
    assert {"sluice", "limit", "Postfix", "Exim", "OpenSMTPD"} <= plain.keys()
    assert all(row["duplicates"] == 0 and row["cpu_us_median"] > 0 for row in plain.values())
    assert all(plain[name]["connections"] == 1 for name in ("Postfix", "Exim", "OpenSMTPD")), plain
    for name, resumed in (("Postfix", True), ("Postfix, no cache", False), ("Exim", True), ("Exim, no cache", False),
                          ("OpenSMTPD", False)):
        row = conn[name]
        assert (row["connections"], row["handshakes_full"] + row["handshakes_resumed"]) == (MESSAGES, MESSAGES), name
        assert (row["handshakes_resumed"] >= MESSAGES - 2) if resumed else not row["handshakes_resumed"], name
    assert plain["Postfix"]["ratio_to_sluice"] > 0 and "sluice over Postfix" in results["plain-1"]["figures"]
    assert "Postfix, cache on over off" in results["tls-conn"]["figures"]
    assert "Exim" in words and "to sluice" in words


BURN = "import time\nwhile time.process_time() < 0.2: pass"


@pytest.mark.parametrize("kind", [accounting.group_of_daemons, accounting.Adopted])
def test_cpu_of_an_orphan_counts(tmp_path, kind):
    """Its parent is gone before it is: nobody in the group waits for it."""
    group, done = kind(tmp_path), tmp_path / "done"
    try:
        group.start(["sh", "-c", f"(('{sys.executable}' -c '{BURN}'; touch '{done}') &); exec sleep 1000"])
        wait_for(done.exists, "the orphan")
        group.stop()
        assert group.commands_running() == 0
        assert group.cpu_us() >= 0.2e6
    finally:
        group.close()
