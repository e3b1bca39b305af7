"""Operating a running router: status and the control socket."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from harness import EX_OK, EX_TEMPFAIL, PATIENCE, Router, Sink, merge, message, program, wait_for
from peer import Peer, Server

EX_NOINPUT, EX_UNAVAILABLE = 66, 69
FAST = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}


def to_sink(sink, **more):
    return {**FAST, 'destination "*"': {"next_hop": sink.next_hop, **more}}


def run(router, *arguments):
    """A subcommand with the router's configuration: (exit code, stdout, stderr)."""
    done = subprocess.run([program("sluice"), arguments[0], "-c", str(router.config_path), *arguments[1:]],
                          capture_output=True, text=True, timeout=60 * PATIENCE)
    return done.returncode, done.stdout, done.stderr


def start(router):
    router.start()  # the socket alone says nothing: a killed router leaves its own
    wait_for(lambda: run(router, "status")[0] == EX_OK, "an answer")


def status(router):
    code, out, err = run(router, "status", "--json")
    assert code in (EX_OK, EX_TEMPFAIL), (code, out, err)
    return json.loads(out)


def ask_raw(router, text):
    """The answers to what is sent as it is; the address is relative, since test folders have long names."""
    folder = os.open(router.spool.path, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30 * PATIENCE)
            connection.connect(f"/proc/self/fd/{folder}/control")
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            out = b""
            while chunk := connection.recv(65536):
                out += chunk
    finally:
        os.close(folder)
    return [json.loads(line) for line in out.splitlines()]


def test_status_without_a_router_says_so(tmp_path):
    router = Router(tmp_path, FAST)
    router.command()
    code, _, err = run(router, "status")
    assert code == EX_UNAVAILABLE and "no router is running" in err
    shutil.rmtree(router.spool.path)
    code, _, err = run(router, "status")
    assert code == EX_NOINPUT and str(router.spool.path) in err


def test_status_of_a_running_router(tmp_path):
    with Sink(tmp_path / "sink", "reject=bad@d.test,defer=later@d.test") as sink:
        router = Router(tmp_path, to_sink(sink))
        before = time.time()
        start(router)
        router.spool.drop("m", message(["good@d.test", "bad@d.test", "later@d.test"], ident="m", sender=""))
        wait_for(lambda: status(router)["messages"]["waiting"] == 1, "the message to be deferred")
        now = status(router)
        assert now["state"] == "running" and now["pauses"] == []
        assert now["pid"] == router.process.pid
        assert before - 1 <= now["started"] <= time.time() + 1
        assert now["recipients"] == {"delivered": 1, "deferred": 1, "bounced": 1}
        assert now["messages"] == {"waiting": 1, "held": 0, "in_doubt": 0, "loaded": 0, "in_flight": 0}
        assert now["commit"]["lag"] == 0
        code, out, _ = run(router, "status")
        assert code == EX_OK and out.startswith("running: sluice ") and "1 delivered, 1 deferred, 1 bounced" in out
        assert router.stop() == EX_OK
        assert not (router.spool.path / "control").exists()
        assert run(router, "status")[0] == EX_UNAVAILABLE


class Gated(Server):
    """Reads the content and answers when the test says what."""
    gate = None

    def on_content(self, content):
        self.gate.wait(120)
        if self.gate.reply.startswith("250"):
            self.take(content)
        return self.reply(self.gate.reply)


def test_what_is_in_flight_is_counted(tmp_path):
    gate = threading.Event()
    gate.reply = "250 2.0.0 ok"
    with Peer(type("Here", (Gated,), {"gate": gate})) as peer:
        router = Router(tmp_path, to_sink(peer))
        start(router)
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        wait_for(lambda: status(router)["messages"]["in_flight"] == 1, "the delivery to be under way")
        gate.set()
        wait_for(lambda: status(router)["recipients"]["delivered"] == 1, "its end")
        router.stop()


def test_the_socket_of_a_killed_router_is_replaced(tmp_path):
    router = Router(tmp_path, FAST)
    start(router)
    os.kill(router.process.pid, signal.SIGKILL)
    router.process.wait()
    control = router.spool.path / "control"
    assert stat.S_ISSOCK(control.stat().st_mode)
    assert run(router, "status")[0] == EX_UNAVAILABLE
    router.start()
    wait_for(lambda: run(router, "status")[0] == EX_OK, "an answer")
    assert stat.S_IMODE(control.stat().st_mode) == 0o600
    router.stop()


def test_the_socket_speaks_lines_of_json_and_survives_nonsense(tmp_path):
    router = Router(tmp_path, FAST)
    start(router)
    answers = ask_raw(router, '{"command":"status"}\n{"command":"no such"}\n{}\nnonsense\n[]\n{"command":"status"}\n')
    assert [a["ok"] for a in answers] == [True, False, False, False, False, True]
    assert {a["code"] for a in answers[1:5]} == {"usage"}
    assert ask_raw(router, "x" * 65536)[0]["code"] == "usage"
    assert ask_raw(router, "[" * 50000 + "\n")[0]["code"] == "usage"
    assert status(router)["state"] == "running"
    router.stop()


def operate(router, operation, *what):
    """`sluice queue OPERATION`: (exit code, {id: result})."""
    code, out, err = run(router, "queue", operation, "--json", *what)
    rows = [json.loads(line) for line in out.splitlines()]
    return code, {row["id"]: row["result"] for row in rows}, err


def by_sender(router):
    return {row["sender"].split("@")[0]: row for row in router.queue()}


def drop(router, name, recipients=("u@d.test",)):
    router.spool.drop(name, message(list(recipients), sender=f"{name}@origin.test", ident=name))


def arrived(sink):
    return sorted(line.split(b"<")[1].split(b"@")[0].decode() for _, content in sink.messages()
                  for line in content.split(b"\r\n") if line.startswith(b"Message-ID:"))


@pytest.fixture(params=["running", "stopped"])
def deferring(request, tmp_path):
    """Three deferred messages of senders a, b, c; with a running router, and without one."""
    with Sink(tmp_path / "sink", "defer-first=1") as sink:
        router = Router(tmp_path, to_sink(sink, connections=1))
        for name in "abc":
            drop(router, name, [f"u@{name}.test"])
        assert router.drain().code == EX_TEMPFAIL
        if request.param == "running":
            start(router)
        yield router, sink
        if request.param == "running":
            router.stop()


def finish(router):
    """Ends a running router and tries what is due: nothing else can be in the way."""
    if router.process.is_running():
        router.stop()
    return router.drain()


def test_hold_release_and_retry(deferring):
    router, sink = deferring
    rows = by_sender(router)
    a, b, c = (rows[name]["id"] for name in "abc")
    assert operate(router, "release", a) == (65, {a: "not held"}, "")
    assert operate(router, "hold", a, b)[:2] == (EX_OK, {a: "done", b: "done"})
    rows = by_sender(router)
    assert rows["a"]["path"] == f"hold/{a}" and rows["a"]["held"] == "operator"
    assert rows["a"]["recipients"][0]["attempts"] == 1
    assert rows["c"]["path"].startswith("deferred/") and rows["c"]["held"] is None
    assert operate(router, "hold", a)[1] == {a: "held already"}
    assert operate(router, "retry", a)[1] == {a: "held already"}
    assert operate(router, "retry", c)[:2] == (EX_OK, {c: "done"})
    if router.process.is_running():
        wait_for(lambda: arrived(sink) == ["c"], "what was retried")
    assert finish(router).code == EX_TEMPFAIL
    assert arrived(sink) == ["c"]
    assert router.spool.files() == sorted([f"hold/{a}", f"hold/{b}"])
    assert operate(router, "release", a)[:2] == (EX_OK, {a: "done"})
    assert by_sender(router)["a"]["path"] == f"deferred/{a[-2:]}/{a}"
    router.drain()
    assert arrived(sink) == ["a", "c"]
    assert operate(router, "remove", b)[:2] == (EX_OK, {b: "done"})
    assert router.spool.is_empty() and router.queue() == []
    assert finish(router).code == EX_OK
    assert arrived(sink) == ["a", "c"]


def test_remove_sends_no_bounce_and_says_so_in_the_log(deferring):
    router, sink = deferring
    ids = {name: row["id"] for name, row in by_sender(router).items()}
    code, results, err = operate(router, "remove", "--sender", "A@origin.test")
    assert (code, results) == (EX_OK, {ids["a"]: "done"})
    line = re.compile(rf"{ids['a']}: .*removed by an operator")
    if router.process.is_running():  # whose log is written by a thread of its own, after the answer perhaps
        wait_for(lambda: line.search(router.process.stderr()), "the line in the log")
    else:
        assert line.search(err)
    assert set(by_sender(router)) == {"b", "c"}
    assert operate(router, "remove", ids["a"])[:2] == (65, {ids["a"]: "unknown"})
    code, results, _ = operate(router, "remove", "--all")
    assert (code, results) == (EX_OK, {ids["b"]: "done", ids["c"]: "done"})
    assert finish(router).code == EX_OK
    assert router.spool.is_empty() and arrived(sink) == []


def test_a_selection_by_recipient_domain_touches_nothing_else(deferring):
    router, _ = deferring
    ids = {name: row["id"] for name, row in by_sender(router).items()}
    assert operate(router, "hold", "--recipient-domain", "B.test")[1] == {ids["b"]: "done"}
    assert operate(router, "release", "--all")[1] == {ids["b"]: "done"}
    assert operate(router, "release", "--all")[:2] == (EX_OK, {})
    listed = run(router, "queue", "--json", "--recipient-domain", "c.test")[1].splitlines()
    assert [json.loads(line)["id"] for line in listed] == [ids["c"]]


def test_what_is_held_survives_a_kill_at_once_after_the_answer(deferring):
    router, sink = deferring
    a = by_sender(router)["a"]["id"]
    assert operate(router, "hold", a)[:2] == (EX_OK, {a: "done"})
    if router.process.is_running():
        router.kill()
    start(router)
    assert by_sender(router)["a"]["held"] == "operator"
    assert operate(router, "remove", a)[:2] == (EX_OK, {a: "done"})
    router.kill()
    assert "a" not in by_sender(router)
    start(router)
    assert "a" not in by_sender(router)
    router.stop()


@pytest.mark.parametrize("operation, reply, result, left", [
    ("hold", "250 2.0.0 ok", "ended", None),
    ("remove", "250 2.0.0 ok", "ended", None),
    ("release", "250 2.0.0 ok", "not held", None),
    ("retry", "250 2.0.0 ok", "done", None),
    ("hold", "451 4.3.0 later", "done", "hold/"),
    ("remove", "451 4.3.0 later", "done", None),
    ("hold", "550 5.1.1 no", "ended", None),
])
def test_what_is_being_delivered_is_not_cut_short(tmp_path, operation, reply, result, left):
    gate = threading.Event()
    gate.reply = reply
    with Peer(type("Here", (Gated,), {"gate": gate})) as peer:
        router = Router(tmp_path, to_sink(peer))
        start(router)
        router.spool.drop("m", message(["u@d.test"], sender="", ident="m"))
        ident = wait_for(lambda: [row["id"] for row in router.queue() if row["id"]], "the intent")[0]
        answer = subprocess.Popen(
            [program("sluice"), "queue", "-c", str(router.config_path), operation, "--json", ident],
            stdout=subprocess.PIPE, text=True)
        if result in ("ended",) or left or reply.startswith("451"):
            wait_for(lambda: f"{ident}: {operation}, as asked" in router.process.stderr(), "the wish to be taken")
            assert answer.poll() is None  # nothing is said before the attempt has ended
        else:
            answer.wait(30 * PATIENCE)
        gate.set()
        out, _ = answer.communicate(timeout=60 * PATIENCE)
        assert json.loads(out) == {"id": ident, "result": result}
        wait_for(lambda: len(router.spool.files("new")) == 0, "the end of the delivery")
        router.stop()
        assert len(peer.messages) == reply.startswith("250")
        files = [path for path in router.spool.files() if not path.startswith("bad/")]
        assert files == ([left + ident] if left else [])


def test_an_operation_that_waits_does_not_outlive_the_router(tmp_path):
    gate = threading.Event()
    gate.reply = "451 4.3.0 later"
    with Peer(type("Here", (Gated,), {"gate": gate})) as peer:
        router = Router(tmp_path, merge(to_sink(peer), {"queue": {"shutdown_grace": "100ms"}}))
        start(router)
        drop(router, "m")
        ident = wait_for(lambda: [row["id"] for row in router.queue() if row["id"]], "the intent")[0]
        answer = subprocess.Popen(
            [program("sluice"), "queue", "-c", str(router.config_path), "hold", "--json", ident],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: f"{ident}: hold, as asked" in router.process.stderr(), "the wish to be taken")
        router.stop()
        out, err = answer.communicate(timeout=60 * PATIENCE)
        gate.set()
        if answer.returncode == EX_OK:  # the attempt was cut short and the message held
            assert json.loads(out)["result"] == "done" and router.spool.files() == [f"hold/{ident}"]
        else:
            assert json.loads(out)["result"] == "busy" if out else err


def test_wrong_requests_are_refused(tmp_path):
    router = Router(tmp_path, FAST)
    start(router)
    for wrong in ({"operation": "hold"}, {"operation": "hold", "ids": "0123456789abc"}, {"ids": []},
                  {"operation": "hold", "ids": ["x"]}, {"operation": "explode", "ids": []},
                  {"operation": "hold", "ids": ["0123456789abc"] * 257}):
        (answer,) = ask_raw(router, json.dumps({"command": "queue", **wrong}) + "\n")
        assert (answer["ok"], answer["code"]) == (False, "usage"), wrong
    assert ask_raw(router, '{"command":"queue","operation":"hold","ids":[]}\n')[0]["results"] == []
    for arguments in (["hold"], ["hold", "x"], ["hold", "--all", "0123456789abc"], ["explode"],
                      ["hold", "--all", "--sender", "a@b"]):
        assert run(router, "queue", *arguments)[0] == 64, arguments
    router.stop()
