"""sluice-bench tls-cache in its short form, and the rules of its model one by one. Outcomes only, no times."""
import json
import os
import pathlib
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SLUICE_BUILD", ROOT / "build/release")).resolve()
MODEL = BUILD / "bench/tls_cache/sluice-tls-cache-model"
GAP_S = 100  # between connections of arrivals()


def run(*command, expect=0):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout if expect == 0 else done.stderr


@pytest.fixture(scope="module")
def costs(tmp_path_factory):
    """Of ten handshakes of each kind with TLS 1.3 and 1.2, and the sessions that they left."""
    folder = tmp_path_factory.mktemp("costs")
    ports = folder / "ports"
    sink = subprocess.Popen([BUILD / "bench/sink/sluice-sink", "--listen", "127.0.0.1:0,tls=1.3",
                             "--listen", "127.0.0.1:0,tls=1.2", "--listen", "127.0.0.1:0,tls=1.3,rotate=1",
                             "--port-file", ports], stdout=subprocess.DEVNULL)
    try:
        while not ports.exists():
            assert sink.poll() is None
            time.sleep(0.01)
        measured = {}
        for version, line in zip(("1.3", "1.2", "rotating"), ports.read_text().splitlines()):
            measured[version] = json.loads(run(MODEL, "costs", "--connect", line.split()[1], "--num", 10,
                                               "--session", folder / version))
        yield folder, measured
    finally:
        sink.terminate()
        sink.wait()


@pytest.fixture
def model(costs, tmp_path):
    """Runs the model with a connection every GAP_S seconds to each destination in turn."""
    def run_model(kind, connections, *options, destinations=1, burst=1, expect=0):
        arrivals = tmp_path / "arrivals"
        arrivals.write_text("".join(f"{(i // burst) * GAP_S * 1000} {i // burst % destinations}\n"
                                    for i in range(connections)))
        out = run(MODEL, "run", "--session-1.3", costs[0] / "1.3", "--session-1.2", costs[0] / "1.2", "--mix", kind,
                  "--destinations", destinations, "--arrivals", arrivals, *options, expect=expect)
        if expect:
            return out
        answer = json.loads(out)
        tally = answer["kinds"][kind]
        assert tally["connections"] == connections == tally["full"] + tally["resumed"]
        counters = answer["counters"]
        assert counters["lookups"] == connections and counters["resumed"] == tally["resumed"]
        return {**tally, **answer}
    return run_model


def test_costs_are_of_the_kinds_that_were_asked_for(costs):
    _, measured = costs
    for version in ("1.3", "1.2"):
        one = measured[version]
        assert (one["full"]["num"], one["resumed"]["num"], one["refused"]["num"]) == (10, 10, 0)
        assert one["full"]["with_tickets_us"] >= one["full"]["handshake_us"] > 0 < one["resumed"]["handshake_us"]
        assert one["destination_octets"]["1"] > one["session_octets"] > 100
    assert measured["rotating"]["refused"]["num"] == 10 and measured["rotating"]["resumed"]["num"] == 0
    assert measured["1.3"]["destination_octets"]["2"] > measured["1.3"]["destination_octets"]["1"]


@pytest.mark.parametrize("kind", ["several", "one", "once", "no-reissue", "tls12"])
def test_all_but_the_first_resume_where_tickets_are_good(model, kind):
    assert model(kind, 50, "--timeout", 7200)["full"] == 1


def test_a_last_ticket_that_counts_once_is_refused_the_second_time(model):
    """Three begin together with one ticket in the cache: it is lent to each of them."""
    lent = model("once", 9, "--tickets-per-destination", 1, burst=3)
    assert lent["full"] == 3 + 2 * 2 and lent["refused"] == 4 and lent["counters"]["relent"] == 4
    assert model("several", 9, "--tickets-per-destination", 1, burst=3)["full"] == 3
    assert model("once", 9, "--tickets-per-destination", 4, burst=3)["full"] == 3


def test_without_tickets_none_resumes(model):
    answer = model("no-tickets", 20)
    assert answer["resumed"] == 0 and answer["counters"]["no_ticket"] == 19


def test_sessions_end_with_their_lifetime_or_the_timeout(model):
    for seconds, resumed in ((GAP_S - 1, 0), (GAP_S + 1, 19)):
        assert model("short", 20, "--short-lifetime", seconds)["resumed"] == resumed
        assert model("several", 20, "--timeout", seconds)["resumed"] == resumed


def test_keys_are_forgotten_by_handshakes_and_by_time(model):
    never = model("rotating", 10, "--rotation", 0, "--rotate-after", 1)
    assert (never["resumed"], never["refused"]) == (0, 9)
    assert model("rotating", 10, "--rotation", 0, "--rotate-after", 5)["full"] == 2
    by_time = model("rotating", 10, "--rotation", 5 * GAP_S)
    assert 2 <= by_time["full"] <= 3 and by_time["refused"] == by_time["full"] - 1
    assert model("rotating", 10, "--rotation", 0)["full"] == 1


def test_hosts_of_a_destination_share_what_the_scope_allows(model):
    four = ("--hosts", 2, "--addresses", 2, "--timeout", 100000, "--lifetime", 100000)
    full = {(kind, scope): model(kind, 100, *four, "--scope", scope)["full"]
            for kind in ("shared", "unshared") for scope in ("address", "host", "site")}
    assert full["shared", "address"] == full["unshared", "address"] == 4
    assert (full["shared", "host"], full["shared", "site"]) == (2, 1)
    assert full["unshared", "site"] > full["unshared", "host"] > 10
    assert model("shared", 100, *four, "--scope", "host", "--own-names")["full"] == 4
    assert model("unshared", 100, *four, "--scope", "site", "--route-ttl", 100000)["full"] == 1


def test_a_cache_that_is_too_small_forgets(model):
    cycle = ("--timeout", 100000, "--lifetime", 100000, "--stripes", 1)
    assert model("several", 100, *cycle, "--entries", 10, destinations=10)["full"] == 10
    lost = model("several", 100, *cycle, "--entries", 9, destinations=10)
    assert lost["resumed"] == 0 and lost["counters"]["evicted"] == 90 and lost["destinations_max"] == 9


def test_a_workload_follows_from_its_seed(costs):
    words = (MODEL, "run", "--session-1.3", costs[0] / "1.3", "--session-1.2", costs[0] / "1.2", "--duration", 60,
             "--destinations", 1000, "--mix", "several=2,rotating=1,unshared=1")
    assert run(*words) == run(*words) != run(*words, "--seed", 2)
    kinds = json.loads(run(*words, "--zipf", 0, "--rate", 500))["kinds"]
    assert 0.45 < kinds["several"]["connections"] / sum(kind["connections"] for kind in kinds.values()) < 0.55


def test_what_makes_no_sense_is_refused(model, costs, tmp_path):
    assert "address" not in run(MODEL, "run", "--scope", "planet", expect=64)
    assert "costs" in run(MODEL, "run", expect=64)
    assert "costs or run" in run(MODEL, expect=64)
    assert "MS DESTINATION" in model("several", 2, "--destinations", 1, destinations=2, expect=1)
    (tmp_path / "text").write_text("no session")
    assert "cannot be read" in run(MODEL, "run", "--session-1.3", tmp_path / "text", "--session-1.2", costs[0] / "1.2",
                                   expect=1)
    assert "connect" in run(MODEL, "costs", "--connect", "127.0.0.1:1", "--session", tmp_path / "x", expect=1)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    words = run(ROOT / "bench/sluice-bench", "tls-cache", "--short", "--build", BUILD, "--out", folder)
    return folder, words, json.loads((folder / "result.json").read_text())


def test_names_the_best_and_the_one_that_is_enough(swept):
    _, words, result = swept
    rows, choice = result["settings"], result["choice"]
    assert len(rows) == 3 * 2 * 2 * 2
    best, enough = rows[choice["best"]], rows[choice["enough"]]
    assert best["cpu_us"] == min(row["cpu_us"] for row in rows) < best["cpu_us_without"]
    assert enough["cpu_us"] <= best["cpu_us"] * 1.01
    assert enough["octets"] == min(row["octets"] for row in rows if row["cpu_us"] <= best["cpu_us"] * 1.01)
    assert f"entries = {enough['entries']}" in words and f"scope = \"{enough['scope']}\"" in words
    assert words.count("enough") >= 2 and "measured here" in words


def test_more_entries_never_resume_less(swept):
    rows = swept[2]["settings"]
    for row in rows:
        for other in rows:
            if all(row[name] == other[name] for name in ("tickets-per-destination", "timeout", "scope")) and \
                    other["entries"] > row["entries"]:
                assert other["hit_rate"] >= row["hit_rate"]


def test_the_model_agrees_with_the_router(swept):
    """sluice-bench exits with 1 when they differ by more than the tolerance; here: that it looked."""
    check = swept[2]["check"]
    assert check["tolerance"] == 0.05 and len(check["workloads"]) == 2
    for one in check["workloads"]:
        assert abs(one["real"] - one["model"]) <= check["tolerance"] and 0.2 < one["real"] < 0.95
        assert one["kinds"]["no-tickets"]["real"][0] == 0 < one["kinds"]["no-tickets"]["real"][1]


def test_draws_what_it_found(swept):
    for name in ("resumed", "cost"):
        svg = (swept[0] / f"tls-cache-{name}.svg").read_text()
        assert "<svg" in svg and "circle" in svg
    assert "enough" in (swept[0] / "tls-cache-cost.svg").read_text()
