"""TLS levels against scripted receivers: every row of docs/tls.md that needs no DNS."""
import ssl

import pytest
from authority import Authority
from harness import EX_CONFIG, EX_OK, EX_TEMPFAIL, Router, message, wait_for
from peer import Peer, Server
from tls_behaviours import Failing, Refusing, Wrapped

BASE = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}
NAME = "mx.verify.test"


@pytest.fixture(scope="session")
def certificates(authority, tmp_path_factory):
    other = Authority(tmp_path_factory.mktemp("other"), "Another CA")
    return {
        "good": authority.issue(NAME),
        "wrong name": authority.issue("mx.elsewhere.test"),
        "wildcard": authority.issue("*.verify.test"),
        "address": authority.issue("127.0.0.1"),
        "expired": authority.issue(NAME, days=-1),
        "unknown CA": other.issue(NAME),
    }


def drain(folder, peer, tls, count=1, config=None, **options):
    router = Router(folder, {**BASE, **(config or {}), 'destination "*"': {
        "next_hop": peer.next_hop, "tls": {"system_ca_file": "none", **tls}, **options}})
    for i in range(count):
        router.spool.drop(f"m{i}", message(["a@d.test"], ident=f"m{i}"))
    return router.drain()


DELIVERED_TLS, DELIVERED_PLAIN, DEFERRED = "over TLS", "in plaintext", "deferred"
MATCH = {"match": NAME}
ROWS = [
    # level, what the receiver does, its certificate, more of the tls section, what becomes of it
    ("none", Server, "good", {}, DELIVERED_PLAIN),
    ("may", Server, "unknown CA", {}, DELIVERED_TLS),
    ("may", Server, "wrong name", {}, DELIVERED_TLS),
    ("may", Server, "expired", {}, DELIVERED_TLS),
    ("may", Refusing, "good", {}, DELIVERED_PLAIN),
    ("may", Failing, "good", {}, DEFERRED),
    ("may", Failing, "good", {"on_failure": "defer"}, DEFERRED),
    ("may", Failing, "good", {"on_failure": "plaintext-now"}, DELIVERED_PLAIN),
    ("may", Server, None, {}, DELIVERED_PLAIN),
    ("encrypt", Server, "expired", {}, DELIVERED_TLS),
    ("encrypt", Server, None, {}, DEFERRED),
    ("encrypt", Refusing, "good", {}, DEFERRED),
    ("encrypt", Failing, "good", {"on_failure": "plaintext-now"}, DEFERRED),
    ("verify", Server, "good", MATCH, DELIVERED_TLS),
    ("verify", Server, "wildcard", MATCH, DELIVERED_TLS),
    ("verify", Server, "good", {"match": "nowhere.test mx.verify.test"}, DELIVERED_TLS),
    ("verify", Server, "address", {}, DELIVERED_TLS),
    ("verify", Server, "good", {}, DEFERRED),
    ("verify", Server, "wrong name", MATCH, DEFERRED),
    ("verify", Server, "expired", MATCH, DEFERRED),
    ("verify", Server, "unknown CA", MATCH, DEFERRED),
    ("verify", Server, None, MATCH, DEFERRED),
    ("verify", Refusing, "good", MATCH, DEFERRED),
    ("verify", Failing, "good", {**MATCH, "on_failure": "plaintext-now"}, DEFERRED),
    ("dane-only", Server, "good", {}, DEFERRED),
    ("dane", Server, "unknown CA", {}, DELIVERED_TLS),
    ("wrapper", Wrapped, "unknown CA", {}, DELIVERED_TLS),
    ("verify", Wrapped, "good", {**MATCH, "wrapper": True}, DELIVERED_TLS),
    ("verify", Wrapped, "unknown CA", {**MATCH, "wrapper": True}, DEFERRED),
]


@pytest.mark.parametrize("level,behaviour,certificate,more,fate", ROWS,
                         ids=[f"{r[0]}-{r[1].__name__}-{r[2]}-{i}" for i, r in enumerate(ROWS)])
@pytest.mark.short(every=6)
def test_row(tmp_path, authority, certificates, level, behaviour, certificate, more, fate):
    with Peer(behaviour, tls=certificate and certificates[certificate]) as peer:
        result = drain(tmp_path, peer, {"level": level, "ca_file": str(authority.file), **more})
    if fate == DEFERRED:
        assert result.code == EX_TEMPFAIL
        assert not peer.messages
        assert result.one("deferred")["phase"] in ("starttls", "tls")
        return
    assert result.code == EX_OK
    event = result.one("delivered")
    assert len(peer.messages) == 1
    assert bool(event["tls"]) == (fate == DELIVERED_TLS)
    if fate == DELIVERED_TLS:
        assert event["tls"]["verified"] == (level == "verify")


@pytest.mark.short
def test_what_was_verified_is_resumed_and_still_counts_as_verified(tmp_path, authority, certificates):
    with Peer(Server, tls=certificates["good"]) as peer:
        result = drain(tmp_path, peer, {"level": "verify", "ca_file": str(authority.file), **MATCH}, count=10,
                       connections=1, max_deliveries=1)
    assert result.code == EX_OK
    assert (peer.counts["full"], peer.counts["resumed"]) == (1, 9)
    assert all(e["tls"]["verified"] for e in result.events("delivered"))


def test_an_unverified_session_never_serves_a_verified_delivery(tmp_path, authority, certificates):
    """The same host and address, first at `may`, then at `verify`: the ticket must not be used."""
    with Peer(Server, tls=certificates["unknown CA"]) as peer:
        router = Router(tmp_path, {**BASE, "workers": 1, "tls": {"system_ca_file": "none", "ca_file": str(authority.file)},
                                   'destination "*"': {"next_hop": peer.next_hop},
                                   'destination "strict.test"': {"tls": {"level": "verify", **MATCH}}})
        router.spool.drop("m1", message(["a@open.test"], ident="open"))
        process = router.start()
        wait_for(lambda: len(router.log()) == 1, "the first delivery")
        router.spool.drop("m2", message(["a@strict.test"], ident="strict"))
        wait_for(lambda: len(router.log()) == 2, "the second attempt")
        router.stop()
    assert process.popen.returncode == 0
    assert [e["event"] for e in router.log()] == ["delivered", "deferred"]
    assert peer.counts["resumed"] == 0


def test_a_revoked_trust_anchor_ends_what_rested_on_it(tmp_path, authority, certificates):
    """Its certificate leaves tls.ca_file while the saved session of a verified connection is still good: that
    session must not be resumed, and the host is verified no more. Mail that verifies nothing goes on."""
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(authority.file.read_bytes())
    with Peer(Server, tls=certificates["good"]) as peer:
        config = {**BASE, "tls": {"system_ca_file": "none", "ca_file": str(anchors),
                                  "session_cache": {"file": str(tmp_path / "sessions")}},
                  'destination "*"': {"next_hop": peer.next_hop},
                  'destination "strict.test"': {"tls": {"level": "verify", **MATCH}}}
        router = Router(tmp_path, config)
        router.spool.drop("m1", message(["a@strict.test"], ident="m1"))
        assert router.drain().code == EX_OK
        router.spool.drop("m2", message(["a@strict.test"], ident="m2"))
        assert router.drain().code == EX_OK
        assert (peer.counts["full"], peer.counts["resumed"]) == (1, 1)
        anchors.write_bytes(Authority(tmp_path / "other", "The CA that is left").file.read_bytes())
        router.spool.drop("m3", message(["a@strict.test"], ident="m3"))
        router.spool.drop("m4", message(["a@open.test"], ident="m4"))
        result = router.drain()
    assert result.code == EX_TEMPFAIL
    assert "certificate" in result.one("deferred", "a@strict.test")["reply"].lower()
    assert result.one("delivered", "a@open.test")["tls"]["version"]
    assert peer.counts["resumed"] == 1


def test_settings_that_a_host_cannot_meet_do_not_break_its_tls_for_others(tmp_path, certificates):
    """Only one destination demands TLS 1.3 of a host that has 1.2. Its failures must not let other mail go
    there in plaintext once retry.minimum is over."""
    class Old(Server):
        max_version = ssl.TLSVersion.TLSv1_2

    with Peer(Old, tls=certificates["good"]) as peer:
        router = Router(tmp_path, {**BASE, "retry": {"minimum": "1s", "maximum": "1s", "jitter_percent": 0},
                                   "tls": {"system_ca_file": "none"}, 'destination "*"': {"next_hop": peer.next_hop},
                                   'destination "strict.test"': {"tls": {"level": "encrypt", "minimum_version": "1.3"}}})
        router.spool.drop("m1", message(["a@strict.test"], ident="strict"))
        router.start()
        wait_for(lambda: len(router.log()) >= 2, "two attempts, retry.minimum apart")
        router.spool.drop("m2", message(["a@open.test"], ident="open"))
        wait_for(lambda: [e for e in router.log() if e["recipient"] == "a@open.test"], "the other mail")
        router.stop()
    (event,) = [e for e in router.log() if e["recipient"] == "a@open.test"]
    assert (event["event"], event["tls"] and event["tls"]["version"]) == ("delivered", "TLSv1.2")


def test_a_message_tightens_for_itself_alone(tmp_path, authority, certificates):
    """X-Sluice-TLS: verify fails here; other mail of the same site goes out all the same."""
    with Peer(Server, tls=certificates["unknown CA"]) as peer:
        router = Router(tmp_path, {**BASE, "tls": {"system_ca_file": "none", "ca_file": str(authority.file)},
                                   'destination "*"': {"next_hop": peer.next_hop}})
        for i in range(5):
            router.spool.drop(f"m{i}", message(["a@d.test"], ident=f"m{i}"))
        strict = message(["b@d.test"], ident="strict").replace(b"X-Receiver", b"X-Sluice-TLS: verify\r\nX-Receiver", 1)
        router.spool.drop("strict", strict)
        result = router.drain()
    assert result.code == EX_TEMPFAIL
    assert len(result.events("delivered")) == 5
    event = result.one("deferred")
    assert (event["recipient"], event["policy"]) == ("b@d.test", {"level": "verify", "source": "message"})


def test_client_certificate_of_a_private_ca(tmp_path, authority, certificates):
    cert, key = authority.issue("mta1.client.test", client=True)

    class Asking(Server):
        client_ca = authority.file

        def on_mail(self, sender, params):
            assert self.client_certificate
            return super().on_mail(sender, params)

    tls = {"level": "verify", "ca_file": str(authority.file), **MATCH}
    with Peer(Asking, tls=certificates["good"]) as peer:
        refused = drain(tmp_path / "without", peer, tls)
        served = drain(tmp_path / "with", peer, {**tls, "cert_file": str(cert), "key_file": str(key)}, count=2,
                       connections=1, max_deliveries=1)
    assert refused.code == EX_TEMPFAIL
    assert served.code == EX_OK
    assert peer.counts["resumed"] == 1


def test_files_that_cannot_be_used_stop_the_start(tmp_path, authority, certificates):
    cert, key = certificates["good"]
    loose = tmp_path / "loose.key"
    loose.write_bytes(key.read_bytes())
    loose.chmod(0o644)
    for number, (tls, because) in enumerate([
            ({"ca_file": str(tmp_path / "none.pem")}, "No such file"),
            ({"ca_file": str(key)}, "no certificate"),
            ({"cert_file": str(cert), "key_file": str(loose)}, "others"),
            ({"cert_file": str(cert), "key_file": str(authority.key)}, "does not belong"),
            ({"groups": "X25519:P-257"}, "P-257"),
            ({"minimum_version": "1.3", "maximum_version": "1.2"}, "version")]):
        with Peer(Server) as peer:
            result = drain(tmp_path / str(number), peer, tls)
        assert result.code == EX_CONFIG, because
        assert because in result.stderr


def test_protocol_versions_are_kept(tmp_path, certificates):
    with Peer(Server, tls=certificates["good"]) as peer:
        result = drain(tmp_path, peer, {"level": "encrypt", "maximum_version": "1.2"})
    assert result.one("delivered")["tls"]["version"] == "TLSv1.2"
