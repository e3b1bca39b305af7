"""Downgrade attempts by a man in the middle, between the router and a receiver that offers TLS and has the
right certificate. What each level promises: docs/tls.md."""
import shutil

import pytest
from authority import Authority
from dnssec import Dnssec, tlsa
from harness import EX_OK, EX_TEMPFAIL, Router, message, unavailable
from middle import Middle, without
from peer import Peer, Server

BASE = {"pickup": {"settle": "0s"}, "retry": {"minimum": "1h", "maximum": "1h"}}
NAME = "mx.good.test"
SECRET = b"Nobody else is to read this.\r\n"


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue(NAME)


def strip_starttls(line):
    """As the boxes do that overwrite the keyword: the reply keeps its length."""
    return line.replace(b"STARTTLS", b"XXXXXXXA")


def noop_starttls(line):
    """Towards the server, which must not wait for a handshake."""
    return line.replace(b"STARTTLS", b"NOOP")


def refuse_starttls(line):
    return line.replace(b"250 2.0.0 ok", b"454 4.7.0 TLS not available")  # the answer to NOOP


def inject_after_220(line):
    return line + b"250 2.0.0 injected\r\n" if b"go ahead" in line else line


def unknown_starttls(line):
    """Towards the server: it never hears the command, and answers 500."""
    return line.replace(b"STARTTLS", b"XTARTTLS")


def break_records(data, to_server):
    """The ServerHello arrives damaged."""
    return data if to_server else data[:-1] + bytes([data[-1] ^ 1])


STRIPPED = {"from_server": strip_starttls}
REFUSED = {"from_client": noop_starttls, "from_server": refuse_starttls}
UNKNOWN = {"from_client": unknown_starttls}
INJECTED = {"from_server": inject_after_220}
BROKEN = {"records": break_records}
PLAINTEXT, DEFERRED = "plaintext", "deferred"

# At `may` a host that does not offer TLS, or not now, gets plaintext (RFC 7435): whoever sits in the middle can
# have that. Injection and broken handshakes are not answered by plaintext even there.
ROWS = [("may", name, attack, PLAINTEXT if attack in (STRIPPED, REFUSED, UNKNOWN) else DEFERRED)
        for name, attack in (("stripped", STRIPPED), ("refused", REFUSED), ("unknown", UNKNOWN),
                             ("injected", INJECTED), ("broken", BROKEN))]
ROWS += [(level, name, attack, DEFERRED) for level in ("encrypt", "verify")
         for name, attack in (("stripped", STRIPPED), ("refused", REFUSED), ("unknown", UNKNOWN),
                              ("injected", INJECTED), ("broken", BROKEN))]


@pytest.mark.parametrize("level,name,attack,fate", ROWS, ids=[f"{r[0]}-{r[1]}" for r in ROWS])
def test_between_router_and_receiver(tmp_path, authority, certificate, level, name, attack, fate):
    with Peer(Server, tls=certificate) as peer, Middle(peer.address, peer.port, **attack) as middle:
        router = Router(tmp_path, {**BASE, 'destination "*"': {
            "next_hop": middle.next_hop,
            "tls": {"level": level, "match": NAME, "system_ca_file": "none", "ca_file": str(authority.file)}}})
        router.spool.drop("m", message(["a@good.test"], SECRET))
        result = router.drain()
    if fate == PLAINTEXT:
        assert (result.code, result.one("delivered")["tls"]) == (EX_OK, None)
        return
    assert result.code == EX_TEMPFAIL
    event = result.one("deferred")
    assert event["phase"] in ("starttls", "tls") and not event["in_doubt"]
    assert not peer.messages
    assert b"MAIL FROM" not in middle.saw and SECRET.strip() not in middle.saw


@pytest.mark.parametrize("level,fate", [("may", "delivered"), ("encrypt", "delivered"), ("verify", DEFERRED)])
def test_an_impostor_with_a_certificate_of_his_own(tmp_path, authority, level, fate):
    forged = Authority(tmp_path / "forged", "Another CA").issue(NAME)
    with Peer(Server, tls=forged) as peer:
        router = Router(tmp_path, {**BASE, 'destination "*"': {
            "next_hop": peer.next_hop,
            "tls": {"level": level, "match": NAME, "system_ca_file": "none", "ca_file": str(authority.file)}}})
        router.spool.drop("m", message(["a@good.test"], SECRET))
        result = router.drain()
    event = result.one(fate)
    assert not (event["tls"] or {}).get("verified")
    assert bool(peer.messages) == (fate == "delivered")


def zone_for(peer, certificate):
    owner = f"_{peer.port}._tcp.mx"
    return ["@ 60 MX 10 mx", "mx 60 A 127.0.0.1", f"{owner} 60 TLSA {tlsa(certificate[0])}"]


def router_behind(folder, resolver, port):
    return Router(folder, {**BASE, "smtp": {"port": port}, "tls": {"system_ca_file": "none"},
                           "dns": {"servers": [resolver.server], "allow_local": True, "ipv6": False}})


@pytest.fixture(scope="module")
def needs_servers():
    for needed in ("knotd", "unbound"):
        if not shutil.which(needed, path="/usr/sbin:/usr/bin"):
            unavailable(f"{needed} is not installed")


def test_tlsa_records_removed_in_dns_defer(tmp_path, certificate, needs_servers):
    """The records are taken out of the answers, and the attacker cannot sign that there are none."""
    with Peer(Server, tls=certificate) as peer, \
            Dnssec(tmp_path / "dns", {"good.test": zone_for(peer, certificate)}, change=without("TLSA")) as resolver:
        router = router_behind(tmp_path, resolver, peer.port)
        router.spool.drop("m", message(["a@good.test"], SECRET))
        result = router.drain()
        assert result.code == EX_TEMPFAIL
        assert "look-up" in result.one("deferred")["reply"]
        assert not peer.messages


@pytest.mark.parametrize("attack", [STRIPPED, REFUSED, UNKNOWN, BROKEN], ids=["stripped", "refused", "unknown", "broken"])
def test_dane_is_never_answered_by_plaintext(tmp_path, certificate, needs_servers, attack):
    with Peer(Server, tls=certificate) as peer, Middle(peer.address, peer.port, **attack) as middle, \
            Dnssec(tmp_path / "dns", {"good.test": zone_for(middle, certificate)}) as resolver:
        router = router_behind(tmp_path, resolver, middle.port)
        router.spool.drop("m", message(["a@good.test"], SECRET))
        result = router.drain()
    assert result.code == EX_TEMPFAIL
    assert result.one("deferred")["policy"] == {"level": "dane", "source": "dane"}
    assert not peer.messages and b"MAIL FROM" not in middle.saw
