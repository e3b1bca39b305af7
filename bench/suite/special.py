"""Scenarios that measure something else than the CPU of sending."""
import os
import shutil
import time

from . import messages, receiver, senders
from .process import Running, resident_kb
from .trouble import WrongOutcome

SETTLED_S = 5


def percentiles(values):
    ordered = sorted(values)
    points = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9, 100)
    return {f"{p:g}": round(ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))], 4) for p in points}


def start(job, workers=1):
    return Running([job.ground.need("sluice"), "run", "-c", senders.configure(job, workers)], job.folder)


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def slow(bench, scenario, num):
    """Resident memory with all connections open less that with one a host, for each connection more.
    The same mail is loaded in both cases. The kernel's own memory for sockets is not in it."""
    short = num < 1000
    connections = 5 if short else scenario.connections
    delay_ms = 20 if short else 500
    few = _slow_once(bench, scenario, num, 1, delay_ms, settle_s=0.5 if short else SETTLED_S)
    many = _slow_once(bench, scenario, num, connections, delay_ms)
    more = many["open"] - few["open"]
    if more <= 0:
        raise WrongOutcome(f"slow: {many['open']} descriptors with many connections, {few['open']} with few")
    return {"rows": [{"sender": "sluice, 1 connection a host", **few},
                     {"sender": f"sluice, {connections} connections a host", **many}],
            "figures": {"memory a connection, KB": (many["rss_kb"] - few["rss_kb"]) / more,
                        "connections open at once": more + scenario.hosts}}


def _slow_once(bench, scenario, num, connections, delay_ms, settle_s=None):
    job = bench.job(scenario, num, settings={"destination": {"idle": "300s"}, "queue": {"active_messages": num * 2}})
    job.connections = connections
    messages.fill(job.spool, num, lambda i: f"reader{i}@d{i % scenario.hosts}.test", scenario.size)
    row = {"open": 0, "rss_kb": 0}
    with bench.dns(scenario), bench.sink(scenario, personality=f",delay={delay_ms}") as sink, \
            bench.progress.watch(f"slow {connections}", sink, num):
        router = start(job)
        while True:
            row["open"] = max(row["open"], descriptors(router.pid))
            row["rss_kb"] = max(row["rss_kb"], resident_kb(router.pid))
            if settle_s is None and not any(os.scandir(job.spool / "new")):
                break
            if settle_s is not None and time.monotonic() - router.started > settle_s:
                break
            if router.popen.poll() is not None:
                break
            time.sleep(0.1)
        spent = router.stop(expect=(0, 75))
        total = sink.final()
    if settle_s is None:
        receiver.check(total, num, "slow")
        row["cpu_us_median"] = spent.cpu_us / num
    return {**row, "connections": total["connections"], "handshakes_full": total["handshakes_full"],
            "handshakes_resumed": total["handshakes_resumed"], "duplicates": total["duplicates"]}


def deferred(bench, scenario, num):
    """Starts the router on a spool full of mail that waits, and drops one message more."""
    job = bench.job(scenario, num, settings={"destination": {"connections": 2}})
    shutil.rmtree(job.spool, ignore_errors=True)
    Running([bench.ground.need("sluice-deferred-spool"), job.spool, num, 86400], job.folder).wait()
    (job.spool / "new").mkdir(exist_ok=True)
    waiting = _count_waiting(job.spool)
    ledger = bench.ground.folder / "ledger"
    with bench.dns(scenario), bench.sink(scenario, ledger=ledger) as sink:
        (job.spool / "new/fresh").write_bytes(messages.compose(num, "fresh@d0.test", scenario.size))
        os.utime(job.spool / "new/fresh", messages.LONG_AGO)
        begin_us = time.monotonic_ns() / 1e3
        router = start(job)
        receiver.wait_for(sink.replies, "the fresh message", 600)
        first_us = sink.replies()[0]
        cpu_s = router.cpu_us() / 1e6
        time.sleep(0.2 if num < 10000 else SETTLED_S)
        spent = router.stop(expect=(0, 75))
        total = sink.final()
    receiver.check(total, 1, "deferred")
    left = _count_waiting(job.spool)
    if (waiting, left) != (num, num):
        raise WrongOutcome(f"deferred: {waiting} of {num} messages waited before and {left} after the start")
    return {"rows": [{"sender": "sluice", "rss_kb": spent.rss_kb, "duplicates": total["duplicates"]}],
            "figures": {"start to first delivery, s": (first_us - begin_us) / 1e6,
                        "CPU until then, s": cpu_s, "resident memory, MB": spent.rss_kb / 1024}}


def _count_waiting(spool):
    return sum(len(files) for _, _, files in os.walk(spool / "deferred"))


def latency(bench, scenario, num):
    """From just before rename(2) to when the kernel took the receiver's 250. The clock is one: monotonic."""
    rows = []
    for tls in (False, True):
        times_ms = _latency_once(bench, scenario, num, tls)
        rows.append({"sender": f"sluice, {'TLS 1.3' if tls else 'plaintext'}", "latency_ms": times_ms, "duplicates": 0})
    return {"rows": rows, "figures": {f"{kind} p{p}, ms": row["latency_ms"][p]
                                      for row, kind in zip(rows, ("plaintext", "TLS")) for p in ("50", "99")}}


def _latency_once(bench, scenario, num, tls):
    job = bench.job(scenario, num, settings={"destination": {"idle": "300s"}})
    job.tls = tls
    ledger = bench.ground.folder / "ledger"
    shutil.rmtree(job.spool, ignore_errors=True)
    for room in ("new", "tmp"):
        (job.spool / room).mkdir(parents=True, exist_ok=True)
    with bench.dns(scenario), receiver.Sink(bench.ground, scenario.hosts, "1.3" if tls else "none",
                                            ledger=ledger) as sink:
        router = start(job)
        dropped = []
        for i in range(num + 1):  # the first one opens the connection
            part = job.spool / "tmp/part"
            part.write_bytes(messages.compose(i, f"reader{i}@d0.test", scenario.size))
            dropped.append(time.monotonic_ns() / 1e3)
            os.rename(part, job.spool / f"new/{i:07d}")
            receiver.wait_for(lambda: ledger.stat().st_size and ledger.read_bytes().count(b"reply ") > i,
                              f"message {i}")
        router.stop()
        total = sink.final()
        receiver.check(total, num + 1, "latency")
        if total["connections"] != 1:
            raise WrongOutcome(f"latency: {total['connections']} connections: none was kept warm")
        replied = sink.replies()
    return percentiles([(at - since) / 1e3 for at, since in zip(replied[1:], dropped[1:])])
