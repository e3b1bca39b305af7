"""The command line."""
import argparse
import datetime
import json
import pathlib
import shlex
import shutil
import signal
import sys

from . import ground, machine, output, report, tables, tls_cache
from .peers import PEERS
from .scenarios import SCENARIOS, Bench, Progress
from .trouble import Unusable, WrongOutcome

EX_OK, EX_WRONG, EX_USAGE, EX_UNAVAILABLE = 0, 1, 64, 69

DESCRIPTION = """Measures what sluice costs, beside the least that a sender can cost, in a network of its own.

  sluice-bench run                     every scenario
  sluice-bench run tls-1 plain-1       two of them
  sluice-bench run --short             seconds: whether all arrives, no figures to quote
  sluice-bench run tls-1 --under "perf record -g -o /tmp/perf.data"
  sluice-bench compare                 the same with every other mail server that is installed
  sluice-bench compare OLD.json NEW.json
  sluice-bench report RESULT.json --html FILE --markdown FILE
  sluice-bench tls-cache --help        which settings of the TLS session cache suit a workload

Scenarios:
"""


def parse(arguments):
    about = DESCRIPTION + "".join(f"  {s.name:10} {s.about}\n" for s in SCENARIOS.values())
    parser = argparse.ArgumentParser(prog="sluice-bench", description=about,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("run", "sluice beside the limit"), ("compare", "and peers; or two result files")):
        one = commands.add_parser(name, help=words)
        one.add_argument("scenario", nargs="*", help="default: all" if name == "run" else
                         "default: all; or two files that --json wrote")
        one.add_argument("--short", action="store_true", help="few messages: outcomes, not figures")
        one.add_argument("--spool-on", default="ext4", metavar="ext4|tmpfs|DIR",
                         help="ext4 (default): an image, mounted by loop (root)")
        one.add_argument("--repeat", type=int, metavar="N", help="rounds; the median counts (3, with --short 1)")
        one.add_argument("--messages", type=int, metavar="N", help="instead of the scenario's own number")
        one.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the result")
        one.add_argument("--out", type=pathlib.Path, metavar="DIR", help="result.json, report.html and plots")
        one.add_argument("--syscalls", action="store_true", help="count system calls a message in a run of its own")
        one.add_argument("--under", metavar="COMMAND", help="run sluice once under this instead of measuring")
        if name == "compare":
            one.add_argument("--peer", action="append", metavar="NAME", type=str.lower,
                             help="only these; may be given several times")
        one.add_argument("--build", type=pathlib.Path, metavar="DIR", help="default: build/release")
    one = commands.add_parser("report", help="a page and a table from result files")
    one.add_argument("result", nargs="+", type=pathlib.Path)
    one.add_argument("--html", type=pathlib.Path, metavar="FILE")
    one.add_argument("--markdown", type=pathlib.Path, metavar="FILE")
    one.add_argument("--plots", type=pathlib.Path, metavar="DIR", help="the SVG files alone")
    tls_cache.add_arguments(commands)
    options = parser.parse_args(arguments)
    if options.command == "tls-cache":
        return tls_cache.complete(options, parser)
    if options.command == "report":
        if not (options.html or options.markdown or options.plots):
            parser.error("report: --html, --markdown or --plots")
        return options
    names = {peer.title.lower() for peer in PEERS}
    strange = set(getattr(options, "peer", None) or ()) - names
    if strange:
        parser.error(f"--peer: {' '.join(sorted(strange))} is none of {' '.join(sorted(names))}")
    options.files = [pathlib.Path(word) for word in options.scenario if word.endswith(".json")]
    if options.files and (options.command == "run" or len(options.files) != 2 or len(options.scenario) != 2):
        parser.error("compare takes scenarios, or two result files")
    unknown = [word for word in options.scenario if word not in SCENARIOS]
    if unknown and not options.files:
        parser.error(f"no such scenario: {' '.join(unknown)}")
    if options.spool_on not in ("ext4", "tmpfs") and not pathlib.Path(options.spool_on).is_dir():
        parser.error(f"--spool-on: {options.spool_on} is no folder")
    if options.syscalls and not shutil.which("strace"):
        parser.error("--syscalls needs strace")
    return options


def default_build(here):
    return here.parent / "build/release"


def measure(options, here):
    peers = PEERS if options.command == "compare" else ()
    ground.enter(ground.roots_program(here) if peers else None)
    repeat = options.repeat or (1 if options.short else 3)
    results = []
    with ground.Ground(here, options.build or default_build(here), options.spool_on) as place:
        peers = [peer for peer in peers if is_wanted(peer, options) and is_here(peer, place)]
        result = {"format": 1, "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                  "command": shlex.join(["sluice-bench", *sys.argv[1:]]), "short": options.short, "repeat": repeat,
                  "machine": machine.describe(place), "load_before": machine.load(), "scenarios": results}
        print(f"spool on {result['machine']['spool_on']}", flush=True)
        bench = Bench(place, repeat, Progress(sys.stderr), peers)
        for name in options.scenario or default_scenarios(peers):
            scenario = SCENARIOS[name]
            num = options.messages or (scenario.num_short if options.short else scenario.num)
            if options.under:
                bench.sample(scenario, num, shlex.split(options.under))
                continue
            results.append(bench.run(scenario, num))
            if options.syscalls and not scenario.measure:
                bench.count_syscalls(scenario, num, results[-1])
            show(results[-1])
            result["load_after"] = machine.load()
            output.write(result, options, draw)  # so that a run that is ended early leaves what it has
    if results:
        print(tables.as_text(*tables.figures_table(results, options.short)))


def is_wanted(peer, options):
    return not options.peer or peer.title.lower() in options.peer


def is_here(peer, place):
    why = peer.unavailable(place)
    if why:
        print(f"{peer.name}: not here: {why}")
    return not why


def default_scenarios(peers):
    """All; beside peers those that some of them take part in."""
    return [name for name, scenario in SCENARIOS.items()
            if not peers or any(peer.takes_part(scenario) for peer in peers)]


def show(result):
    print(f"\n{result['scenario']}: {result['about']}; {result['messages']} messages")
    print(tables.as_text(*tables.senders_table(result)) + "\n", flush=True)


def draw(result, folder):
    report.write_html([result], folder / "report.html")
    report.write_plots([result], folder)


def load(path):
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: {error}") from error
    if not isinstance(result, dict) or result.get("format") != 1:
        raise Unusable(f"{path}: no result of sluice-bench run")
    return result


def compare_files(files):
    old, new = (load(path) for path in files)
    before = {(r["scenario"], name): value for r in old["scenarios"] for name, value in r["figures"].items()}
    rows = []
    for result in new["scenarios"]:
        for name, value in result["figures"].items():
            was = before.get((result["scenario"], name))
            if was:
                rows.append([result["scenario"], name, f"{was:.3f}", f"{value:.3f}", f"{(value / was - 1) * 100:+.1f} %"])
    print(tables.as_text(["scenario", "figure", files[0].name, files[1].name, "change"], rows))


def make_report(options):
    results = [load(path) for path in options.result]
    if options.html:
        report.write_html(results, options.html)
    if options.markdown:
        options.markdown.write_text(report.as_markdown(results))
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
        report.write_plots(results, options.plots)


def end(*_):
    raise KeyboardInterrupt


def main(here, arguments=None):
    options = parse(arguments)
    # Also when a shell started it in the background, where SIGINT is ignored: all that runs and is mounted must go.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        if options.command == "report":
            make_report(options)
        elif options.command == "tls-cache":
            tls_cache.run(options, here, options.build or default_build(here))
        elif options.files:
            compare_files(options.files)
        else:
            measure(options, here)
        return EX_OK
    except WrongOutcome as error:
        print(f"sluice-bench: {error}", file=sys.stderr)
        return EX_WRONG
    except Unusable as error:
        print(f"sluice-bench: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return 130
