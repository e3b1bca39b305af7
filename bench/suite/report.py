"""From results to a page, a table in Markdown and plots. pygal draws; it is loaded only for that."""
import html

from . import tables
from .trouble import Unusable

NOTE = ("Made by `sluice-bench report` from the JSON of a run; not edited by hand. CPU is the sender's alone, median of "
        "the rounds. Other work shared the machine (see the load average), so microseconds and rates differ from run "
        "to run: ratios are taken within a round and say more.")
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left;white-space:nowrap}h2{margin-top:2em}svg{max-width:100%;height:auto}"""


def drawing():
    try:
        import pygal
    except ImportError as error:
        raise Unusable("plots need python3-pygal") from error
    return pygal


def look(pygal, height, colors):
    """No script, no font and no style from elsewhere: a page with such a plot is whole."""
    style = pygal.style.Style(background="transparent", plot_background="transparent", colors=colors,
                              font_family="sans-serif", label_font_size=12, major_label_font_size=12,
                              value_font_size=12, legend_font_size=12, title_font_size=13, value_colors=("#222",) * 8)
    return {"js": [], "style": style, "width": 900, "height": height, "legend_at_bottom": True}


def cost_plot(scenario, pygal):
    """CPU a message: a bar for each sender, its label the ratio to the limit."""
    rows = [row for row in scenario["rows"] if row.get("cpu_us")]
    if not rows:
        return None
    chart = pygal.HorizontalBar(**look(pygal, 80 + 34 * len(rows), ("#2a6f97", "#a9bcc8")), print_values=True,
                                print_values_position="top", show_legend=False,
                                title="microseconds of CPU a message (ratio to limit)")
    rows = rows[::-1]  # pygal draws the first at the bottom
    chart.x_labels = [row["sender"] for row in rows]
    chart.add("", [bar(row) for row in rows])
    return chart.render(is_unicode=True, disable_xml_declaration=True)


def bar(row):
    words = f"{row['cpu_us_median']:.1f}" + (f" ({row['ratio']:.2f})" if row.get("ratio") else "")
    color = "#7fb2d0" if row["sender"].startswith("sluice") else "#c9d3da"
    return {"value": row["cpu_us_median"], "color": color, "formatter": lambda _: words}


def latency_plot(scenario, pygal):
    """Milliseconds at each percentile."""
    rows = [(row["sender"], row.get("latency_ms") or row.get("attempt_ms")) for row in scenario["rows"]]
    rows = [(name, points) for name, points in rows if points]
    if not rows:
        return None
    what = "rename to 250" if "latency_ms" in scenario["rows"][0] else "a connection took the message to its 250"
    chart = pygal.Line(**look(pygal, 300, ("#2a6f97", "#e07a2f", "#5b8c5a")), logarithmic=True, dots_size=2,
                       title=f"milliseconds from {what}, by percentile")
    chart.x_labels = list(rows[0][1])
    for name, points in rows:
        chart.add(name, [max(value, 0.001) for value in points.values()])
    return chart.render(is_unicode=True, disable_xml_declaration=True)


def plots(results):
    """(scenario, kind) -> svg; of a scenario in several results the first counts."""
    pygal = drawing()
    out = {}
    for result in results:
        for scenario in result["scenarios"]:
            for kind, draw in (("cost", cost_plot), ("latency", latency_plot)):
                svg = draw(scenario, pygal)
                if svg:
                    out[result["date"] + result["command"], scenario["scenario"], kind] = svg
    return out


def write_plots(results, folder):
    for number, result in enumerate(results):
        for (_, scenario, kind), svg in plots([result]).items():
            name = f"{scenario}-{kind}" + (f"-{number + 1}" if len(results) > 1 else "")
            (folder / f"{name}.svg").write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{svg}')


def table_html(header, rows):
    def line(tag, words):
        return "<tr>" + "".join(f"<{tag}>{html.escape(word)}</{tag}>" for word in words) + "</tr>"
    return f"<table>{line('th', header)}{''.join(line('td', row) for row in rows)}</table>"


def write_html(results, path):
    drawn = plots(results)
    parts = [f"<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>sluice-bench</title>"
             f"<style>{STYLE}</style></head><body><h1>sluice-bench</h1><p>{html.escape(NOTE.replace('`', ''))}</p>"]
    for result in results:
        parts.append(table_html(["machine", ""], tables.machine_rows(result)))
        parts.append(table_html(*tables.figures_table(result["scenarios"], result["short"])))
        for scenario in result["scenarios"]:
            name = scenario["scenario"]
            parts.append(f"<h2>{html.escape(name)}</h2><p>{html.escape(scenario['about'])}; "
                         f"{scenario['messages']} messages</p>{table_html(*tables.senders_table(scenario))}")
            parts += [drawn[key] for key in drawn if key[:2] == (result["date"] + result["command"], name)]
    path.write_text("\n".join([*parts, "</body></html>\n"]))


def as_markdown(results):
    parts = ["# Results", NOTE]
    for result in results:
        parts.append(f"## {result['command']}")
        parts.append(tables.as_markdown(["", ""], tables.machine_rows(result)))
        parts.append(tables.as_markdown(*tables.figures_table(result["scenarios"], result["short"])))
        for scenario in result["scenarios"]:
            parts.append(f"### {scenario['scenario']}\n\n{scenario['about']}; {scenario['messages']} messages")
            parts.append(tables.as_markdown(*tables.senders_table(scenario)))
    return "\n\n".join(parts) + "\n"
