"""What a mail server of several daemons spent: all processes that it started, also those that are gone.

A control group (version 2) counts exactly, whatever a daemon does to its children; it needs a writable cgroup
file system. Elsewhere reaper.py adopts all that the server starts and sums what wait4(2) says of each."""
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

from .trouble import WrongOutcome

REAPER = pathlib.Path(__file__).parent / "reaper.py"
END_S = 60
number = itertools.count(1)


def find_cgroup():
    """The folder of our own group in the version 2 hierarchy; None: there is none that we may write to."""
    try:
        mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        mount = next(words[1] for words in mounts if words[2] == "cgroup2")
        own = next(line[3:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()
                   if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    folder = pathlib.Path(mount) / own.lstrip("/")
    return folder if os.access(folder, os.W_OK) and (folder / "cpu.stat").exists() else None


def group_of_daemons(folder):
    """Where a server is to be started; its processes' output goes to a file in the folder."""
    parent = find_cgroup()
    if parent:
        try:
            return ControlGroup(folder, parent)
        except OSError:
            pass  # mounted read-only, as in most containers
    return Adopted(folder)


class Group:
    """start() any number of commands; stop() ends them and all that came of them; then cpu_us()."""

    def __init__(self, folder):
        self.output = folder / "daemons.output"
        self.popens = []

    def _spawn(self, command, **more):
        with open(self.output, "ab") as output:
            popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output,
                                     stderr=subprocess.STDOUT, **more)
        self.popens.append(popen)

    def commands_running(self):
        return sum(popen.poll() is None for popen in self.popens)

    def stop(self):
        for popen in self.popens:
            if popen.poll() is None:
                popen.terminate()
        deadline = time.monotonic() + END_S
        while self._is_alive():
            if time.monotonic() > deadline:
                raise WrongOutcome(f"the server does not end: {self.words()}")
            time.sleep(0.01)

    def words(self):
        """The end of what the commands printed."""
        return self.output.read_text(errors="replace")[-2000:] if self.output.exists() else ""


class ControlGroup(Group):
    def __init__(self, folder, parent):
        super().__init__(folder)
        self.folder = parent / f"sluice-bench.{os.getpid()}.{next(number)}"
        self.folder.mkdir()

    def start(self, command):
        def enter():
            (self.folder / "cgroup.procs").write_text("0")
        self._spawn(command, preexec_fn=enter)

    def _members(self):
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]

    def _is_alive(self):
        return self.commands_running() > 0 or bool(self._members())

    def cpu_us(self):
        for line in (self.folder / "cpu.stat").read_text().splitlines():
            name, value = line.split()
            if name == "usage_usec":
                return float(value)
        raise WrongOutcome("cpu.stat has no usage_usec")

    def close(self):
        """Nothing of it runs any more, also when it was not stopped."""
        while self._is_alive():
            for pid in self._members():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        self.folder.rmdir()


class Adopted(Group):
    def start(self, command):
        spent = self.output.with_suffix(f".{len(self.popens)}.us")
        self._spawn([sys.executable, REAPER, spent, *command])

    def _is_alive(self):
        return self.commands_running() > 0

    def cpu_us(self):
        return sum(float(path.read_text()) for path in self.output.parent.glob(f"{self.output.stem}.*.us"))

    def close(self):
        for popen in self.popens:
            if popen.poll() is None:
                popen.kill()  # all that it adopted goes with it
                popen.wait()
