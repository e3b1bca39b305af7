"""Real messages go through unharmed: the test data of mail libraries that Debian ships, fetched by apt into
the cache, nothing of it kept here. What must arrive is computed a second time in Python."""
import fcntl
import os
import pathlib
import re
import subprocess

import pytest

from bugs import Good
from harness import EX_OK, Router, Sink, difference, note, strip_trace, unavailable, wire_lines
from peer import Peer

CACHE = pathlib.Path(os.environ.get("SLUICE_E2E_CACHE", "/var/cache/sluice-e2e" if os.geteuid() == 0
                                    else pathlib.Path.home() / ".cache" / "sluice-e2e")) / "corpus"
# Package and the messages in it; at least so many are expected, so that an empty glob is noticed.
SOURCES = {
    "libpython3.11-testsuite": ("usr/lib/python3.11/test/test_email/data/*.txt", 40),
    "golang-github-jhillyerd-enmime-dev": ("usr/share/gocode/src/github.com/jhillyerd/enmime/testdata/*/*.raw", 60),
    "spamassassin": ("usr/share/doc/spamassassin/examples/sample-*.txt", 2),
}


def fetch(package):
    """The package's files, unpacked but not installed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / package
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "complete").exists():
            return folder
        folder.mkdir(exist_ok=True)
        got = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True)
        archives = list(folder.glob("*.deb"))
        if got.returncode or not archives:
            unavailable(f"{package} cannot be downloaded: {got.stderr.strip()[-300:]}")
        subprocess.run(["dpkg-deb", "-x", archives[0], folder], check=True)
        archives[0].unlink()
        (folder / "complete").touch()
    return folder


@pytest.fixture(scope="module")
def corpus():
    """name -> octets"""
    out = {}
    for package, (pattern, at_least) in SOURCES.items():
        found = sorted(fetch(package).glob(pattern))
        assert len(found) >= at_least, f"{package}: {len(found)} messages"
        out.update({f"{package}-{path.parent.name}-{path.name}": path.read_bytes() for path in found})
    note(f"{len(out)} messages, {sum(map(len, out.values()))} octets")
    return out


FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
NEVER_SENT = re.compile(rb"(?:bcc|resent-bcc|return-path)[ \t]*:", re.IGNORECASE)


def expected(data):
    """docs/spool.md for a file behind an X- block: which lines are not sent."""
    lines = wire_lines(data)
    if len(lines) > 1 and lines[0] == b"" and FIELD.match(lines[1]):
        del lines[0]
    if lines[:1] and lines[0].startswith(b"From "):
        del lines[0]
    # No field first: all of it is body, behind an empty line.
    out, cutting = [b""] if lines[:1] and lines[0] and not FIELD.match(lines[0]) else [], False
    for number, line in enumerate(lines):
        if line == b"":
            return out + lines[number:]
        if not (cutting and line[:1] in (b" ", b"\t")):
            cutting = bool(NEVER_SENT.match(line))
        if not cutting:
            out.append(line)
    return out


def block(number):
    return b"X-Sender: <sender@origin.test>\r\nX-Receiver: <m%d@d%d.test>\r\n" % (number, number % 7)


def drop_all(router, corpus):
    # A file that begins with white space would continue the block's last line.
    names = [name for name, data in corpus.items() if data[:1] not in (b" ", b"\t")]
    for number, name in enumerate(names):
        router.spool.drop(name, block(number) + corpus[name])
    return names


def judge(name, data, content):
    sent = b"".join(line + b"\r\n" for line in expected(data))
    wrong = difference(sent, strip_trace(content))
    assert wrong is None, f"{name}: {wrong}"


def test_a_corpus_of_real_messages_goes_through_unharmed(tmp_path, corpus):
    with Peer(Good) as peer:
        router = Router(tmp_path, {"pickup": {"settle": "0s"}, 'destination "*"': {"next_hop": peer.next_hop}})
        names = drop_all(router, corpus)
        assert router.drain().code == EX_OK
        assert router.spool.is_empty(), router.spool.files()
        assert peer.recipients() == sorted(f"m{n}@d{n % 7}.test" for n in range(len(names)))
        for copy in peer.messages:
            name = names[int(re.match(r"m(\d+)", copy.recipients[0]).group(1))]
            judge(name, corpus[name], copy.content)


def test_the_corpus_reaches_the_sink_over_tls_too(tmp_path, corpus):
    with Sink(tmp_path / "sink", "tls=1.3") as sink:
        router = Router(tmp_path, {"pickup": {"settle": "0s"},
                                   'destination "*"': {"next_hop": sink.next_hop, "tls": {"level": "encrypt"}}})
        names = drop_all(router, corpus)
        assert router.drain().code == EX_OK
        arrived = sink.messages()
        assert len(arrived) == len(names)
        for info, content in arrived:
            recipient = next(v for key, values in info.items() if "rcpt" in key or "to" in key for v in values)
            name = names[int(re.search(r"m(\d+)@", recipient).group(1))]
            judge(name, corpus[name], content)


def test_the_corpus_with_envelopes_from_headers_never_stops_the_drain(tmp_path, corpus):
    """Many of these are broken on purpose: each ends as delivered, bounced or in bad/ with a reason."""
    with Peer(Good) as peer:
        router = Router(tmp_path, {"pickup": {"settle": "0s"}, 'destination "*"': {"next_hop": peer.next_hop}})
        for name, data in corpus.items():
            router.spool.drop(name, data)
        assert router.drain().code == EX_OK
        assert not router.spool.files("new", "deferred", "hold")
        bad = [f for f in router.spool.files("bad") if not f.endswith(".why")]
        assert all((router.spool.path / (f + ".why")).read_text().strip() for f in bad)
        delivered = {e["id"] for e in router.log()}
        note(f"{len(delivered)} delivered, {len(bad)} in bad/")
        assert len(delivered) + len(bad) == len(corpus)
        assert len(delivered) >= len(corpus) // 3
        for f in bad:
            assert (router.spool.path / f).read_bytes() == corpus[pathlib.Path(f).name]
