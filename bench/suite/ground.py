"""The place where everything happens: namespaces of its own, the spool's file system, the programs."""
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

from . import process
from .trouble import Unusable

INSIDE = "SLUICE_BENCH_INSIDE"
BUILT = {"sluice": "router/sluice", "sluice-sink": "bench/sink/sluice-sink", "sluice-dns": "bench/dns/sluice-dns",
         "sluice-limit": "bench/limit/sluice-limit", "sluice-deferred-spool": "bench/deferred/sluice-deferred-spool",
         "sluice-tls-cache-model": "bench/tls_cache/sluice-tls-cache-model"}


def roots_program(here):
    """roots.sh, which mounts the private roots of other mail servers; beside us when installed."""
    for path in (here.parent / "share/sluice/bench/roots.sh", here.parent / "tests/e2e/roots.sh"):
        if path.is_file():
            return path
    raise Unusable("roots.sh is not here")


def enter(roots=None):
    """Starts this program again in its own network and mount namespaces, unless it is there already; with the
    private roots that roots.sh mounts, when they can be had.
    Without root a user namespace makes us root inside; loop mounts are then not allowed."""
    if INSIDE not in os.environ:
        mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
        os.environ[INSIDE] = "1"
        command = ["unshare", *mapped, "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        if roots and subprocess.run([roots, "check"], check=False).returncode == 0:
            command = [str(roots), "run", sys.executable, *sys.argv]
        try:
            os.execvp(command[0], command)
        except OSError as error:
            raise Unusable(f"unshare: {error}") from error
    run("ip", "link", "set", "lo", "up")
    # A receiver that closes first leaves 100 hosts' worth of ports in TIME_WAIT.
    for name, value in {"net/ipv4/ip_local_port_range": "2048 65000", "net/ipv4/tcp_tw_reuse": "1",
                        "net/core/somaxconn": "65535"}.items():
        try:
            pathlib.Path("/proc/sys", name).write_text(value)
        except OSError:
            pass  # a container may forbid it; the long scenarios then say what they ran out of
    raise_descriptor_limit()


def raise_descriptor_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, 65536), max(hard, 65536)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Unusable(f"{' '.join(map(str, command))}: {done.stdout.strip()}")


class Ground:
    """A context: the folders and mounts are gone behind it."""

    def __init__(self, here, build, spool_on):
        self.here, self.build, self.spool_on = here, build, spool_on
        self.mounts = []

    def program(self, name):
        """Beside this program when installed, else in the build folder; None: not there."""
        for path in (self.here / name, self.build / BUILT[name]):
            if path.is_file() and os.access(path, os.X_OK):
                return path
        return None

    def need(self, name):
        path = self.program(name)
        if not path:
            raise Unusable(f"{name} is neither in {self.here} nor built in {self.build}")
        return path

    def __enter__(self):
        for name in ("sluice", "sluice-sink", "sluice-dns", "sluice-limit"):
            self.need(name)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench."))
        try:
            self.spools = self._make_spools()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        process.end_all()
        for mount in reversed(self.mounts):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.spool_on not in ("ext4", "tmpfs") and hasattr(self, "spools"):
            shutil.rmtree(self.spools, ignore_errors=True)

    def _make_spools(self):
        if self.spool_on not in ("ext4", "tmpfs"):
            return pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench.", dir=self.spool_on))
        mount = self.folder / "spools"
        mount.mkdir()
        if self.spool_on == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", "size=90%", "sluice-bench", mount)
        else:
            image = self.folder / "ext4.img"
            with open(image, "wb") as file:
                file.truncate(32 << 30)  # holes: it takes what is written
            run("mkfs.ext4", "-q", "-F", image)
            run("mount", "-o", "loop", image, mount)
        self.mounts.append(mount)
        return mount

    def describe_spools(self):
        kind = subprocess.run(["findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", self.spools], text=True,
                              stdout=subprocess.PIPE, check=False).stdout.strip()
        how = {"ext4": "ext4 with a journal in a loop-mounted image", "tmpfs": "tmpfs"}
        return f"{how.get(self.spool_on, self.spool_on)} ({' '.join(kind.split())})"
