"""Runs a sender and says what it cost."""
import dataclasses
import os
import pathlib
import subprocess
import threading
import time

from .trouble import WrongOutcome

SAMPLE_S = 0.05


@dataclasses.dataclass
class Spent:
    cpu_us: float  # user and system, of the process and all children that it waited for, start-up included
    wall_s: float
    rss_kb: int    # the highest resident size


def resident_kb(pid):
    """The highest so far. ru_maxrss is of no use: it begins with that of whoever forked the process."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


alive = set()


def end_all():
    """What an interrupted scenario left running; it would keep the spool's file system busy."""
    for running in list(alive):
        running.popen.kill()
        running.popen.wait()
        running.ended.set()
    alive.clear()


class Running:
    """A process whose cost is counted. Its standard output and error go to files in a folder."""

    def __init__(self, command, folder):
        self.command = [str(word) for word in command]
        self.name = pathlib.Path(self.command[0]).name
        self.output = folder / f"{self.name}.output"
        self.rss_kb = 0
        self.ended = threading.Event()
        self.started = time.monotonic()
        with open(self.output, "wb") as output:
            self.popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=subprocess.STDOUT)
        alive.add(self)
        self.pid = self.popen.pid
        self.sampler = threading.Thread(target=self._sample, daemon=True)
        self.sampler.start()

    def _sample(self):
        while not self.ended.is_set():
            self.rss_kb = max(self.rss_kb, resident_kb(self.pid))
            self.ended.wait(SAMPLE_S)

    def cpu_us(self):
        """So far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")

    def wait(self, expect=(0,)):
        try:
            _, status, usage = os.wait4(self.pid, 0)
        finally:
            self.ended.set()
        alive.discard(self)
        wall_s = time.monotonic() - self.started
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        self.sampler.join()
        if self.popen.returncode not in expect:
            words = self.output.read_text(errors="replace")[-2000:]
            raise WrongOutcome(f"{self.name} ended with {self.popen.returncode}: {words}")
        return Spent((usage.ru_utime + usage.ru_stime) * 1e6, wall_s, self.rss_kb)

    def stop(self, expect=(0,)):
        if self.popen.returncode is None:
            self.popen.terminate()
        return self.wait(expect)
