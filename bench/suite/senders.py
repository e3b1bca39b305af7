"""The senders that are compared, one class each.

To add one of our own: subclass Sender and name it in a scenario; another mail server: see peers/. The suite fills job.spool/new with files that begin with X-Sender
and X-Receiver lines; prepare() may turn them into whatever the sender reads (its cost is not measured), send() starts
it, returns when all is sent and everything that it started has ended, and says what was spent, daemons included.
The world around it: MX records by DNS at 127.0.0.1:53, receivers at port 25 (see receiver.py).
"""
import dataclasses
import pathlib

from .process import Running
from .receiver import DNS_ADDRESS


@dataclasses.dataclass
class Job:
    ground: object
    folder: pathlib.Path  # for the sender's own files
    spool: pathlib.Path
    num: int              # messages
    hosts: int
    connections: int      # to each host
    tls: bool
    per_connection: bool  # each message on a connection of its own
    settings: dict = dataclasses.field(default_factory=dict)  # sluice's, over what configure() writes


class Sender:
    name = ""

    def takes_part(self, scenario):
        return True

    def unavailable(self, ground):
        """Why it cannot run here; None: it can."""
        return None

    def prepare(self, job):
        pass

    def send(self, job):
        """process.Spent; its rss_kb is None of a sender of several processes."""
        raise NotImplementedError

    def command(self, job):
        """Of a sender that is one process: what --under and --syscalls wrap. None: it is not."""
        return None


def configure(job, workers=1, cache=True, next_hop=None):
    """sluice.conf for the job, as for production but for the receivers' loopback addresses. next_hop: everything goes
    there instead, in plaintext."""
    top = {"workers": workers, **job.settings.get("top", {})}
    destination = {"connections": job.connections, "connections_initial": job.connections,
                   "max_deliveries": 1 if job.per_connection else 1000000, **job.settings.get("destination", {})}
    if next_hop:
        destination |= {"next_hop": next_hop, "connections": 4, "connections_initial": 4, "max_deliveries": 1000000}
    sections = {
        "dns": {"servers": [DNS_ADDRESS], "allow_local": True},
        "tls": {"level": "encrypt" if job.tls and not next_hop else "none"},
        "log": {"file": str(job.folder / "delivery.log")},
        "queue": {"durability": "group", **job.settings.get("queue", {})},
    }
    lines = ['hostname = "sender.test"', f'spool = "{job.spool}"', *render(top)]
    for name, options in sections.items():
        settings = {"enabled": cache, **job.settings.get("cache", {})}
        extra = [f"session_cache {{ {' '.join(render(settings))} }}"] if name == "tls" else []
        lines.append(f"{name} {{ {' '.join(render(options) + extra)} }}")
    lines.append(f'destination "*" {{ {" ".join(render(destination))} }}')
    path = job.folder / "sluice.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def render(options):
    return [f"{name} = {render_value(value)}" for name, value in options.items()]


def render_value(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "{" + ", ".join(f'"{item}"' for item in value) + "}"
    return str(value) if isinstance(value, int) else f'"{value}"'


class Sluice(Sender):
    def __init__(self, workers=1, cache=True):
        self.workers, self.cache = workers, cache
        words = ["sluice", *(["2 workers"] if workers == 2 else []), *(["no cache"] if not cache else [])]
        self.name = ", ".join(words)

    def command(self, job):
        return [job.ground.need("sluice"), "run", "-c", configure(job, self.workers, self.cache), "--drain"]

    def send(self, job):
        return Running(self.command(job), job.folder).wait()


class Limit(Sender):
    """The least a sender can do; "limit" itself, in one flight, is what every ratio refers to."""

    def __init__(self, words="", *flags):
        self.name, self.flags = "limit" + (f", {words}" if words else ""), flags

    def command(self, job):
        return [job.ground.need("sluice-limit"), "--spool", job.spool, "--to", "127.0.1.1:25", "--hosts", job.hosts,
                *(["--tls"] if job.tls else []), *(["--per-connection"] if job.per_connection else []), *self.flags]

    def send(self, job):
        return Running(self.command(job), job.folder).wait()


REFERENCE = Limit()
PIPELINED = Limit("pipelined", "--pipeline")
KEEPING = Limit("no unlink", "--no-unlink")
NOT_RESUMING = Limit("no resumption", "--no-resume")
