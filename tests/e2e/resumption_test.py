"""Resumption really happens: 100 connections one after the other, and at least 99 handshakes resumed by the
receiver's own count. BoringSSL (sluice-sink) and OpenSSL (the scripted peer) here; OpenSSL (Postfix) and GnuTLS
(Exim) as real servers in real_servers_test.py."""

import pytest
from harness import EX_OK, Router, Sink, message
from peer import Peer, Server, make_certificate
from tls_behaviours import Tls12

COUNT = 100


class OneTicket(Server):
    tickets = 1


class OneTicketTls12(Tls12):
    tickets = 1


def send_one_by_one(folder, next_hop):
    """The one connection at a time carries one message."""
    router = Router(folder, {"pickup": {"settle": "0s"}, "workers": 1, 'destination "*"': {
        "next_hop": next_hop, "connections": 1, "max_deliveries": 1}})
    for i in range(COUNT):
        router.spool.drop(f"m{i}", message(["a@d.test"], ident=f"m{i}"))
    result = router.drain()
    assert result.code == EX_OK
    return sum(e["tls"]["resumed"] for e in result.events("delivered"))


@pytest.mark.parametrize("personality", ["tls=1.3", "tls=1.2", "tls=1.3,tickets=1", "tls=1.3,tickets=1,ticket-reissue=no"])
def test_boringssl_receiver(tmp_path, personality):
    with Sink(tmp_path / "sink", personality) as sink:
        resumed = send_one_by_one(tmp_path, f"[127.0.0.1]:{sink.ports[0]}")
        counters = sink.stop()["total"]
    assert (counters["handshakes_full"], counters["handshakes_resumed"]) == (1, COUNT - 1) and resumed == COUNT - 1
    assert (counters["messages"], counters["duplicates"]) == (COUNT, 0)


@pytest.mark.parametrize("behaviour", [Server, OneTicket, Tls12, OneTicketTls12])
def test_openssl_receiver(tmp_path, behaviour):
    with Peer(behaviour, tls=make_certificate(tmp_path)) as peer:
        resumed = send_one_by_one(tmp_path, peer.next_hop)
        assert (peer.counts["full"], peer.counts["resumed"]) == (1, COUNT - 1) and resumed == COUNT - 1
        assert len(peer.messages) == COUNT


def test_without_tickets_every_handshake_is_full(tmp_path):
    with Sink(tmp_path / "sink", "tls=1.3,tickets=0") as sink:
        assert send_one_by_one(tmp_path, f"[127.0.0.1]:{sink.ports[0]}") == 0
        assert sink.stop()["total"]["handshakes_full"] == COUNT
