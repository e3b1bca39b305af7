"""sluice-sink and sluice-dns: the world that a sender sees. Hosts are 127.0.1.1 and following, port 25."""
import json
import os
import signal
import subprocess
import time

from .trouble import Unusable, WrongOutcome

DNS_ADDRESS = "127.0.0.1:53"


def wait_for(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Unusable(f"waited in vain for {what}")
        time.sleep(0.005)


class Program:
    """Ends with the block."""

    def __init__(self, command, ready, what):
        ready.unlink(missing_ok=True)
        self.popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: ready.exists() or self.popen.poll() is not None, what)
            if self.popen.poll() is not None:
                raise Unusable(f"{what} does not start")
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
        self.popen.wait()


class Sink(Program):
    """The hosts, all alike; or listeners of the given specs."""

    def __init__(self, ground, hosts=0, tls="none", personality="", ledger=None, specs=(), more=()):
        self.stats_file, self.ledger = ground.folder / "sink.stats", ledger
        self.stats_file.unlink(missing_ok=True)
        ready = ground.folder / "sink.ports"
        command = [ground.need("sluice-sink"), "--stats", self.stats_file, "--port-file", ready, *more]
        for spec in specs or [f"127.0.1.{i}:25,name=mx{i}.bench.test,tls={tls}{personality}" for i in range(1, hosts + 1)]:
            command += ["--listen", spec]
        if ledger:
            ledger.unlink(missing_ok=True)
            command += ["--ledger", ledger, "--ledger-times"]
        super().__init__(command, ready, "sluice-sink")

    def total(self):
        """The counters so far; None while there are none."""
        try:
            os.kill(self.popen.pid, signal.SIGUSR1)
            return json.loads(self.stats_file.read_text())["total"]
        except (OSError, ValueError):
            return None

    def final(self):
        self.stop()
        return json.loads(self.stats_file.read_text())["total"]

    def replies(self):
        """Times of the replies to final dots, microseconds of the monotonic clock, in order."""
        try:
            lines = self.ledger.read_text().splitlines()
        except OSError:
            return []
        return [int(line.split()[2]) for line in lines if line.startswith("reply ")]


class Dns(Program):
    """dK.test for K below domains goes to host K mod hosts + 1; *.wN.test goes to host N; and more lines of a zone."""

    def __init__(self, ground, hosts, domains, more=()):
        ready, zone = ground.folder / "dns.port", ground.folder / "zone"
        lines = [f"*.w{i}.test MX 3600 10 mx{i}.bench.test\nmx{i}.bench.test A 3600 127.0.1.{i}\n"
                 for i in range(1, hosts + 1)]
        zone.write_text("".join(lines) + "".join(f"{line}\n" for line in more))
        super().__init__([ground.need("sluice-dns"), "--listen", DNS_ADDRESS, "--zone", zone, "--domains", domains,
                          "--hosts", hosts, "--port-file", ready], ready, "sluice-dns")


def check(total, expected, what):
    if total["messages"] != expected or total["duplicates"]:
        raise WrongOutcome(f"{what}: {total['messages']} of {expected} messages arrived, "
                           f"{total['duplicates']} duplicates")
