"""AUTH to a next hop (RFC 4954): a receiver that really checks each mechanism, and ones that misbehave."""
import base64
import hashlib
import hmac
import os
import subprocess

import pytest
from harness import EX_CONFIG, EX_OK, EX_TEMPFAIL, Router, message, program
from peer import Peer, Server

BASE = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}
NAME, USER, SECRET = "relay.test", "mta1@example.test", "pen=cil, and more"


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


def hash_of(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Cancelled(Exception):
    pass


class Checking(Server):
    """Serves mail to whoever knows the secret, and to nobody else."""

    offers = "AUTH PLAIN LOGIN SCRAM-SHA-256"
    secret = SECRET
    iterations = 4096
    is_known = False

    def on_ehlo(self, name):
        offered = [self.offers] if self.tls_version or not self.peer.tls else []
        self.keywords = Server.keywords + offered
        return super().on_ehlo(name)

    def on_mail(self, sender, params):
        return super().on_mail(sender, params) if self.is_known else self.reply("530 5.7.0 who are you?")

    def on_other(self, line):
        words = line.split(" ")
        if words[0].upper() != "AUTH":
            return super().on_other(line)
        self.peer.count(words[1])
        step = {"PLAIN": self.plain, "LOGIN": self.login, "SCRAM-SHA-256": self.scram}[words[1]]
        try:
            return self.verdict(step(words[2] if len(words) > 2 else None))
        except Cancelled:
            return self.reply("501 5.7.0 cancelled")

    def verdict(self, knows):
        self.is_known = knows
        return self.reply("235 2.7.0 welcome" if knows else "535 5.7.8 wrong")

    def ask(self, challenge):
        self.reply("334 " + challenge)
        line = self.conn.read_line()
        self.peer.record(self.number, line)
        if line == "*":
            raise Cancelled
        return base64.b64decode(line, validate=True).decode()

    def plain(self, first):
        answer = self.ask("") if first is None else base64.b64decode(first, validate=True).decode()
        return answer == f"\0{USER}\0{self.secret}"

    def login(self, first):
        user = self.ask(b64("Username:"))
        return (user, self.ask(b64("Password:"))) == (USER, self.secret)

    def server_final(self, signature):
        return "v=" + b64(signature)

    def scram(self, first):
        client_first = base64.b64decode(first).decode()
        assert client_first.startswith("n,,")
        bare = client_first[3:]
        user, nonce = bare[2:].split(",r=")
        assert user.replace("=2C", ",").replace("=3D", "=") == USER
        nonce, salt = nonce + "server", os.urandom(16)
        server_first = f"r={nonce},s={b64(salt)},i={self.iterations}"
        final = self.ask(b64(server_first))
        without_proof, proof = final.rsplit(",p=", 1)
        salted = hashlib.pbkdf2_hmac("sha256", self.secret.encode(), salt, self.iterations)
        text = ",".join([bare, server_first, without_proof])
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof),
                                          hash_of(hashlib.sha256(hash_of(salted, "Client Key")).digest(), text)))
        if hashlib.sha256(key).digest() != hashlib.sha256(hash_of(salted, "Client Key")).digest():
            return False
        assert self.ask(b64(self.server_final(hash_of(hash_of(salted, "Server Key"), text)))) == ""
        return without_proof == f"c=biws,r={nonce}"


def offering(words, base=Checking, **members):
    return type(base.__name__, (base,), {"offers": words, **members})


class Impostor(Checking):
    """Lets everybody in, without knowing the secret."""

    def server_final(self, signature):
        return "v=" + b64(b"\0" * 32)


class Hasty(Checking):
    """Says 235 to the first message already."""

    def scram(self, first):
        return True


class Reply(Checking):
    text = ""

    def on_other(self, line):
        return self.reply(self.text) if line.upper().startswith("AUTH") else self.reply("501 5.5.4 cancelled")


def replying(text):
    return offering(Checking.offers, Reply, text=text)


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue(NAME)


def secret_file(folder, text=SECRET, mode=0o600):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "secret"
    path.write_text(text + "\n")
    path.chmod(mode)
    return str(path)


def router_to(folder, peer, authority, auth=None, tls=None):
    auth = {"user": USER, "secret_file": secret_file(folder), **(auth or {})}
    tls = {"level": "verify", "match": NAME, "system_ca_file": "none", "ca_file": str(authority.file), **(tls or {})}
    return Router(folder, {**BASE, "log": {"transcript": True, "level": "debug"},
                           'destination "*"': {"next_hop": peer.next_hop, "auth": auth, "tls": tls}})


def drain(router, count=1):
    for i in range(count):
        router.spool.drop(f"m{i}", message(["a@d.test"], ident=f"m{i}"))
    return router.drain()


@pytest.mark.parametrize("offers,allowed,used", [
    ("AUTH PLAIN LOGIN SCRAM-SHA-256", None, "SCRAM-SHA-256"),
    ("AUTH LOGIN PLAIN CRAM-MD5", None, "PLAIN"),
    ("AUTH=LOGIN", None, "LOGIN"),
    ("AUTH PLAIN LOGIN SCRAM-SHA-256", "LOGIN", "LOGIN"),
    ("AUTH PLAIN LOGIN SCRAM-SHA-256", "LOGIN PLAIN", "PLAIN"),
])
@pytest.mark.parametrize("split", [False, True])
def test_each_mechanism_once_a_session(tmp_path, authority, certificate, offers, allowed, used, split):
    with Peer(offering(offers), tls=certificate, split=split) as peer:
        result = drain(router_to(tmp_path, peer, authority, {"mechanisms": allowed} if allowed else None), count=3)
    assert (result.code, len(result.events("delivered"))) == (EX_OK, 3)
    assert peer.counts[used] == peer.counts["connections"]
    assert len(peer.messages) == 3


@pytest.mark.parametrize("used", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_no_secret_is_shown(tmp_path, authority, certificate, used):
    with Peer(Checking, tls=certificate) as peer:
        router = router_to(tmp_path, peer, authority, {"mechanisms": used})
        result = drain(router)
        shown = subprocess.run([program("sluice"), "check", "-c", router.config_path], capture_output=True, check=True).stdout
    transcript = (tmp_path / "delivery.log.transcript").read_text()
    assert f"AUTH {used}" in transcript and "****" in transcript and "235" in transcript
    for text in (transcript, shown.decode(), result.stderr, str(result.log)):
        for secret in (SECRET, b64(SECRET), b64(f"\0{USER}\0{SECRET}"), ",p="):
            assert secret not in text


def test_a_long_answer_goes_without_initial_response(tmp_path, authority, certificate):
    long = "x" * 255
    with Peer(offering("AUTH PLAIN", secret=long), tls=certificate) as peer:
        user = "u" * 200
        router = router_to(tmp_path, peer, authority, {"user": user})
        secret_file(tmp_path, long)
        global_user = globals()["USER"]
        globals()["USER"] = user
        try:
            result = drain(router)
        finally:
            globals()["USER"] = global_user
    assert result.code == EX_OK
    assert (0, "AUTH PLAIN") in peer.commands


@pytest.mark.parametrize("behaviour,enhanced,words", [
    (offering("AUTH PLAIN", secret="other"), "4.7.8", "wrong"),
    (offering("AUTH LOGIN", secret="other"), "4.7.8", "wrong"),
    (offering("AUTH SCRAM-SHA-256", secret="other"), "4.7.8", "wrong"),
    (offering("AUTH CRAM-MD5 SCRAM-SHA-256-PLUS"), "4.7.4", "no mechanism"),
    (offering("X-NOTHING"), "4.7.4", "no mechanism"),
    (Impostor, "4.7.0", "does not know"),
    (Hasty, "4.7.0", "did not show"),
    (offering("AUTH SCRAM-SHA-256", iterations=100), "4.7.0", "iteration count"),
    (replying("454 4.7.0 temporary"), "4.7.0", "temporary"),
    (replying("534 use another"), "4.7.9", "use another"),
    (replying("538 encrypt"), "4.7.11", "encrypt"),
    (replying("504 5.5.4 unknown"), "4.5.4", "unknown"),
    (replying("334 no@base64"), "4.7.0", "base64"),
    (replying("334-one\r\n334 two"), "4.7.0", "too long"),
    (replying("334 " + "A" * 2000), "4.7.0", "too long"),
    (replying("250 sure"), "4.5.0", "unexpected"),
    (replying("354 go on"), "4.5.0", "unexpected"),
], ids=str)
def test_a_failure_defers_and_no_mail_is_sent(tmp_path, authority, certificate, behaviour, enhanced, words):
    with Peer(behaviour, tls=certificate) as peer:
        result = drain(router_to(tmp_path, peer, authority))
    assert result.code == EX_TEMPFAIL
    event = result.one("deferred")
    assert (event["phase"], event["enhanced"]) == ("auth", enhanced), event
    assert words in event["reply"]
    assert "MAIL" not in peer.verbs() and not peer.messages


def test_a_bad_challenge_is_cancelled(tmp_path, authority, certificate):
    with Peer(replying("334 no@base64"), tls=certificate) as peer:
        drain(router_to(tmp_path, peer, authority))
    assert (0, "*") in peer.commands


@pytest.mark.parametrize("allow,level,encrypted,verdict", [
    ("false", "verify", True, "delivered"),
    ("false", "encrypt", True, "deferred"),
    ("false", "may", False, "deferred"),
    ("true", "encrypt", True, "delivered"),
    ("true", "may", False, "deferred"),
    ("plaintext", "may", False, "delivered"),
])
def test_where_it_may_be_said(tmp_path, authority, certificate, allow, level, encrypted, verdict):
    with Peer(Checking, tls=certificate if encrypted else None) as peer:
        result = drain(router_to(tmp_path, peer, authority, {"allow_unverified": allow}, {"level": level}))
    event = result.one(verdict)
    said = [line for _, line in peer.commands if line.startswith("AUTH")]
    assert bool(said) == (verdict == "delivered")
    if verdict == "deferred":
        assert (event["phase"], event["enhanced"]) == ("auth", "4.7.11")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_may_read_stops_the_start(tmp_path, authority, certificate, mode):
    with Peer(Checking, tls=certificate) as peer:
        router = router_to(tmp_path, peer, authority)
        os.chmod(tmp_path / "secret", mode)
        result = router.drain()
    assert result.code == EX_CONFIG
    assert "sluice.conf:" in result.stderr and "0600" in result.stderr


def test_identities_do_not_share_connections(tmp_path, authority, certificate):
    with Peer(Checking, tls=certificate) as peer:
        router = router_to(tmp_path, peer, authority)
        router.config['destination "other.test"'] = {"auth": {"mechanisms": "LOGIN"}}
        router.spool.drop("m1", message(["a@d.test"], ident="m1"))
        router.spool.drop("m2", message(["a@other.test"], ident="m2"))
        result = router.drain()
    assert result.code == EX_OK
    assert (peer.counts["SCRAM-SHA-256"], peer.counts["LOGIN"], peer.counts["connections"]) == (1, 1, 2)
