"""The harness itself: its judgements can fail, and its peers behave, as a client from elsewhere sees them."""
import smtplib
import ssl

import pytest

from bugs import BUGS, Good
from dns_peer import SERVFAIL, DnsPeer
from generated import Generated
from harness import HOSTNAME, assert_sanitizers_silent, difference, render_config, strip_trace
from peer import Peer

import dns.resolver


@pytest.mark.parametrize("sent,received,same", [
    (b"a\nb", b"a\r\nb\r\n", True),
    (b"a\rb\r\n\n\r", b"a\r\nb\r\n\r\n\r\n", True),
    (b"a\0b", b"ab\r\n", True),
    (b"", b"", True),
    (b"x" * 1500, b"x" * 998 + b"\r\n " + b"x" * 502 + b"\r\n", True),
    (b"x" * 1500 + b"\n y", b"x" * 998 + b"\r\n " + b"x" * 502 + b"\r\n y\r\n", True),
    (b"x" * 1500, b"x" * 1500 + b"\r\n", False),
    (b"x" * 1500, b"x" * 998 + b"\r\n" + b"x" * 502 + b"\r\n", False),
    (b"x" * 1500, b"x" * 998 + b"\r\n " + b"x" * 501 + b"\r\n", False),
    (b"a\nb\n", b"a\r\n", False),
    (b"a\n", b"a\r\nb\r\n", False),
    (b"a\n", b"a", False),
    (b".a\n", b"a\r\n", False),
])
def test_difference(sent, received, same):
    assert (difference(sent, received) is None) is same


@pytest.mark.parametrize("words", [
    "==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
    "==1==ERROR: LeakSanitizer: detected memory leaks",
    "a.c:1:2: runtime error: signed integer overflow",
    "WARNING: ThreadSanitizer: data race (pid=1)",
])
def test_a_finding_of_any_sanitizer_fails(words):
    assert_sanitizers_silent("sluice: no such host\n")
    with pytest.raises(AssertionError):
        assert_sanitizers_silent(f"sluice: no such host\n{words}\n")


def test_strip_trace_accepts_trace_fields_only():
    ours = f"Received: by {HOSTNAME} with\r\n\tESMTP id 1; now\r\n".encode()
    assert strip_trace(b"Return-Path: <>\r\nReceived: from x\r\n by y\r\n" + ours + b"Received: old\r\n") == b"Received: old\r\n"
    for wrong in (b"Subject: x\r\n" + ours, b"Received: by other\r\n", b""):
        with pytest.raises(AssertionError):
            strip_trace(wrong)


def test_the_peer_speaks_smtp_and_resumes_tls_sessions(certificate):
    context = ssl._create_unverified_context()
    with Peer(Good, tls=certificate) as peer:
        for body in (b"x\r\n..\r\n.y\r\n", b"z\r\n"):
            client = smtplib.SMTP(peer.address, peer.port, local_hostname="client.test")
            client.starttls(context=context)
            client.sendmail("a@b.test", ["c@d.test", "e@d.test"], b"Message-ID: <1@x>\r\n\r\n" + body)
            client.quit()
            assert peer.messages[-1].content == b"Message-ID: <1@x>\r\n\r\n" + body
        assert peer.recipients() == ["c@d.test", "c@d.test", "e@d.test", "e@d.test"]
        assert peer.counts["full"] == 2 and peer.messages[0].header("message-id") == "<1@x>"


def test_each_bug_has_a_name_and_a_server_of_its_own():
    assert all(cls.bug_name == name for name, cls in BUGS.items())
    with Peer(BUGS["421-at-banner"]) as peer, pytest.raises(smtplib.SMTPConnectError):
        smtplib.SMTP(peer.address, peer.port)


def test_the_dns_peer_answers_as_told():
    records = {"d.test": {"MX": ["10 mx.test."]}, "alias.test": {"CNAME": ["d.test."]}, "sick.test": SERVFAIL}
    with DnsPeer(records) as peer:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port, resolver.lifetime = [peer.address], peer.port, 5
        for tcp in (False, True):
            for name in ("d.test", "alias.test"):
                assert str(resolver.resolve(name, "MX", tcp=tcp)[0]) == "10 mx.test."
            with pytest.raises(dns.resolver.NXDOMAIN):
                resolver.resolve("nosuch.test", "MX", tcp=tcp)
            with pytest.raises(dns.resolver.NoAnswer):
                resolver.resolve("d.test", "A", tcp=tcp)
            with pytest.raises(dns.resolver.NoNameservers):
                resolver.resolve("sick.test", "MX", tcp=tcp)
        assert peer.asked("d.test", "MX") == 2


def test_generated_messages_are_the_same_for_the_same_number():
    domains = [f"d{i}.test" for i in range(10)]
    for number in range(200):
        one, two = Generated(number, domains), Generated(number, domains)
        assert one.file == two.file and one.recipients == two.recipients
        assert len(set(one.recipients)) == len(one.recipients)
        assert b"\nBcc" not in b"\n" + one.sent and 1000 <= len(one.file) <= 80 * 1024


def test_configuration_is_rendered_in_the_routers_syntax():
    text = render_config({"workers": 2, "dns": {"servers": ["127.0.0.1:53"], "allow_local": True},
                          'destination "*"': {"next_hop": "[::1]:25", "tls": {"level": "may"}}})
    assert text == ('workers = 2\ndns {\n    servers = {"127.0.0.1:53"}\n    allow_local = true\n}\n'
                    'destination "*" {\n    next_hop = "[::1]:25"\n    tls {\n        level = "may"\n    }\n}\n')
