"""The model held against the router: the same small workloads, one with real connections to sluice-sink, one imagined.

Only the order of connections counts in these workloads, not the time: sessions are used up, refused and evicted here,
and do not expire. So a slow machine has the same outcome."""
import collections
import dataclasses
import json
import random

from . import messages, receiver, senders, tls_cache_sweep
from .process import Running
from .trouble import WrongOutcome

TOLERANCE = 0.05  # of all connections
WAVES, IN_A_WAVE, BURST, DELAY_MS = 16, 6, 3, 25
ROTATE_AFTER, HOSTS = 7, 2
# What the listeners of sluice-sink do, by the model's names of it.
SINK = {"several": "tls=1.3", "one": "tls=1.3,tickets=1", "no-reissue": "tls=1.3,ticket-reissue=no",
        "rotating": f"tls=1.3,rotate={ROTATE_AFTER}", "shared": "tls=1.3,ticket-key=d{}", "unshared": "tls=1.3",
        "tls12": "tls=1.2", "no-tickets": "tls=1.3,tickets=0"}
BALANCED = ("shared", "unshared")


@dataclasses.dataclass(frozen=True)
class Workload:
    name: str
    cache: dict
    zipf: float


WORKLOADS = (
    Workload("few entries", {"entries": 10, "tickets_per_destination": 2, "scope": "address"}, 0.8),
    Workload("scope site", {"entries": 64, "tickets_per_destination": 4, "scope": "site"}, 0.5),
)


def kind_of(destination):
    """As the model deals them out in equal shares."""
    return list(SINK)[destination % len(SINK)]


def hosts_of(destination):
    return HOSTS if kind_of(destination) in BALANCED else 1


def waves_of(workload):
    """Destinations that are connected to at the same time, each once."""
    drawn = random.Random(7)
    destinations = range(2 * len(SINK))
    waves = []
    for _ in range(WAVES):
        wave = []
        while len(wave) < IN_A_WAVE:
            one = drawn.choices(destinations, [1 / (k + 1) ** workload.zipf for k in destinations])[0]
            if one not in wave:
                wave.append(one)
        waves.append(wave)
    return waves


def specs():
    """A listener for each machine, in the order of destinations, and their MX records: each name below dN.test has a
    route of its own, so that connections to several hosts are spread over them."""
    listeners, zone = [], []
    for destination in range(2 * len(SINK)):
        kind = kind_of(destination)
        for host in range(hosts_of(destination)):
            name, address = f"mx{host}.d{destination}.bench.test", f"127.0.1.{len(listeners) + 1}"
            listeners.append(f"{address}:25,name={name},delay={DELAY_MS},{SINK[kind].format(destination)}")
            zone += [f"*.d{destination}.test MX 3600 10 {name}", f"{name} A 3600 {address}"]
    return listeners, zone


def configure(place, job, workload):
    job.settings["cache"] = {**workload.cache, "stripes": 1, "timeout": "1h"}
    job.settings["destination"] = {"idle": "1s"}
    return [place.need("sluice"), "run", "-c", senders.configure(job)]


def really(place, workload, waves, progress):
    """Resumed and all connections by kind, as the sink counted them."""
    folder = place.folder / "check"
    folder.mkdir(exist_ok=True)
    job = senders.Job(place, folder, place.spools / "check", 0, 0, BURST, True, True)
    for room in ("new", "tmp"):
        (job.spool / room).mkdir(parents=True, exist_ok=True)
    listeners, zone = specs()
    sent = 0
    with receiver.Dns(place, 1, 1, zone), receiver.Sink(place, specs=listeners) as sink:
        router = Running(configure(place, job, workload), folder)
        for number, wave in enumerate(waves):
            parts = []
            for destination in wave:
                for _ in range(BURST):
                    part = job.spool / f"tmp/{sent}"
                    part.write_bytes(messages.compose(sent, f"reader@m{sent}.d{destination}.test", 600))
                    parts.append(part)
                    sent += 1
            for part in parts:
                part.rename(job.spool / "new" / part.name)
            receiver.wait_for(lambda: router.popen.poll() is not None or (sink.total() or {}).get("messages") == sent,
                              f"wave {number} of {workload.name}", 120)
            progress.show(f"the router, {workload.name}: wave {number + 1} of {len(waves)}")
        router.stop()
        receiver.check(sink.final(), sent, workload.name)
    progress.show("")
    tally = collections.defaultdict(lambda: [0, 0])
    for listener in json.loads(sink.stats_file.read_text())["listeners"]:
        counters = listener["counters"]
        one = tally[kind_of(int(listener["name"].split(".")[1][1:]))]
        one[0] += counters["handshakes_resumed"]
        one[1] += counters["handshakes_resumed"] + counters["handshakes_full"]
    return tally


def imagined(place, workload, waves):
    arrivals = place.folder / "arrivals"
    arrivals.write_text("".join(f"{i * 1000} {destination}\n" for i, wave in enumerate(waves)
                                for destination in wave for _ in range(BURST)))
    described = {"destinations": 2 * len(SINK), "mix": dict.fromkeys(SINK, 1), "hosts": HOSTS, "addresses": 1,
                 "rotation": 0, "rotate-after": ROTATE_AFTER, "arrivals": arrivals}
    cache = {name.replace("_", "-"): value for name, value in workload.cache.items()}
    answer = tls_cache_sweep.answer_of(
        tls_cache_sweep.model_command(place, described, {**cache, "stripes": 1, "timeout": 3600}))
    return {kind: [tally["resumed"], tally["connections"]] for kind, tally in answer["kinds"].items()}


def rate(tally):
    return sum(resumed for resumed, _ in tally.values()) / sum(num for _, num in tally.values())


def check(place, progress):
    rows = []
    for workload in WORKLOADS:
        waves = waves_of(workload)
        real, model = really(place, workload, waves, progress), imagined(place, workload, waves)
        rows.append({"name": workload.name, "connections": sum(num for _, num in real.values()), "real": rate(real),
                     "model": rate(model), "kinds": {kind: {"real": real[kind], "model": model.get(kind)} for kind in real}})
    return {"tolerance": TOLERANCE, "workloads": rows}


def judge(result):
    for one in result["workloads"]:
        if abs(one["real"] - one["model"]) > result["tolerance"]:
            raise WrongOutcome(f"{one['name']}: the router resumed {one['real']:.1%}, the model {one['model']:.1%}: "
                               f"more than {result['tolerance']:.0%} apart, so its figures are worth nothing")
