"""Operating a running router: status and the control socket."""
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time

from harness import EX_OK, EX_TEMPFAIL, PATIENCE, Router, Sink, message, program, wait_for

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
    router.start()
    wait_for(lambda: (router.spool.path / "control").exists(), "the control socket")


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
        assert now["messages"]["loaded"] == 0 and now["messages"]["in_flight"] == 0
        assert now["commit"]["lag"] == 0
        code, out, _ = run(router, "status")
        assert code == EX_OK and out.startswith("running: sluice ") and "1 delivered, 1 deferred, 1 bounced" in out
        assert router.stop() == EX_OK
        assert not (router.spool.path / "control").exists()
        assert run(router, "status")[0] == EX_UNAVAILABLE


def test_what_is_in_flight_is_counted(tmp_path):
    with Sink(tmp_path / "sink", "delay=1500") as sink:
        router = Router(tmp_path, to_sink(sink))
        start(router)
        router.spool.drop("m", message(["u@d.test"], ident="m"))
        wait_for(lambda: status(router)["messages"]["in_flight"] == 1, "the delivery to be under way")
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
