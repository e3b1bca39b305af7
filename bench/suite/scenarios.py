"""What is measured: the table of scenarios and how those that only send are run. special.py has the others."""
import collections
import dataclasses
import json
import statistics
import threading
import time

from . import messages, receiver, senders, special
from .trouble import WrongOutcome


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    about: str
    num: int                 # messages
    num_short: int
    tls: bool = False
    hosts: int = 1
    connections: int = 1     # to each host
    size: int = 4096         # octets of a file
    per_connection: bool = False
    senders: tuple = ()
    measure: object = None   # function(Bench, Scenario, num) -> result; None: send and count
    figures: object = None   # function(rows by sender) -> {name: value}
    recipient_of: object = None  # function(sender, i)


def to_hosts(hosts):
    return lambda _, i: f"reader{i}@d{i % hosts}.test"


def to_domains(sender, i):
    """Each message to another domain, or for comparison all to one domain of each host."""
    domain = 0 if sender.name == WIDE_FEW else i
    return f"reader{i}@d{domain}.w{i % 100 + 1}.test"


def over_limit(rows):
    return {"ratio to limit": rows["sluice"]["ratio"]}


def two_workers(rows):
    return {**over_limit(rows), "two workers over one": median_of_rounds(rows, "sluice, 2 workers", "sluice")}


def cache_worth(rows):
    ours = median_of_rounds(rows, "sluice", "sluice, no cache")
    limits = median_of_rounds(rows, "limit", "limit, no resumption")
    return {**over_limit(rows), "cache on over off": ours, "the limit's own on over off": limits,
            "cache on over off, over the limit's own": ours / limits}


def domain_cost(rows):
    return {**over_limit(rows), "CPU a domain, us": statistics.median(
        many - few for many, few in zip(rows["sluice"]["cpu_us"], rows[WIDE_FEW]["cpu_us"]))}


def median_of_rounds(rows, over, under):
    """The ratio within each round: what the machine does beside it changes from round to round."""
    return statistics.median(a / b for a, b in zip(rows[over]["cpu_us"], rows[under]["cpu_us"]))


class Few(senders.Sluice):
    """sluice over the same mail, but for 100 domains: what remains is the cost of the domains."""

    def __init__(self):
        super().__init__()
        self.name = WIDE_FEW


WIDE_FEW = "sluice, 100 domains"
LIMITS = (senders.REFERENCE, senders.PIPELINED, senders.KEEPING)
ONE = (senders.Sluice(), *LIMITS)
MANY = (senders.Sluice(), senders.Sluice(workers=2), *LIMITS)
CACHE = (senders.Sluice(), senders.Sluice(cache=False), *LIMITS, senders.NOT_RESUMING)

SCENARIOS = {scenario.name: scenario for scenario in (
    Scenario("plain-1", "4 KiB messages, one destination, one connection, plaintext", 20000, 300,
             senders=ONE, figures=over_limit),
    Scenario("plain-100", "4 KiB messages, 100 destinations, plaintext", 20000, 300, hosts=100,
             senders=MANY, figures=two_workers),
    Scenario("tls-1", "4 KiB messages, one destination, one connection, TLS 1.3", 20000, 300, tls=True,
             senders=ONE, figures=over_limit),
    Scenario("tls-100", "4 KiB messages, 100 destinations, TLS 1.3", 20000, 300, tls=True, hosts=100,
             senders=MANY, figures=two_workers),
    Scenario("tls-conn", "4 KiB messages, each on a connection of its own, TLS 1.3: the TLS session cache at work",
             4000, 50, tls=True, per_connection=True, senders=CACHE, figures=cache_worth),
    Scenario("big", "1 MiB messages, one connection, TLS 1.3", 400, 5, tls=True, size=1 << 20,
             senders=ONE, figures=over_limit),
    Scenario("wide", "one message to each of 100,000 domains, which share 100 hosts, plaintext", 100000, 500, hosts=100,
             size=1024, senders=(senders.Sluice(), Few(), senders.REFERENCE), figures=domain_cost, recipient_of=to_domains),
    Scenario("slow", "10,000 connections that wait 500 ms for each reply, TLS 1.3", 30000, 200, tls=True, hosts=100,
             connections=100, size=1024, measure=special.slow),
    Scenario("deferred", "1,000,000 messages that wait for a retry: start-up with them", 1000000, 500, hosts=100,
             size=1024, measure=special.deferred),
    Scenario("latency", "one message at a time, idle router, warm connection: from rename to 250", 1000, 30,
             measure=special.latency),
)}


class Bench:
    """Runs scenarios one after another on one ground."""

    def __init__(self, ground, repeat, progress, peers=()):
        self.ground, self.repeat, self.progress, self.peers = ground, repeat, progress, peers

    def run(self, scenario, num):
        started = time.time()
        result = {"scenario": scenario.name, "about": scenario.about, "messages": num}
        result.update(scenario.measure(self, scenario, num) if scenario.measure
                      else self._send_and_count(scenario, num))
        result["took_s"] = round(time.time() - started, 1)
        return result

    def job(self, scenario, num, **more):
        """In empty folders."""
        folder = self.ground.folder / "job"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        return senders.Job(self.ground, folder, self.ground.spools / "spool", num, scenario.hosts,
                           scenario.connections, scenario.tls, scenario.per_connection, **more)

    def fill(self, scenario, sender, num):
        name = scenario.recipient_of or to_hosts(scenario.hosts)
        job = self.job(scenario, num)
        messages.fill(job.spool, num, lambda i: name(sender, i), scenario.size)
        sender.prepare(job)
        return job

    def sink(self, scenario, **more):
        return receiver.Sink(self.ground, scenario.hosts, "1.3" if scenario.tls else "none", **more)

    def dns(self, scenario):
        return receiver.Dns(self.ground, scenario.hosts, max(scenario.hosts, 100))

    def _senders(self, scenario):
        return (*scenario.senders, *(peer for peer in self.peers if peer.takes_part(scenario)))

    def _send_and_count(self, scenario, num):
        all_senders = self._senders(scenario)
        rounds = collections.defaultdict(list)
        for i in range(self.repeat):
            # They take turns in going first: the machine's other work is nobody's own.
            at = i % len(all_senders)
            for sender in all_senders[at:] + all_senders[:at]:
                rounds[sender.name].append(self._send_once(scenario, sender, num, i))
        rows = {sender.name: summarize(rounds[sender.name], rounds, num) for sender in all_senders}
        figures = scenario.figures(rows) if scenario.figures else {}
        return {"rows": [{"sender": name, **row} for name, row in rows.items()],
                "figures": {**figures, **self._beside_peers(rows)}}

    def _beside_peers(self, rows):
        """sluice over each peer; and what their TLS session cache is worth to those that have one."""
        figures = {}
        for name in (peer.name for peer in self.peers if peer.name in rows):
            figures[f"sluice over {name}"] = median_of_rounds(rows, "sluice", name)
            if f"{name}, no cache" in rows:
                figures[f"{name}, cache on over off"] = median_of_rounds(rows, name, f"{name}, no cache")
        return figures

    def _send_once(self, scenario, sender, num, turn):
        job = self.fill(scenario, sender, num)
        what = f"{scenario.name} {turn + 1}/{self.repeat} {sender.name}"
        with self.dns(scenario), self.sink(scenario) as sink, self.progress.watch(what, sink, num):
            spent = sender.send(job)
            total = sink.final()
        receiver.check(total, num, what)
        log = job.folder / "delivery.log"
        return {"spent": spent, "total": total, "attempts_ms": read_attempts(log, num, what) if log.exists() else None}

    def sample(self, scenario, num, wrap):
        """Runs sluice once under another command."""
        sender = senders.Sluice()
        job = self.fill(scenario, sender, num)
        with self.dns(scenario), self.sink(scenario) as sink:
            senders.Running([*wrap, *sender.command(job)], job.folder).wait()
            receiver.check(sink.final(), num, scenario.name)

    def count_syscalls(self, scenario, num, result):
        """Adds them to the rows of senders that are one process, by strace in a run of its own each."""
        for sender in self._senders(scenario):
            job = self.fill(scenario, sender, num)
            counts = self.ground.folder / "strace"
            with self.dns(scenario), self.sink(scenario):
                command = sender.command(job)
                if command:
                    senders.Running(["strace", "-c", "-f", "-S", "calls", "-o", counts, *command], job.folder).wait()
            if command:
                row = next(row for row in result["rows"] if row["sender"] == sender.name)
                row["syscalls"], row["syscalls_by_name"] = read_strace(counts.read_text(), num)


def read_strace(text, num):
    """Calls a message: of all, and of each that is made for at least a hundredth of the messages."""
    lines = [line.split() for line in text.splitlines()]
    calls = {words[-1]: int(words[3]) for words in lines if len(words) >= 5 and words[3].isdigit()}
    total = calls.pop("total") / num
    return total, {name: round(count / num, 3) for name, count in calls.items() if count >= num / 100}


def summarize(rounds, all_rounds, num):
    cpu = [one["spent"].cpu_us / num for one in rounds]
    row = {
        "cpu_us": cpu,
        "cpu_us_median": statistics.median(cpu),
        "rate": statistics.median(num / one["spent"].wall_s for one in rounds),
        "rss_kb": max((one["spent"].rss_kb for one in rounds if one["spent"].rss_kb), default=None),
        "connections": max(one["total"]["connections"] for one in rounds),
        "handshakes_full": max(one["total"]["handshakes_full"] for one in rounds),
        "handshakes_resumed": max(one["total"]["handshakes_resumed"] for one in rounds),
        "duplicates": max(one["total"]["duplicates"] for one in rounds),
    }
    for key, name in (("ratio", senders.REFERENCE.name), ("ratio_to_sluice", "sluice")):
        row[key] = statistics.median(
            one["spent"].cpu_us / its["spent"].cpu_us for one, its in zip(rounds, all_rounds[name]))
    if rounds[-1]["attempts_ms"]:
        row["attempt_ms"] = special.percentiles(rounds[-1]["attempts_ms"])
    return row


def read_attempts(log, num, what):
    """Milliseconds of each delivery from when a connection took it to its 250, of sluice's log."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    delivered = {event["recipient"] for event in events if event["event"] == "delivered"}
    if len(delivered) != num or len(events) != num:
        raise WrongOutcome(f"{what}: the log has {len(events)} attempts and {len(delivered)} recipients for {num}")
    return [event["delays"]["total"] - event["delays"]["queue"] for event in events]


class Progress:
    """A live line on a terminal, from what the sink has counted; nothing elsewhere."""

    def __init__(self, stream):
        self.stream = stream
        self.live = stream.isatty()

    def watch(self, what, sink, num):
        return Watch(self, what, sink, num)

    def show(self, text):
        if self.live:
            self.stream.write(f"\r\033[K{text}")
            self.stream.flush()


class Watch:
    def __init__(self, progress, what, sink, num):
        self.progress, self.what, self.sink, self.num = progress, what, sink, num
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        if self.progress.live:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        if self.progress.live:
            self.thread.join()
        self.progress.show("")

    def _look(self):
        while not self.done.wait(0.5):
            total = self.sink.total()
            if total:
                self.progress.show(f"{self.what}: {total['messages']} of {self.num} messages, "
                                   f"{total['duplicates']} duplicates")
