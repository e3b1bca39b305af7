"""sluice-bench tls-cache: which settings of the TLS session cache suit a workload. docs/tls-cache.md is its manual."""
import argparse
import datetime
import pathlib
import shlex
import sys

from . import ground, machine, output, tls_cache_check, tls_cache_report, tls_cache_sweep
from .scenarios import Progress

KINDS = ("several", "one", "once", "no-reissue", "short", "rotating", "shared", "unshared", "tls12", "no-tickets")
SCOPES = ("address", "host", "site")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
ABOUT = """Which settings of the TLS session cache suit a workload: real handshakes with sluice-sink show what
full and resumed ones cost here, and the router's cache, under a workload that is made up, which of them
each setting would resume. Names the best setting, and the one that is enough. docs/tls-cache.md is the manual."""


def number(least, most, kind=int):
    def convert(text):
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: {least} to {most}")
        return value
    convert.__name__ = "number"
    return convert


def seconds(text):
    value = int(text[:-1]) * UNITS[text[-1]] if text[-1:] in UNITS else int(text)
    if not 1 <= value <= 10**9:
        raise argparse.ArgumentTypeError(f"{text}: 1s to 1000000000s")
    return value


def seconds_or_none(text):
    return 0 if text == "0" else seconds(text)


def some(convert):
    def several(text):
        return [convert(word) for word in text.split(",")]
    several.__name__ = "list"
    return several


def scope(text):
    if text not in SCOPES:
        raise argparse.ArgumentTypeError(f"{text}: {', '.join(SCOPES)}")
    return text


def mix(text):
    shares = {}
    for word in text.split(","):
        kind, _, share = word.partition("=")
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{kind}: {', '.join(KINDS)}")
        shares[kind] = number(1e-6, 1e9, float)(share or "1")
    return shares


# An assumption, not a measurement: `sluice probe` and `sluice tls-cache` say what your destinations do.
MIX = {"several": 60, "one": 10, "once": 5, "no-reissue": 5, "rotating": 10, "shared": 5, "unshared": 5}
# The workload: flag, default, with --short, reader, help. The model has options of the same names.
WORKLOAD = (
    ("destinations", 20000, 400, number(1, 10**9), "domains, or groups of domains with the same MX hosts"),
    ("zipf", 1.0, 1.0, number(0, 10, float), "popularity of the Kth is 1/K^S; 0: all alike"),
    ("rate", 50.0, 20.0, number(1e-6, 1e9, float), "new connections a second, to all of them"),
    ("burst", 4, 4, number(1, 10**6), "of these begin at the same time at a destination"),
    ("duration", 3600, 300, seconds, "of the time that is imagined, as 90s, 30m, 2h"),
    ("mix", MIX, MIX, mix, "KIND=SHARE,... of the destinations, by what their servers do; "
     "the default is an assumption, not a measurement"),
    ("tickets", 2, 2, number(1, 100), "that a server gives at a time, if several"),
    ("lifetime", 7200, 7200, seconds, "of a ticket, as the server says"),
    ("short-lifetime", 300, 60, seconds, "... of kind short"),
    ("rotation", 3600, 120, seconds_or_none, "kind rotating forgets its key so often; 0: not by time"),
    ("rotate-after", 0, 0, number(0, 10**9), "... and after so many handshakes; 0: not by them"),
    ("hosts", 2, 2, number(1, 1000), "MX hosts of kinds shared and unshared"),
    ("addresses", 2, 2, number(1, 1000), "of each of them"),
    ("route-ttl", 0, 0, seconds_or_none, "mail keeps to the same of them for so long; 0: any for each connection"),
    ("handshake-ms", 100, 100, number(0, 10**6), "from the look-up of a session until its successors have come"),
    ("seed", 1, 1, number(0, 10**9), "of all that is random"),
)
# What is swept: flag, values, with --short, reader, help.
SWEPT = (
    ("entries", [1024, 4096, 16384, 65536], [50, 200, 400], number(1, 10**8), "tls.session_cache.entries"),
    ("tickets-per-destination", [1, 2, 4, 8], [1, 4], number(1, 16), "the option of that name"),
    ("timeout", [300, 1200, 3600], [60, 3600], seconds, "the option of that name"),
    ("scope", list(SCOPES), ["address", "host"], scope, "the option of that name"),
)


def word(flag):
    return flag.replace("-", "_")


def describe(default):
    if isinstance(default, dict):
        return ",".join(f"{kind}={share:g}" for kind, share in default.items())
    return ",".join(map(str, default)) if isinstance(default, list) else str(default)


def add_arguments(commands):
    one = commands.add_parser("tls-cache", help="which settings of the TLS session cache suit a workload",
                              description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    workload = one.add_argument_group("the workload")
    for flag, default, _, reader, about in WORKLOAD:
        workload.add_argument(f"--{flag}", type=reader, metavar="LIST" if flag == "mix" else "N",
                              help=f"{about} ({describe(default)})")
    workload.add_argument("--own-names", action="store_true",
                          help="each address of a host says a name of its own in EHLO")
    swept = one.add_argument_group("what is swept")
    for flag, default, _, reader, about in SWEPT:
        swept.add_argument(f"--{flag}", type=some(reader), metavar="LIST", help=f"{about} ({describe(default)})")
    one.add_argument("--cert", type=pathlib.Path, metavar="FILE", help="the receiver's certificate and chain, PEM; "
                     "default: a self-signed EC P-256 one")
    one.add_argument("--key", type=pathlib.Path, metavar="FILE", help="its key")
    one.add_argument("--handshakes", type=number(10, 100000), metavar="N", help="of each kind, to measure (400)")
    one.add_argument("--jobs", type=number(1, 1000), metavar="N", help="settings tried at once (one a core)")
    one.add_argument("--no-check", action="store_true", help="do not hold the model against the router")
    one.add_argument("--all", action="store_true", help="print every setting, not only those around the choice")
    one.add_argument("--short", action="store_true", help="a small workload, few settings: seconds")
    one.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the result")
    one.add_argument("--out", type=pathlib.Path, metavar="DIR", help="result.json and plots as SVG")
    one.add_argument("--build", type=pathlib.Path, metavar="DIR", help="default: build/release")


def complete(options, parser):
    """Fills in what was not given."""
    for flag, default, short, _, _ in WORKLOAD + SWEPT:
        if getattr(options, word(flag)) is None:
            setattr(options, word(flag), short if options.short else default)
    options.handshakes = options.handshakes or (60 if options.short else 400)
    if bool(options.cert) != bool(options.key):
        parser.error("--cert and --key go together")
    return options


def run(options, here, build):
    ground.enter()
    progress = Progress(sys.stderr)
    workload = {flag: getattr(options, word(flag)) for flag, *_ in WORKLOAD}
    workload["own-names"] = options.own_names
    swept = {flag: getattr(options, word(flag)) for flag, *_ in SWEPT}
    with ground.Ground(here, build, "tmpfs") as place:
        result = {"format": 1, "kind": "tls-cache", "short": options.short, "workload": workload, "swept": swept,
                  "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                  "command": shlex.join(["sluice-bench", *sys.argv[1:]]),
                  "machine": machine.describe(place), "load_before": machine.load()}
        progress.show(f"{options.handshakes} handshakes of each kind")
        result["costs"] = tls_cache_sweep.measure_costs(place, options.handshakes, options.cert, options.key)
        progress.show("")
        print(tls_cache_report.costs_text(result), flush=True)
        result["settings"] = tls_cache_sweep.sweep(place, workload, swept, result["costs"], options.jobs, progress)
        result["choice"] = tls_cache_sweep.choose(result["settings"])
        if not options.no_check:
            result["check"] = tls_cache_check.check(place, progress)
        result["load_after"] = machine.load()
    print(tls_cache_report.settings_text(result, options.all))
    output.write(result, options, tls_cache_report.write_plots)
    if not options.no_check:
        tls_cache_check.judge(result["check"])
