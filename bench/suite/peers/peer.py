"""What all peers have in common: a private root, a queue on the suite's file system, and accounting.

Debian's mail servers exclude one another, so each lives in a root of its own that roots.sh mounts (the same as
for the end-to-end tests): it finds the server's files as Debian installed them, our network and our DNS.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import time

from .. import accounting
from ..process import Running, Spent
from ..receiver import wait_for
from ..senders import Sender, configure
from ..trouble import Unusable, WrongOutcome

CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}  # inside the roots
INTAKE = ("127.0.0.1", 2500)  # where a server takes its mail before the measurement
LOOK_S = 0.02
QUIET_S = 60  # a sender whose queue stays the same for so long has given up


class Peer(Sender):
    """Subclasses say how they are configured and run; the rest is here."""
    root_name = None     # of roots.sh; None: needs none
    queue_inside = None  # where the server has its queue, seen in its root
    title = None
    measured = ("plain-1", "plain-100", "tls-1", "tls-100", "tls-conn", "big")

    def __init__(self, cache=True):
        self.cache = cache
        self.name = self.title + ("" if cache else ", no cache")
        self.ready = None  # the ground whose mounts are made

    def takes_part(self, scenario):
        """The TLS cache is switched off only where each message needs a connection of its own."""
        return scenario.name in self.measured and (self.cache or scenario.per_connection)

    def unavailable(self, ground):
        if "SLUICE_E2E_ROOTS" not in os.environ:
            return "no private root is mounted, see docs/bench.md"
        return None if self.root.is_dir() else f"{self.root} is not mounted"

    @property
    def root(self):
        return pathlib.Path(os.environ["SLUICE_E2E_ROOTS"]) / self.root_name / "m"

    # For subclasses.

    def intake_command(self, job):
        """Configures the server to take mail at INTAKE and to send nothing."""
        raise NotImplementedError

    def sending_command(self, job):
        """Configures the server to send what is in the queue, and nothing else."""
        raise NotImplementedError

    def waiting(self, queue):
        """How many messages, or anything else that changes with them, are in the queue; 0: none."""
        raise NotImplementedError

    def lay_out(self, queue):
        """Folders that the server expects in a new queue."""

    def in_root(self, *command):
        return ["env", "-i", *(f"{name}={value}" for name, value in CLEAN.items()), "chroot", self.root, *command]

    def run(self, *command):
        done = subprocess.run([str(word) for word in self.in_root(*command)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise Unusable(f"{self.name}: {' '.join(map(str, command))}: {done.stdout.strip()}")

    # What the suite calls.

    def prepare(self, job):
        """Lets sluice hand the messages to the server over SMTP, which keeps them."""
        queue = self.mount_queue(job)
        self.lay_out(queue)
        group = accounting.Adopted(job.folder)  # to move a process into a control group can take seconds
        try:
            group.start(self.intake_command(job))
            wait_for(lambda: takes_mail(group), f"{self.name} to take mail: {group.words()}")
            config = configure(job, next_hop="[{}]:{}".format(*INTAKE))
            Running([job.ground.need("sluice"), "run", "-c", config, "--drain"], job.folder).wait()
            group.stop()
        finally:
            group.close()
        for path in job.folder.iterdir():
            path.unlink()
        subprocess.run(["sync", "-f", queue], check=False)

    def send(self, job):
        queue = self.queue(job)
        command = self.sending_command(job)
        group = accounting.group_of_daemons(job.folder)
        started = time.monotonic()
        try:
            group.start(command)
            self._wait_until_sent(job, group, queue)
            wall_s = time.monotonic() - started
            group.stop()
            return Spent(group.cpu_us(), wall_s, None)
        finally:
            group.close()

    def queue(self, job):
        return job.ground.spools / f"queue-{self.root_name or self.title}"

    def mount_queue(self, job):
        queue = self.queue(job)
        if self.ready is job.ground:
            return queue
        inside = self.root / self.queue_inside.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        if not queue.exists():
            subprocess.run(["cp", "-a", inside, queue], check=True)
            subprocess.run(["mount", "--bind", queue, inside], check=True)
            job.ground.mounts.append(inside)
        self.ready = job.ground
        return queue

    def _wait_until_sent(self, job, group, queue):
        before, since = None, time.monotonic()
        while True:
            waiting = self.waiting(queue)
            if waiting == 0:
                return
            if group.commands_running() == 0:
                self.on_all_ended(job, group)
            if waiting != before:
                before, since = waiting, time.monotonic()
            elif time.monotonic() - since > QUIET_S:
                raise WrongOutcome(f"{self.name} has stopped with mail in its queue: {group.words()}")
            time.sleep(LOOK_S)

    def on_all_ended(self, job, group):
        """The commands have ended while mail waits."""
        raise WrongOutcome(f"{self.name} ended with mail in its queue: {group.words()}")


def takes_mail(group):
    if group.commands_running() == 0:
        raise Unusable(f"the server ended at once: {group.words()}")
    with socket.socket() as sock:
        sock.settimeout(5)
        try:
            sock.connect(INTAKE)
            return sock.recv(4) == b"220 " or sock.recv(4) == b"220-"
        except OSError:
            return False


def count_files(folder):
    """Of a tree."""
    return sum(len(files) for _, _, files in os.walk(folder))


def empty(folder):
    """An empty folder, whatever it was."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
