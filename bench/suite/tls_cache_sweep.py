"""What handshakes cost here, what each setting of the cache makes of a workload, and which one to take."""
import itertools
import json
import os
import subprocess
import time

from . import receiver
from .trouble import Unusable

MODEL = "sluice-tls-cache-model"
SESSIONS = {"1.3": "session.1.3", "1.2": "session.1.2"}
ENOUGH = 1.01  # a setting is enough when it costs no more than that much of the best one's CPU
SCOPES = ("address", "host", "site")


def answer_of(command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Unusable(f"{MODEL}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def measure_costs(place, num, cert=None, key=None):
    """By protocol version: full, resumed, refused, each with microseconds of CPU; and the sizes of what is kept."""
    specs = ["127.0.1.1:25,name=mx1.bench.test,tls=1.3", "127.0.1.2:25,name=mx1.bench.test,tls=1.3,rotate=1",
             "127.0.1.3:25,name=mx1.bench.test,tls=1.2"]
    identity = ["--cert", cert.resolve(), "--key", key.resolve()] if cert else []
    with receiver.Sink(place, specs=specs, more=identity):
        costs, refused, old = (answer_of([place.need(MODEL), "costs", "--connect", f"127.0.1.{i}:25", "--num", num,
                                          "--session", place.folder / session])
                               for i, session in ((1, SESSIONS["1.3"]), (2, "session.refused"), (3, SESSIONS["1.2"])))
    costs["refused"] = refused["refused"]
    old["refused"] = old["full"]  # a session that TLS 1.2 does not find costs it nothing to speak of
    return {"1.3": costs, "1.2": old}


def arguments_of(options):
    words = []
    for flag, value in options.items():
        if isinstance(value, dict):
            value = ",".join(f"{kind}={share}" for kind, share in value.items())
        if value is True:
            words.append(f"--{flag}")
        elif value is not False:
            words += [f"--{flag}", str(value)]
    return words


def model_command(place, workload, setting):
    return [str(place.need(MODEL)), "run", "--session-1.3", str(place.folder / SESSIONS["1.3"]),
            "--session-1.2", str(place.folder / SESSIONS["1.2"]), *arguments_of(workload), *arguments_of(setting)]


def weigh(answer, costs):
    """CPU of all handshakes, in microseconds a connection, with the cache and without."""
    total = without = num = 0
    for tally in answer["kinds"].values():
        of = {name: cost["with_tickets_us"] for name, cost in costs["1.2" if tally["tls12"] else "1.3"].items()
              if name in ("full", "resumed", "refused")}
        total += (tally["full"] - tally["refused"]) * of["full"] + tally["refused"] * of["refused"] + \
            tally["resumed"] * of["resumed"]
        without += tally["connections"] * of["full"]
        num += tally["connections"]
    return total / num, without / num


def row_of(setting, answer, costs):
    counters = answer["counters"]
    num = counters["lookups"]
    cpu_us, without_us = weigh(answer, costs)
    return {**setting, "connections": num, "hit_rate": counters["hits"] / num,
            "resumed_rate": counters["resumed"] / num, "refused_rate": counters["refused"] / num,
            "cpu_us": cpu_us, "cpu_us_without": without_us, "saved": 1 - cpu_us / without_us,
            "octets": answer["octets_max"], "destinations": answer["destinations_max"],
            "sessions": answer["sessions_max"], "counters": counters, "kinds": answer["kinds"]}


class Pool:
    """Runs commands, some at a time; ends them all when the block is left early."""

    def __init__(self, jobs):
        self.jobs, self.running = jobs, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for popen in self.running:
            popen.kill()
            popen.communicate()

    def run(self, commands, on_answer):
        waiting = list(enumerate(commands))
        while waiting or self.running:
            while waiting and len(self.running) < self.jobs:
                index, command = waiting.pop(0)
                popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)
                self.running[popen] = index
            time.sleep(0.01)
            for popen in [popen for popen in self.running if popen.poll() is not None]:
                index = self.running.pop(popen)
                out, err = popen.communicate()
                if popen.returncode != 0:
                    raise Unusable(f"{MODEL}: {err.strip()}")
                on_answer(index, json.loads(out))


def sweep(place, workload, swept, costs, jobs, progress):
    """A row for each combination."""
    settings = [dict(zip(swept, values)) for values in itertools.product(*swept.values())]
    rows = [None] * len(settings)
    began = time.monotonic()

    def take(index, answer):
        rows[index] = row_of(settings[index], answer, costs)
        done = sum(row is not None for row in rows)
        left = (time.monotonic() - began) / done * (len(rows) - done)
        best = max(row["resumed_rate"] for row in rows if row)
        progress.show(f"{done} of {len(rows)} settings, {left:.0f} s left, {best:.1%} resumed at best")

    with Pool(jobs or len(os.sched_getaffinity(0))) as pool:
        pool.run([model_command(place, workload, setting) for setting in settings], take)
    progress.show("")
    return rows


def frugality(row):
    """Of two settings that cost the same, the one that holds less, narrower, for less long, is to be preferred."""
    return (row["octets"], SCOPES.index(row["scope"]), row["timeout"], row["tickets-per-destination"], row["entries"])


def choose(rows):
    """Indices: the least CPU; the least memory among those that need hardly more CPU."""
    best = min(range(len(rows)), key=lambda i: (rows[i]["cpu_us"], *frugality(rows[i])))
    enough = min((i for i in range(len(rows)) if rows[i]["cpu_us"] <= rows[best]["cpu_us"] * ENOUGH),
                 key=lambda i: frugality(rows[i]))
    return {"best": best, "enough": enough}
