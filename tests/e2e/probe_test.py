"""`sluice probe`: what it finds, and the exit code that says how mail would leave."""
import json
import subprocess

import pytest
from harness import Dns, assert_sanitizers_silent, program, render_config
from peer import Peer, Server
from policy_server import PolicyServer, policy
from tls_behaviours import Failing, NoTickets, Refusing, Wrapped

AUTHENTICATED, ENCRYPTED, PLAINTEXT, BOUNCED, DEFERRED = 0, 10, 11, 69, 75
EX_USAGE = 64
NAME = "mx.probe.test"


class Rude(Server):
    keywords = ["PIPELINING", "X-\x1b[31mRED", "8BITMIME"]


class Busy(Server):
    def on_connect(self):
        self.reply("421 4.3.2 too busy")
        return False


def probe(folder, config, *arguments):
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / "probe.conf"
    path.write_text(render_config({"hostname": "probe.example", **config}))
    out = subprocess.run([program("sluice"), "probe", "-c", str(path), *arguments], capture_output=True, text=True,
                         timeout=60, check=False)
    assert_sanitizers_silent(out.stderr)
    return out


def finding(folder, config, *arguments):
    out = probe(folder, config, "--json", *arguments)
    return out.returncode, json.loads(out.stdout)


@pytest.fixture(scope="session")
def certificate(authority):
    return authority.issue(NAME)


VERIFY = {"level": "verify", "match": NAME}
ROWS = [
    # level and more, what the receiver does, whether it has TLS, exit code
    ({"level": "may"}, Server, True, ENCRYPTED),
    ({"level": "may"}, Server, False, PLAINTEXT),
    ({"level": "may"}, Refusing, True, PLAINTEXT),
    ({"level": "may"}, Failing, True, DEFERRED),
    ({"level": "may", "on_failure": "plaintext-now"}, Failing, True, PLAINTEXT),
    ({"level": "none"}, Server, True, PLAINTEXT),
    ({"level": "encrypt"}, Server, False, DEFERRED),
    ({"level": "encrypt"}, Server, True, ENCRYPTED),
    (VERIFY, Server, True, AUTHENTICATED),
    ({"level": "verify", "match": "elsewhere.test"}, Server, True, DEFERRED),
    ({"level": "dane-only"}, Server, True, DEFERRED),
    ({**VERIFY, "wrapper": True}, Wrapped, True, AUTHENTICATED),
    ({"level": "may"}, Busy, True, DEFERRED),
]


@pytest.mark.parametrize("tls,behaviour,has_tls,code", ROWS,
                         ids=[f"{r[0]['level']}-{r[1].__name__}-{i}" for i, r in enumerate(ROWS)])
@pytest.mark.short(every=4)
def test_row(tmp_path, authority, certificate, tls, behaviour, has_tls, code):
    with Peer(behaviour, tls=certificate if has_tls else None) as peer:
        tls = {"system_ca_file": "none", "ca_file": str(authority.file), **tls}
        got, found = finding(tmp_path, {'destination "d.test"': {"next_hop": peer.next_hop, "tls": tls}}, "d.test")
        assert (got, found["destination"]) == (code, "d.test"), found
        assert not peer.messages and "MAIL" not in peer.verbs()
    fates = {AUTHENTICATED: "authenticated", ENCRYPTED: "encrypted", PLAINTEXT: "plaintext", DEFERRED: "refused"}
    assert found["fate"] == found["hosts"][0]["fate"] == fates[code]


def test_shows_handshake_certificate_and_resumption(tmp_path, authority, certificate):
    with Peer(Server, tls=certificate) as peer:
        config = {"tls": {"system_ca_file": "none", "ca_file": str(authority.file), "match": NAME},
                  'destination "*"': {"next_hop": peer.next_hop}}
        code, found = finding(tmp_path, config, "d.test")
        assert code == ENCRYPTED
        assert (peer.counts["full"], peer.counts["resumed"]) == (1, 1)
    session = found["hosts"][0]["sessions"][0]
    tls = session["tls"]
    assert (tls["version"], tls["group"], tls["verification"]) == ("TLSv1.3", "X25519", {"verify": "ok"})
    assert tls["second_resumed"] and tls["tickets"] >= 1
    assert tls["certificates"][0]["names"] == [NAME]
    assert len(tls["certificates"][0]["spki_sha256"]) == 64
    assert "STARTTLS" in session["extensions_before_tls"] and "STARTTLS" not in session["extensions"]
    assert 0 < session["connect_ms"] <= session["greeting_ms"] <= session["ready_ms"]


def test_a_server_without_tickets_is_seen_not_to_resume(tmp_path, certificate):
    with Peer(NoTickets, tls=certificate) as peer:
        _, found = finding(tmp_path, {'destination "*"': {"next_hop": peer.next_hop}}, "d.test")
    tls = found["hosts"][0]["sessions"][0]["tls"]
    assert (tls["tickets"], tls["second_resumed"]) == (0, False)
    assert tls["verification"]["verify"].startswith("certificate-not-trusted")


def test_the_first_host_in_order_that_takes_mail_decides(tmp_path, certificate):
    with Peer(Busy, address="127.0.0.2", tls=certificate) as busy, \
            Peer(Server, address="127.0.0.3", port=busy.port, tls=certificate) as good, \
            Peer(Server, address="127.0.0.4", port=busy.port) as plain, \
            Dns(tmp_path / "dns", ["d.test MX 60 10 busy.test", "d.test MX 60 20 good.test",
                                   "d.test MX 60 30 plain.test", "busy.test A 60 127.0.0.2",
                                   "good.test A 60 127.0.0.3", "plain.test A 60 127.0.0.4"]) as dns:
        config = {"smtp": {"port": busy.port}, "dns": {"servers": [dns.server], "allow_local": True, "ipv6": False}}
        code, found = finding(tmp_path, config, "D.test")
        assert code == ENCRYPTED
        assert [(h["name"], h["fate"]) for h in found["hosts"]] == [
            ("busy.test", "refused"), ("good.test", "encrypted"), ("plain.test", "plaintext")]
        assert "421" in found["hosts"][0]["sessions"][0]["why"]
        code, one = finding(tmp_path, config, "d.test", f"[127.0.0.4]:{plain.port}")
        assert (code, len(one["hosts"])) == (PLAINTEXT, 1)
        assert good.counts["connections"] == 2


RECORD, MAY = "v=STSv1; id=7;", ("may", "default")
STS_ROWS = [
    # page, TXT record, whether the policy allows the host, level and source there, exit code, what is said
    (policy("enforce", NAME, max_age=3600), RECORD, True, ("sts", "sts"), AUTHENTICATED,
     f"enforce, id 7, max_age 3600 s, mx {NAME}"),
    (policy("enforce", "*.elsewhere.test"), RECORD, False, ("sts", "sts"), DEFERRED, "does not allow this host"),
    (policy("testing", "*.elsewhere.test"), RECORD, False, MAY, ENCRYPTED, "does not allow this host"),
    (policy("none"), RECORD, None, MAY, ENCRYPTED, "MTA-STS: none, id 7"),
    ("nonsense", RECORD, None, MAY, ENCRYPTED, "no policy (sts-policy-invalid: "),
    (lambda h: h.answer(404, ""), RECORD, None, MAY, ENCRYPTED, "HTTP status 404"),
    (policy("enforce", NAME), "v=STSv1; id=;", None, MAY, ENCRYPTED, "the TXT record is not valid"),
    (policy("enforce", NAME), None, None, MAY, ENCRYPTED, "MTA-STS: no policy\n"),
]


@pytest.mark.parametrize("page,txt,allows,decided,code,words", STS_ROWS, ids=[str(i) for i in range(len(STS_ROWS))])
@pytest.mark.short(every=3)
def test_mta_sts(tmp_path, authority, certificate, page, txt, allows, decided, code, words):
    """The policy is looked up, said, and heeded as by a delivery."""
    records = [f'_mta-sts.d.test TXT 60 "{txt}"'] if txt else []
    with Peer(Server, tls=certificate) as peer, PolicyServer(authority) as web, \
            Dns(tmp_path / "dns", [f"d.test MX 60 10 {NAME}", f"{NAME} A 60 127.0.0.1",
                                   "mta-sts.d.test A 60 127.0.0.1", *records]) as dns:
        web.add("mta-sts.d.test", page)
        web.issue()
        config = {"smtp": {"port": peer.port}, "spool": str(tmp_path / "spool"),
                  "dns": {"servers": [dns.server], "allow_local": True, "ipv6": False},
                  "tls": {"system_ca_file": "none", "ca_file": str(authority.file), "sts": {"port": web.port}}}
        got, found = finding(tmp_path, config, "d.test")
        host = found["hosts"][0]
        assert (got, (host["policy"]["level"], host["policy"]["source"]), host["sts_allows"]) == (
            code, decided, allows), found
        out = probe(tmp_path, config, "d.test")
        assert (out.returncode, words in out.stdout) == (code, True), out.stdout
        _, other = finding(tmp_path, config, "d.test", peer.next_hop)  # the operator's own: nobody is asked
        assert (other["sts"], other["hosts"][0]["sts_allows"]) == (None, None)
    assert not (tmp_path / "spool").exists()


def test_an_mta_sts_record_that_cannot_be_had_is_said(tmp_path):
    with Dns(tmp_path / "dns", ["d.test MX 60 10 mx.d.test", "_mta-sts.d.test SERVFAIL"]) as dns:
        config = {"dns": {"servers": [dns.server], "tries": 1}, "spool": str(tmp_path / "spool")}
        _, found = finding(tmp_path, config, "d.test")
        assert (found["sts"]["record"], found["sts"]["mode"]) == ("failed", None)
        assert "the look-up of the TXT record failed" in probe(tmp_path, config, "d.test").stdout


def test_a_domain_that_takes_no_mail_bounces(tmp_path):
    with Dns(tmp_path / "dns", ["null.test MX 60 0 ."]) as dns:
        config = {"dns": {"servers": [dns.server]}}
        code, found = finding(tmp_path, config, "null.test")
        assert (code, found["route"]["verdict"]) == (BOUNCED, "bounce")
        text = probe(tmp_path, config, "null.test")
        assert (text.returncode, "would bounce" in text.stdout) == (BOUNCED, True)


def test_a_dead_port_is_deferred_and_said(tmp_path):
    with Peer(Server) as peer:
        dead = peer.next_hop
    code, found = finding(tmp_path, {'destination "*"': {"next_hop": dead}}, "d.test")
    assert (code, "refused" in found["hosts"][0]["sessions"][0]["why"]) == (DEFERRED, True)


def test_what_a_peer_says_reaches_no_terminal_raw(tmp_path, certificate):
    with Peer(Rude, tls=certificate) as peer:
        out = probe(tmp_path, {'destination "*"': {"next_hop": peer.next_hop}}, "--transcript", "d.test")
    assert out.returncode == ENCRYPTED
    assert "RED" in out.stdout and "\x1b" not in out.stdout + out.stderr
    assert "> EHLO probe.example" in out.stderr
    assert "a host that is not authenticated" in out.stdout


@pytest.mark.parametrize("arguments", [[], ["a b.test"], ["d.test", "[not an address"], ["--timeout", "x", "d.test"],
                                       ["a.test", "[127.0.0.1]", "c.test"]])
def test_wrong_arguments(tmp_path, arguments):
    out = probe(tmp_path, {}, *arguments)
    assert (out.returncode, bool(out.stderr)) == (EX_USAGE, True)
