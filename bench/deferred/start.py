#!/usr/bin/env -S /usr/bin/python3 -B
"""Starts a router on a spool in which many messages wait, and measures: start to ready (the control socket
answers), start to the first delivery of new mail, the most memory it had; then what `sluice queue`, `status`
and `fsck` take.

    bench/deferred/start.py --messages 1000000 --folder /dev/shm/deferred [--cold] [--keep]

With --deliver the messages are due at once: all of them must arrive, each once; nothing is measured then.
"""
import argparse
import collections
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "e2e"))

import harness  # noqa: E402

harness.PROGRAMS["sluice-deferred-spool"] = "bench/deferred/sluice-deferred-spool"
LATER_S = 12 * 3600


def answers(path):
    """Whether a router listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
            return True
        except OSError:
            return False


def highest_rss(pid):
    """In MB, of a process that runs."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_seconds(pid):
    """User and system time of a process that runs: on a shared machine steadier than the clock."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(*arguments):
    """Seconds, MB at most, lines of output of a command, and its exit status."""
    began = time.monotonic()
    child = subprocess.Popen([harness.program("sluice"), *arguments], stdout=subprocess.PIPE)
    lines = sum(block.count(b"\n") for block in iter(lambda: child.stdout.read(1 << 20), b""))
    _, status, usage = os.wait4(child.pid, 0)
    child.stdout.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, usage.ru_maxrss * 1024 / 1e6, lines, child.returncode


def drop_caches():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")


class Bench:
    def __init__(self, folder, num):
        self.folder, self.num = folder, num
        self.spool = harness.Spool(folder / "spool")
        self.ledger = folder / "ledger"

    def make(self, due_s):
        subprocess.run([harness.program("sluice-deferred-spool"), self.spool.path, str(self.num), str(due_s)],
                       check=True)

    def router(self, sink):
        config = {"queue": {"shutdown_grace": "1s"},
                  'destination "*"': {"next_hop": sink.next_hop, "tls": {"level": "none"}}}
        return harness.Router(self.folder, config, self.spool)

    def sink(self):
        shutil.rmtree(self.folder / "sink", ignore_errors=True)  # an earlier run's port file
        return harness.Sink(self.folder / "sink", "tls=none", arguments=("--ledger", self.ledger))

    def start(self, sink):
        """One start: prints what it took."""
        router = self.router(sink)
        self.spool.drop("fresh", harness.message(["fresh@fresh.test"]))
        before = self.ledger.stat().st_size
        began = time.monotonic()
        process = router.start()
        harness.wait_for(lambda: answers(self.spool.path / "control"), "the router to be ready", 600)
        ready, cpu = time.monotonic() - began, cpu_seconds(process.pid)
        harness.wait_for(lambda: self.ledger.stat().st_size > before, "the first delivery", 600)
        first = time.monotonic() - began
        print(f"ready {ready:.2f} s ({cpu:.2f} s of CPU), first delivery {first:.2f} s, at most {highest_rss(process.pid):.0f} MB",
              flush=True)
        return router

    def commands(self, router):
        for words in (["status"], ["queue"], ["queue", "--json"], ["fsck"]):
            seconds, most, lines, code = measured(*words, "-c", str(router.config_path))
            print(f"sluice {' '.join(words)}: {seconds:.2f} s, at most {most:.0f} MB, {lines} lines, exit {code}",
                  flush=True)

    def deliver(self, sink):
        """Every one of them once."""
        result = self.router(sink).drain("--until-empty", timeout=500)
        words = (line.split(" ") for line in self.ledger.read_text().splitlines())
        served = collections.Counter(word for line in words if line[0] == "dot" for word in line[4:])
        wanted = {f"r{number}@d{number % 100}.test" for number in range(self.num)}
        assert result.code == harness.EX_OK, (result.code, result.stderr[-4000:])
        assert set(served) == wanted, (len(served), sorted(set(served) ^ wanted)[:5])
        assert max(served.values()) == 1, served.most_common(5)
        assert self.spool.is_empty(), self.spool.files()[:5]
        print(f"{len(served)} messages were found and delivered once each")


def run(bench, options):
    if not (bench.spool.path / "journal").exists():
        bench.make(0 if options.deliver else LATER_S)
    with bench.sink() as sink:
        if options.deliver:
            bench.deliver(sink)
            return
        if options.cold:
            drop_caches()
        router = bench.start(sink)
        if options.commands:
            bench.commands(router)
        router.stop()
        if options.commands:
            bench.commands(router)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1000000)
    parser.add_argument("--folder", help="on the disk in question; a spool that is there is used as it is")
    parser.add_argument("--cold", action="store_true", help="drop the kernel's caches first (root)")
    parser.add_argument("--commands", action="store_true", help="measure queue, status and fsck, too")
    parser.add_argument("--keep", action="store_true", help="leave the spool for another run")
    parser.add_argument("--deliver", action="store_true", help="deliver all and count, without measuring")
    options = parser.parse_args()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # only the outcome is looked at there
    folder = pathlib.Path(options.folder or tempfile.mkdtemp(prefix="sluice-deferred-", dir=memory))
    bench = Bench(folder, options.messages)
    run(bench, options)
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
