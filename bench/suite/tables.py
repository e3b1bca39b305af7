"""Results as rows of text: the one form behind the terminal, Markdown and HTML."""

# (must, aim) of the figures that have a target; the others are shown for themselves.
TARGETS = {
    ("plain-1", "ratio to limit"): (2.0, 1.2), ("plain-100", "ratio to limit"): (2.0, 1.2),
    ("tls-1", "ratio to limit"): (2.0, 1.2), ("tls-100", "ratio to limit"): (2.0, 1.2),
    ("tls-conn", "ratio to limit"): (2.0, 1.2),
    ("tls-conn", "cache on over off, over the limit's own"): (1.25, 1.05),
    ("big", "ratio to limit"): (1.3, 1.1),
    ("plain-100", "two workers over one"): (1.1, 1.02), ("tls-100", "two workers over one"): (1.1, 1.02),
    ("wide", "CPU a domain, us"): (60, 30),
    ("slow", "memory a connection, KB"): (24, 8),
    ("deferred", "start to first delivery, s"): (10, 3), ("deferred", "resident memory, MB"): (400, 150),
    ("latency", "plaintext p50, ms"): (2, 0.5), ("latency", "plaintext p99, ms"): (10, 2),
    ("latency", "TLS p50, ms"): (2, 0.5), ("latency", "TLS p99, ms"): (10, 2),
    **{(scenario, f"sluice over {peer}"): targets for scenario in ("plain-1", "plain-100", "tls-1", "tls-100")
       for peer, targets in (("OpenSMTPD", (1 / 3, 1 / 5)), ("Postfix", (1 / 10, 1 / 18)))},
}

COLUMNS = (
    ("CPU us/msg", "cpu_us_median", "{:.1f}"), ("ratio", "ratio", "{:.2f}"),
    ("to sluice", "ratio_to_sluice", "{:.2f}"), ("msg/s", "rate", "{:.0f}"),
    ("RSS MB", "rss_kb", "{:.1f}"), ("connections", "connections", "{}"), ("full", "handshakes_full", "{}"),
    ("resumed", "handshakes_resumed", "{}"), ("duplicates", "duplicates", "{}"), ("syscalls/msg", "syscalls", "{:.2f}"),
    ("p50 ms", "50", "{:.3f}"), ("p99 ms", "99", "{:.3f}"),
)


def cell(row, key, form):
    if key in ("50", "99"):
        value = (row.get("latency_ms") or row.get("attempt_ms") or {}).get(key)
    else:
        value = row.get(key)
    if value is None:
        return ""
    return form.format(value / 1024 if key == "rss_kb" else value)


def senders_table(result):
    """Header and rows of a scenario; columns in which nothing stands are left out."""
    columns = [column for column in COLUMNS if any(cell(row, *column[1:]) for row in result["rows"])]
    header = ["sender", *(title for title, _, _ in columns)]
    return header, [[row["sender"], *(cell(row, key, form) for _, key, form in columns)] for row in result["rows"]]


def figures_table(results, short=False):
    """A short run is mostly start-up, and is not held against targets."""
    header = ["scenario", "figure", "measured", "must", "aim", ""]
    rows = []
    for result in results:
        for name, value in result["figures"].items():
            must, aim = (None, None) if short else TARGETS.get((result["scenario"], name), (None, None))
            verdict = "" if must is None else "aim" if value <= aim else "must" if value <= must else "missed"
            rows.append([result["scenario"], name, f"{value:.3g}" if value < 1000 else f"{value:.0f}",
                         "" if must is None else f"{must:.3g}", "" if aim is None else f"{aim:.3g}", verdict])
    return header, rows


def as_text(header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join("  ".join(word.ljust(width) if i == 0 else word.rjust(width)
                               for i, (word, width) in enumerate(zip(row, widths))).rstrip()
                     for row in [header, *rows])


def as_markdown(header, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [header, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def machine_rows(result):
    machine = result["machine"]
    rows = [["date", result["date"]], ["command", result["command"]],
            ["machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}"],
            ["system", f"{machine['system']}, Linux {machine['kernel']}"], ["spool on", machine["spool_on"]],
            ["versions", ", ".join(machine["versions"])], ["build", machine["build"]]]
    if machine["commit"]:
        rows.append(["commit", machine["commit"]])
    rows.append(["load average", f"{result['load_before']} before, {result['load_after']} after"])
    return rows
