"""The sweep as text and as plots."""
from . import report, tables

AXES = ("entries", "tickets-per-destination", "timeout", "scope")
HEADER = ("entries", "tickets", "timeout", "scope", "hits", "resumed", "refused", "lent again", "CPU us/conn", "saved", "memory MB", "")


def duration(seconds):
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def costs_text(result):
    """Once measured: what everything else is computed from."""
    rows = []
    for version, costs in result["costs"].items():
        full, resumed = costs["full"], costs["resumed"]
        octets = costs["destination_octets"]
        rows.append([f"TLS {version}", f"{full['with_tickets_us']:.0f}", f"{resumed['with_tickets_us']:.0f}",
                     f"{costs['refused']['with_tickets_us']:.0f}", str(octets["1"]),
                     str(octets["2"] - octets["1"]) if octets["2"] > octets["1"] else "-"])
    header = ["measured here", "full us", "resumed us", "refused us", "destination octets", "a session more"]
    return tables.as_text(header, rows)


def cells(row, note=""):
    return [str(row["entries"]), str(row["tickets-per-destination"]), duration(row["timeout"]), row["scope"],
            f"{row['hit_rate']:.2%}", f"{row['resumed_rate']:.2%}", f"{row['refused_rate']:.2%}", f"{row['counters']['relent'] / row['connections']:.1%}", f"{row['cpu_us']:.1f}",
            f"{row['saved']:.1%}", f"{row['octets'] / 2**20:.1f}", note]


def around(rows, index):
    """Those that differ from it in one option."""
    chosen = rows[index]
    for axis in AXES:
        for i, row in enumerate(rows):
            if all(row[other] == chosen[other] for other in AXES if other != axis):
                yield axis, i


def settings_text(result, everything):
    rows, choice = result["settings"], result["choice"]
    notes = {choice["best"]: "best", choice["enough"]: "enough"}
    if choice["best"] == choice["enough"]:
        notes = {choice["best"]: "best, enough"}
    parts = [f"\n{rows[0]['connections']} connections; without a cache {rows[0]['cpu_us_without']:.1f} us each"]
    if everything or len(rows) <= 24:
        order = sorted(range(len(rows)), key=lambda i: rows[i]["cpu_us"])
        parts.append(tables.as_text(HEADER, [cells(rows[i], notes.get(i, "")) for i in order]))
    else:
        shown = [cells(rows[i], note) for i, note in sorted(notes.items(), key=lambda item: rows[item[0]]["cpu_us"])]
        parts.append(tables.as_text(HEADER, shown))
        for axis in AXES:
            varied = [i for name, i in around(rows, choice["enough"]) if name == axis]
            if len(varied) > 1:
                parts.append(f"\n{axis}, the rest as in the one that is enough:\n" +
                             tables.as_text(HEADER, [cells(rows[i], notes.get(i, "")) for i in varied]))
    parts += [reasons_text(rows[choice["enough"]]), kinds_text(rows[choice["enough"]]), configuration_text(result)]
    if "check" in result:
        parts.append(check_text(result["check"]))
    return "\n".join(parts)


def reasons_text(row):
    counters = row["counters"]
    names = ("first", "used_up", "expired", "evicted", "refused", "no_ticket", "key_changed")
    return "\nfull handshakes with the one that is enough: " + \
        ", ".join(f"{counters[name]} {name}" for name in names if counters[name])


def kinds_text(row):
    lines = [[name, str(kind["connections"]), f"{kind['resumed'] / kind['connections']:.2%}",
              f"{kind['refused'] / kind['connections']:.2%}"] for name, kind in row["kinds"].items()]
    return tables.as_text(["servers", "connections", "resumed", "refused"], lines) if len(lines) > 1 else ""


def configuration_text(result):
    row, best = (result["settings"][result["choice"][name]] for name in ("enough", "best"))
    saved = row["cpu_us_without"] - row["cpu_us"]
    return (f"\nEnough (within 1 % of the best one's CPU, the least memory; the best needs "
            f"{best['octets'] / 2**20:.1f} MB for {best['cpu_us']:.1f} us):\n"
            f"  tls {{ session_cache {{ entries = {row['entries']}  "
            f"tickets_per_destination = {row['tickets-per-destination']}  timeout = \"{duration(row['timeout'])}\"  "
            f"scope = \"{row['scope']}\" }} }}\n"
            f"It saves {saved:.0f} us of {row['cpu_us_without']:.0f} a connection: "
            f"{saved * row['connections'] / 1e6:.1f} s of CPU in the time imagined.")


def check_text(check):
    rows = [[one["name"], str(one["connections"]), f"{one['real']:.1%}", f"{one['model']:.1%}",
             f"{(one['model'] - one['real']) * 100:+.1f}"] for one in check["workloads"]]
    return "\nThe model beside the router, resumed connections:\n" + \
        tables.as_text(["workload", "connections", "router", "model", "points"], rows)


def rate_plot(result, pygal):
    """Resumed connections by entries, a line for each number of tickets."""
    rows, chosen = result["settings"], result["settings"][result["choice"]["enough"]]
    colors = ("#2a6f97", "#e07a2f", "#5b8c5a", "#8c5a83", "#7a7a7a", "#b8860b")
    chart = pygal.Line(**report.look(pygal, 360, colors), x_title="entries", dots_size=3,
                       title=f"resumed connections, % (timeout {duration(chosen['timeout'])}, scope {chosen['scope']})")
    chart.x_labels = [str(n) for n in result["swept"]["entries"]]
    for tickets in result["swept"]["tickets-per-destination"]:
        line = {row["entries"]: row["resumed_rate"] * 100 for row in rows
                if row["tickets-per-destination"] == tickets and row["timeout"] == chosen["timeout"] and
                row["scope"] == chosen["scope"]}
        chart.add(f"{tickets} ticket" + ("s" if tickets > 1 else ""), [line[n] for n in result["swept"]["entries"]])
    return chart


def cost_plot(result, pygal):
    """Every setting: memory and CPU."""
    rows, choice = result["settings"], result["choice"]
    chart = pygal.XY(**report.look(pygal, 360, ("#a9bcc8", "#5b8c5a", "#e07a2f")), stroke=False, dots_size=4,
                     x_title="memory, MB", y_title="CPU of handshakes, us a connection",
                     title="each setting: what it holds and what connections cost with it")
    named = {choice["best"], choice["enough"]}
    chart.add("settings", [point(row) for i, row in enumerate(rows) if i not in named])
    chart.add("best", [point(rows[choice["best"]])])
    chart.add("enough", [point(rows[choice["enough"]])])
    return chart


def point(row):
    label = f"{row['entries']} entries, {row['tickets-per-destination']} tickets, {duration(row['timeout'])}, {row['scope']}"
    return {"value": (row["octets"] / 2**20, row["cpu_us"]), "label": label}


def write_plots(result, folder):
    pygal = report.drawing()
    for name, draw in (("resumed", rate_plot), ("cost", cost_plot)):
        svg = draw(result, pygal).render(is_unicode=True, disable_xml_declaration=True)
        (folder / f"tls-cache-{name}.svg").write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{svg}')
