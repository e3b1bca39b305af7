"""sluice-sink itself: what others' tests and the bench rely on."""

import json
import signal
import smtplib
import socket
import ssl
import subprocess
import time

import pytest

from harness import program

CONTEXT = ssl._create_unverified_context()
MESSAGE = "Subject: x\r\nX-Bench-Id: 1\r\n\r\nbody\r\n"


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        time.sleep(0.01)


class Sink:
    def __init__(self, folder, *listeners, extra=()):
        self.maildir = folder / "mail"
        self.stats_file = folder / "stats"
        port_file = folder / "ports"
        args = [program("sluice-sink"), "--maildir", self.maildir, "--stats", self.stats_file,
                "--port-file", port_file, *extra]
        for listener in listeners:
            args += ["--listen", listener]
        self.process = subprocess.Popen(args)
        wait_for(lambda: port_file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None
        self.addresses = []
        for line in port_file.read_text().splitlines():
            host, port = line.split()[1].rsplit(":", 1)
            self.addresses.append((host.strip("[]"), int(port)))

    def stats(self):
        before = self._dump()
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self._dump() > before)
        return json.loads(self.stats_file.read_text())

    def _dump(self):
        return json.loads(self.stats_file.read_text())["dump"] if self.stats_file.exists() else 0

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(20) == 0
        return json.loads(self.stats_file.read_text())

    def total(self):
        return self.stats()["total"]

    def client(self, number=0, tls=False, **kwargs):
        smtp = smtplib.SMTP(*self.addresses[number], timeout=20, **kwargs)
        if tls:
            smtp.starttls(context=CONTEXT)
        smtp.ehlo()
        return smtp

    def raw(self, number=0):
        return Raw(socket.create_connection(self.addresses[number], timeout=20))

    def mails(self):
        return [path.read_bytes() for path in sorted(self.maildir.iterdir())
                if not path.name.startswith(".")]


class Raw:
    """A socket with lines, for what a polite client would never send."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rb")

    def send(self, data):
        self.sock.sendall(data)

    def reply(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line:
                return lines or None
            lines.append(line.decode().rstrip("\r\n"))
            if line[3:4] == b" ":
                return lines

    def code(self):
        reply = self.reply()
        return int(reply[-1][:3]) if reply else None

    def say(self, data):
        self.send(data + b"\r\n")
        return self.code()

    def transact(self, recipient=b"b@y.test", body=b"X-Bench-Id: 1\r\n\r\nhello\r\n"):
        assert self.say(b"MAIL FROM:<a@x.test>") == 250
        assert self.say(b"RCPT TO:<" + recipient + b">") == 250
        assert self.say(b"DATA") == 354
        return self.say(body + b".")


@pytest.fixture
def start(tmp_path):
    sinks = []

    def starter(*listeners, extra=()):
        folder = tmp_path / str(len(sinks))
        folder.mkdir()
        sinks.append(Sink(folder, *listeners, extra=extra))
        return sinks[-1]

    yield starter
    for sink in sinks:
        sink.stop()


def head_and_content(mail):
    head = []
    while mail.startswith(b"X-Sink-"):
        line, mail = mail.split(b"\r\n", 1)
        head.append(line.decode())
    return head, mail


@pytest.mark.parametrize("tls,version", [("1.2", "TLSv1.2"), ("1.3", "TLSv1.3"),
                                         ("any", "TLSv1.3")])
def test_starttls_speaks_the_version_asked_for(start, tls, version):
    sink = start(f"127.0.0.1:0,tls={tls}")
    with sink.client(tls=True) as smtp:
        assert smtp.sock.version() == version
        smtp.sendmail("a@x.test", ["b@y.test", "c@y.test"], MESSAGE)
    head, content = head_and_content(sink.mails()[0])
    assert content.decode() == MESSAGE
    assert "X-Sink-Mail-From: <a@x.test>" in head
    assert "X-Sink-Rcpt-To: <b@y.test>" in head and "X-Sink-Rcpt-To: <c@y.test>" in head
    assert any(line.startswith(f"X-Sink-TLS: {version} ") and line.endswith(" full")
               for line in head)
    total = sink.total()
    assert (total["messages"], total["recipients"], total["handshakes_full"]) == (1, 2, 1)
    assert total["messages_tls_full"] == 1 and total["plaintext_sessions"] == 0


def test_without_tls_starttls_is_neither_offered_nor_taken(start):
    sink = start("127.0.0.1:0,tls=none")
    with sink.client() as smtp:
        assert not smtp.has_extn("starttls")
        assert smtp.docmd("STARTTLS")[0] == 502
        smtp.sendmail("a@x.test", ["b@y.test"], MESSAGE)
    total = sink.total()
    assert total["plaintext_sessions"] == 1 and total["messages_plaintext"] == 1


def test_wrapper_speaks_tls_first(start):
    sink = start("127.0.0.1:0,wrapper")
    with smtplib.SMTP_SSL(*sink.addresses[0], context=CONTEXT, timeout=20) as smtp:
        assert smtp.sendmail("a@x.test", ["b@y.test"], MESSAGE) == {}
        assert not smtp.has_extn("starttls")


def tls_session(sink, context, session=None, number=0):
    """One connection; (resumed, the newest session it was given)."""
    raw = sink.raw(number)
    raw.code()
    raw.say(b"EHLO c.test")
    assert raw.say(b"STARTTLS") == 220
    sock = context.wrap_socket(raw.sock, session=session)
    raw.sock, raw.file = sock, sock.makefile("rb")
    raw.say(b"EHLO c.test")
    assert raw.transact() == 250
    assert raw.say(b"QUIT") == 221
    return sock.session_reused, sock.session


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_tickets_resume(start, tls):
    sink = start(f"127.0.0.1:0,tls={tls},tickets=3")
    resumed, session = tls_session(sink, CONTEXT)
    assert not resumed
    resumed, _ = tls_session(sink, CONTEXT, session)
    assert resumed
    total = sink.total()
    assert (total["handshakes_full"], total["handshakes_resumed"]) == (1, 1)
    assert total["messages_tls_resumed"] == 1
    assert total["tickets_issued"] == (1 if tls == "1.2" else 6)


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_no_tickets_no_resumption(start, tls):
    sink = start(f"127.0.0.1:0,tls={tls},tickets=0")
    _, session = tls_session(sink, CONTEXT)
    assert not session or not session.has_ticket
    resumed, _ = tls_session(sink, CONTEXT, session)
    assert not resumed
    assert sink.total()["tickets_issued"] == 0


def test_ticket_reissue_no_gives_none_on_resumption(start):
    sink = start("127.0.0.1:0,tls=1.3,tickets=2,ticket-reissue=no")
    _, session = tls_session(sink, CONTEXT)
    resumed, _ = tls_session(sink, CONTEXT, session)
    assert resumed and sink.total()["tickets_issued"] == 2


def test_rotate_makes_older_tickets_worthless(start):
    sink = start("127.0.0.1:0,tls=1.3,rotate=2")
    _, session = tls_session(sink, CONTEXT)
    assert tls_session(sink, CONTEXT, session)[0]  # the second handshake turns the key over
    assert not tls_session(sink, CONTEXT, session)[0]


def test_listeners_share_tickets_only_under_one_key_name(start):
    sink = start("127.0.0.1:0,ticket-key=k", "127.0.0.2:0,ticket-key=k", "127.0.0.3:0")
    _, session = tls_session(sink, CONTEXT, number=0)
    assert tls_session(sink, CONTEXT, session, number=1)[0]
    assert not tls_session(sink, CONTEXT, session, number=2)[0]


def test_defer_first_defers_each_recipient_so_often(start):
    sink = start("127.0.0.1:0,defer-first=2")
    with sink.client() as smtp:
        smtp.mail("a@x.test")
        assert [smtp.rcpt("B@y.test")[0], smtp.rcpt("b@Y.test")[0]] == [451, 451]
        assert smtp.rcpt("c@y.test")[0] == 451
        assert smtp.rcpt("b@y.test")[0] == 250
    assert sink.total()["deferred"] == 3


def test_rules_match_addresses_and_domains(start):
    sink = start("127.0.0.1:0,reject=bad@y.test,reject=@no.test,defer=@later.test")
    with sink.client() as smtp:
        smtp.mail("a@x.test")
        codes = [smtp.rcpt(to)[0] for to in
                 ("BAD@y.test", "good@y.test", "x@no.test", "x@sub.no.test", "x@later.test")]
    assert codes == [550, 250, 550, 250, 451]


def test_limit_takes_so_many_recipients(start):
    sink = start("127.0.0.1:0,limit=2")
    with sink.client() as smtp:
        smtp.mail("a@x.test")
        assert [smtp.rcpt(f"{n}@y.test")[0] for n in range(3)] == [250, 250, 452]


def test_421_after_so_many_messages(start):
    sink = start("127.0.0.1:0,421-after=1")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    assert raw.transact() == 250
    assert raw.say(b"MAIL FROM:<a@x.test>") == 421
    assert raw.reply() is None


def test_close_after_dot_counts_and_says_nothing(start):
    sink = start("127.0.0.1:0,close-after-dot=1")
    for expected in (None, 250):
        raw = sink.raw()
        raw.code()
        raw.say(b"EHLO c.test")
        assert raw.transact() == expected
    total = sink.total()
    assert (total["messages"], total["unanswered"], total["duplicates"]) == (2, 1, 1)
    assert len(sink.mails()) == 2


def test_the_ledger_has_each_dot_and_each_reply_that_left(start, tmp_path):
    ledger = tmp_path / "ledger"
    sink = start("127.0.0.1:0,tls=1.3,reject=no@y.test", "127.0.0.1:0,close-after-dot=1", "127.0.0.1:0,final=451",
                 extra=("--ledger", ledger))
    with sink.client(0, tls=True) as smtp:
        smtp.sendmail("a@x.test", ["b@y.test", "no@y.test", "c@y.test"], MESSAGE)
    with pytest.raises(smtplib.SMTPServerDisconnected), sink.client(1) as smtp:
        smtp.sendmail("a@x.test", ["b@y.test"], "Message-ID: <own id@x.test>\r\n\r\nx\r\n")
    with pytest.raises(smtplib.SMTPDataError), sink.client(2) as smtp:
        smtp.sendmail("a@x.test", ["b@y.test"], "Subject: no id\r\n\r\nx\r\n")
    assert ledger.read_text().splitlines() == [
        "dot 1 250 1 b@y.test c@y.test", "reply 1", "dot 2 0 own?id@x.test b@y.test", "dot 3 451 - b@y.test", "reply 3"]


def test_the_ledger_says_when_a_reply_left(start, tmp_path):
    ledger = tmp_path / "ledger"
    sink = start("127.0.0.1:0", extra=("--ledger", ledger, "--ledger-times"))
    before = time.monotonic_ns() // 1000
    with sink.client() as smtp:
        smtp.sendmail("a@x.test", ["b@y.test"], MESSAGE)
    word, number, at = ledger.read_text().splitlines()[1].split()
    assert (word, number) == ("reply", "1") and before <= int(at) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("option,keyword", [
    ("no-pipelining", "pipelining"), ("no-8bitmime", "8bitmime"), ("no-utf8", "smtputf8"),
    ("no-chunking", "chunking"), ("no-dsn", "dsn"), ("size=0", "size")])
def test_what_is_switched_off_is_not_offered(start, option, keyword):
    sink = start("127.0.0.1:0", f"127.0.0.1:0,{option}")
    with sink.client(0) as smtp:
        assert smtp.has_extn(keyword)
    with sink.client(1) as smtp:
        assert not smtp.has_extn(keyword)


@pytest.mark.parametrize("listener,command,code", [
    ("no-8bitmime", b"MAIL FROM:<a@x.test> BODY=8BITMIME", 555),
    ("no-utf8", b"MAIL FROM:<a@x.test> SMTPUTF8", 555),
    ("no-dsn", b"MAIL FROM:<a@x.test> RET=HDRS", 555),
    ("size=100", b"MAIL FROM:<a@x.test> SIZE=101", 552),
    ("size=100", b"MAIL FROM:<a@x.test> SIZE=100", 250),
    ("tls=none", b"MAIL FROM:<> SMTPUTF8 BODY=8BITMIME", 250),
    ("tls=none", "MAIL FROM:<\u00e4@x.test>".encode(), 553),
    ("tls=none", "MAIL FROM:<\u00e4@x.test> SMTPUTF8".encode(), 250),
    ("tls=none", b'MAIL FROM:<"a>\\"b"@x.test>', 250),
    ("tls=none", b"MAIL FROM: <a@x.test>", 501),
    ("tls=none", b"MAIL FROM:a@x.test", 501),
    ("tls=none", b"RCPT TO:<a@x.test>", 503),
    ("tls=none", b"DATA", 503),
    ("tls=none", b"NO\x00OP", 500),
    ("tls=none", b"X" * 10000, 500),
    ("tls=none", b"NOOP\nNOOP", 500),
])
def test_commands_are_checked_strictly(start, listener, command, code):
    sink = start(f"127.0.0.1:0,{listener}")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    assert raw.say(command) == code


def test_content_over_the_size_is_refused_and_not_kept(start):
    sink = start("127.0.0.1:0,size=100")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    assert raw.transact(body=b"x" * 200 + b"\r\n") == 552
    assert raw.transact(body=b"small\r\n") == 250
    assert len(sink.mails()) == 1


BODIES = [b"", b"..\r\n", b"..a\r\n...\r\n", b"a\nb.\n.\n\r\n", b"\r\n\r\n..\r\n", b"x\r\r\n",
          b"\r\n.\r.\r\n", b"a" * 3000 + b"\r\n..b\r\n"]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
@pytest.mark.parametrize("step", [1, 2, 3, 100000])
def test_content_arrives_unstuffed_however_it_is_cut(start, body, step):
    sink = start("127.0.0.1:0")
    raw = sink.raw()
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.code()
    raw.say(b"EHLO c.test")
    raw.say(b"MAIL FROM:<a@x.test>")
    raw.say(b"RCPT TO:<b@y.test>")
    assert raw.say(b"DATA") == 354
    wire = body + b".\r\n"
    for i in range(0, len(wire), step):
        raw.send(wire[i:i + step])
    assert raw.code() == 250
    lines = body.split(b"\r\n")
    expected = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
    assert head_and_content(sink.mails()[0])[1] == expected


def test_pipelined_transactions_are_answered_in_order(start):
    sink = start("127.0.0.1:0")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    raw.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<>\r\nDATA\r\n")
    assert [raw.code() for _ in range(4)] == [250, 250, 501, 354]
    raw.send(b"one\r\n.\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
    assert [raw.code() for _ in range(4)] == [250, 250, 250, 354]
    assert raw.say(b"two\r\n.") == 250
    assert sink.total()["pipelining_violations"] == 0


def test_pipelining_where_it_is_not_offered_is_counted(start):
    sink = start("127.0.0.1:0,no-pipelining")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    raw.send(b"NOOP\r\nNOOP\r\n")
    assert [raw.code(), raw.code()] == [250, 250]
    assert sink.total()["pipelining_violations"] == 1


def test_bdat_takes_content_as_it_is(start):
    sink = start("127.0.0.1:0")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    raw.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
             b"BDAT 5\r\n.a\r\n.BDAT 3 LAST\r\n\r\n.")
    assert [raw.code() for _ in range(4)] == [250] * 4
    assert head_and_content(sink.mails()[0])[1] == b".a\r\n.\r\n."
    raw.send(b"BDAT 4 LAST\r\nNOOPNOOP\r\n")
    assert [raw.code(), raw.code()] == [503, 250]
    raw.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT 2\r\nhiBDAT 0 LAST\r\n")
    assert [raw.code() for _ in range(4)] == [250] * 4
    assert sink.total()["messages"] == 2


def test_lmtp_answers_for_each_recipient(start):
    sink = start("127.0.0.1:0,lmtp,reject=no@y.test")
    raw = sink.raw()
    raw.code()
    assert raw.say(b"EHLO c.test") == 500
    assert raw.say(b"LHLO c.test") == 250
    raw.say(b"MAIL FROM:<a@x.test>")
    codes = [raw.say(b"RCPT TO:<" + to + b"@y.test>") for to in (b"a", b"no", b"b")]
    assert codes == [250, 550, 250]
    raw.say(b"DATA")
    raw.send(b"hello\r\n.\r\nNOOP\r\n")
    assert [raw.code() for _ in range(3)] == [250, 250, 250]


def test_input_behind_starttls_drops_the_connection(start):
    sink = start("127.0.0.1:0")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    raw.send(b"STARTTLS\r\nMAIL FROM:<a@x.test>\r\n")
    try:
        assert raw.reply() is None
    except ConnectionResetError:
        pass


def test_duplicates_are_per_recipient(start):
    sink = start("127.0.0.1:0")
    with sink.client() as smtp:
        smtp.sendmail("a@x.test", ["b@y.test", "c@y.test"], MESSAGE)
        smtp.sendmail("a@x.test", ["d@y.test"], MESSAGE)
        assert sink.total()["duplicates"] == 0
        smtp.sendmail("a@x.test", ["c@y.test", "e@y.test"], MESSAGE)
        assert sink.total()["duplicates"] == 1
        smtp.sendmail("a@x.test", ["c@y.test"], MESSAGE.replace("Id: 1", "Id: 2"))
    assert sink.total()["duplicates"] == 1


def test_delay_holds_replies_back(start):
    sink = start("127.0.0.1:0,delay=150")
    began = time.monotonic()
    with sink.client(tls=True) as smtp:
        smtp.noop()
    assert time.monotonic() - began >= 0.6  # banner, STARTTLS, EHLO, NOOP at least


def greeted(sink, number=0):
    raw = sink.raw(number)
    assert raw.code() == 220
    assert raw.say(b"EHLO c.test") == 250
    return raw


def ends(raw):
    """What still comes, and how it ends."""
    rest = b""
    try:
        while data := raw.file.read1(65536):
            rest += data
    except ConnectionResetError:
        return rest, "reset"
    return rest, "closed"


# What is said up to a stage; the last command is the one that the stage is about.
UP_TO = {"ehlo": [b"EHLO c.test"], "starttls": [b"EHLO c.test", b"STARTTLS"],
         "mail": [b"EHLO c.test", b"MAIL FROM:<a@x.test>"]}
UP_TO["rcpt"] = [*UP_TO["mail"], b"RCPT TO:<b@y.test>"]
UP_TO["data"] = [*UP_TO["rcpt"], b"DATA"]
UP_TO["final"] = [*UP_TO["data"], b"Subject: x\r\n\r\nbody\r\n."]


def at_stage(sink, stage):
    """All replies before it read, its own command sent."""
    raw = sink.raw()
    if stage == "banner":
        return raw
    raw.code()
    *before, last = UP_TO[stage]
    for command in before:
        assert raw.say(command) in (250, 354), command
    raw.send(last + b"\r\n")
    return raw


STAGES = ["banner", *UP_TO]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("action", ["close", "reset"])
def test_a_fault_ends_the_connection_at_each_stage(start, stage, action):
    sink = start(f"127.0.0.1:0,fault={stage}:{action}")
    try:
        seen = ends(at_stage(sink, stage))
    except ConnectionResetError:  # at the banner it may come before connect() returns
        seen = b"", "reset"
    assert seen == (b"", "closed" if action == "close" else "reset")
    total = sink.total()
    assert total["faults"] == 1
    # The lost 250: accepted and counted all the same.
    assert (total["messages"], total["unanswered"]) == ((1, 1) if stage == "final" else (0, 0))


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_replies_at_each_stage_and_nothing_takes_effect(start, stage):
    sink = start(f"127.0.0.1:0,fault={stage}:reply=451:times=1,fault={stage}:reply=421")
    raw = at_stage(sink, stage)
    assert raw.code() == 451
    assert ends(at_stage(sink, stage)) == (b"421 4.3.0 Fault by personality\r\n", "closed")
    assert sink.total()["messages"] == 0


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_says_garbage_at_each_stage(start, stage):
    sink = start(f"127.0.0.1:0,fault={stage}:garbage=3")
    assert at_stage(sink, stage).file.read(5) == b"\x80\x81\x82\r\n"


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_splits_a_reply_at_each_stage(start, stage):
    sink = start(f"127.0.0.1:0,fault={stage}:split=2")
    raw = at_stage(sink, stage)
    pieces = [raw.sock.recv(4096)]
    while b"\r\n" not in pieces[-1]:
        pieces.append(raw.sock.recv(4096))
        assert pieces[-1]
        if pieces[-1] == b"\n":
            break
    assert len(pieces) > 5 and b"".join(pieces)[:1] in b"23"


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_delays_a_reply_at_each_stage(start, stage):
    sink = start(f"127.0.0.1:0,fault={stage}:delay=200")
    began = time.monotonic()
    assert at_stage(sink, stage).code() in (220, 250, 354)
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("stage", [*STAGES, "content"])
def test_a_fault_stalls_at_each_stage(start, stage):
    sink = start(f"127.0.0.1:0,fault={stage}:stall", extra=["--timeout", "1"])
    raw = at_stage(sink, "final" if stage == "content" else stage)
    assert ends(raw)[0] == b""  # and the sink's own patience ends it
    assert sink.total()["messages"] == (1 if stage == "final" else 0)


@pytest.mark.parametrize("action", ["close", "reset"])
def test_a_fault_ends_the_connection_in_the_middle_of_content(start, action):
    sink = start(f"127.0.0.1:0,fault=content:{action}")
    assert ends(at_stage(sink, "final"))[0] == b""
    assert sink.total()["messages"] == 0


def test_what_is_injected_behind_starttls_is_plaintext(start):
    sink = start("127.0.0.1:0,fault=starttls:inject")
    raw = greeted(sink)
    raw.send(b"STARTTLS\r\n")
    assert (raw.code(), raw.code()) == (220, 250)


def test_a_fault_concerns_those_it_is_for_and_so_often(start):
    sink = start("127.0.0.1:0,fault=rcpt:reply=550:for=@no.test,fault=rcpt:reply=452:after=1:times=2",
                 "127.0.0.1:0")
    raw = greeted(sink)
    raw.say(b"MAIL FROM:<a@x.test>")
    codes = [raw.say(b"RCPT TO:<u@" + domain + b".test>") for domain in (b"a", b"no", b"b", b"c", b"no", b"d")]
    assert codes == [250, 550, 452, 452, 550, 250]
    other = greeted(sink, 1)
    other.say(b"MAIL FROM:<a@x.test>")
    assert other.say(b"RCPT TO:<u@no.test>") == 250


def test_earlier_replies_of_a_flight_leave_before_the_fault(start):
    sink = start("127.0.0.1:0,fault=rcpt:close:for=bad@y.test")
    raw = greeted(sink)
    raw.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<good@y.test>\r\nRCPT TO:<bad@y.test>\r\nDATA\r\n")
    assert ends(raw) == (b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n", "closed")


def test_a_script_has_a_fault_a_line(start, tmp_path):
    script = tmp_path / "faults"
    script.write_text("# greylisting\nrcpt reply=450 times=1\n\nfinal close for=@lost.test # a lost 250\n")
    sink = start(f"127.0.0.1:0,script={script}", extra=["--ledger", tmp_path / "ledger"])
    raw = greeted(sink)
    raw.say(b"MAIL FROM:<a@x.test>")
    assert [raw.say(b"RCPT TO:<u@lost.test>") for _ in range(2)] == [450, 250]
    assert raw.say(b"DATA") == 354
    raw.send(MESSAGE.encode() + b".\r\n")
    assert ends(raw) == (b"", "closed")
    assert (tmp_path / "ledger").read_text() == "dot 1 0 1 u@lost.test\n"


def test_no_more_connections_than_the_limit(start):
    sink = start("127.0.0.1:0,connections=2")
    first, second = greeted(sink), greeted(sink)
    third = sink.raw()
    assert (third.code(), third.reply()) == (421, None)
    first.say(b"QUIT")
    wait_for(lambda: sink.raw().code() == 220)
    assert second.say(b"NOOP") == 250 and sink.total()["turned_away"] >= 1


@pytest.mark.parametrize("tls", [False, True])
def test_slow_reading_takes_its_time_and_loses_nothing(start, tls):
    sink = start("127.0.0.1:0,read-rate=200000")
    began = time.monotonic()
    with sink.client(tls=tls) as smtp:
        smtp.sendmail("a@x.test", ["b@y.test"], "Subject: x\r\n\r\n" + ("x" * 98 + "\r\n") * 1000)
    assert time.monotonic() - began >= 0.4  # of 100,000 octets, at 20,000 a tenth of a second
    assert head_and_content(sink.mails()[0])[1].endswith(b"x\r\n") and len(sink.mails()[0]) > 100000


@pytest.mark.parametrize("fault", [
    "banner", "nowhere:close", "rcpt:what", "rcpt:delay", "rcpt:close=3", "rcpt:reply=250", "rcpt:close:times=0",
    "ehlo:close:for=@x.test", "content:reply=451", "rcpt:close:for=nobody", "rcpt:close:what=1"])
def test_bad_faults_are_refused(fault, tmp_path):
    script = tmp_path / "script"
    script.write_text(fault.replace(":", " ") + "\n")
    for option in (f"fault={fault}", f"script={script}", "script=/nonexistent"):
        done = subprocess.run([program("sluice-sink"), "--listen", f"127.0.0.1:0,{option}"], capture_output=True,
                              text=True, timeout=20)
        assert done.returncode == 64 and "sluice-sink: " in done.stderr


def test_many_bad_commands_end_the_connection(start):
    sink = start("127.0.0.1:0")
    raw = sink.raw()
    raw.code()
    codes = [raw.say(b"WHAT") for _ in range(20)]
    assert codes == [500] * 19 + [421]
    assert raw.reply() is None


def test_a_silent_connection_is_closed(start):
    sink = start("127.0.0.1:0", extra=["--timeout", "1"])
    raw = sink.raw()
    assert raw.code() == 220
    assert raw.reply() is None


def test_several_addresses_share_one_port_and_threads(start):
    sink = start("127.0.0.1:0,name=a.test", "127.0.0.2:same,name=b.test", "[::1]:0",
                 extra=["--threads", "2"])
    assert sink.addresses[0][1] == sink.addresses[1][1]
    for number in range(3):
        for _ in range(10):
            with sink.client(number, tls=True) as smtp:
                smtp.sendmail("a@x.test", ["b@y.test"], MESSAGE)
    stats = sink.stop()
    assert [listener["counters"]["messages"] for listener in stats["listeners"]] == [10] * 3
    assert [listener["name"] for listener in stats["listeners"]][:2] == ["a.test", "b.test"]
    assert stats["total"]["messages"] == 30 and stats["total"]["duplicates"] == 29


GARBAGE = [b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 70000, b"\r\n" * 40000,
           b"EHLO a\r\n" * 20000, b"\xff" * 5000 + b"\r\n", b"BDAT 99999999999999999999\r\n",
           b"MAIL FROM:<" + b"a" * 3000 + b">\r\n"]


@pytest.mark.parametrize("start_tls", [False, True])
@pytest.mark.parametrize("junk", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_does_no_harm(start, junk, start_tls):
    sink = start("127.0.0.1:0")
    raw = sink.raw()
    raw.code()
    raw.say(b"EHLO c.test")
    if start_tls:
        raw.say(b"STARTTLS")
    try:
        raw.send(junk)
        raw.sock.shutdown(socket.SHUT_WR)
        while raw.sock.recv(65536):
            pass
    except OSError:
        pass
    with sink.client() as smtp:
        assert smtp.sendmail("a@x.test", ["b@y.test"], MESSAGE) == {}
    assert sink.total()["messages"] == 1


def test_a_client_that_reads_nothing_is_not_buffered_without_end(start):
    sink = start("127.0.0.1:0")
    sock = socket.create_connection(sink.addresses[0], timeout=20)
    sock.send(b"EHLO a\r\n")
    sock.setblocking(False)
    sent = 0
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < 1 and sent < 64 << 20:
        try:
            sent += sock.send(b"EHLO aaaa\r\n" * 1000)
            idle_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    assert sent < 64 << 20  # it stopped reading
    sock.close()


@pytest.mark.parametrize("argument", [
    "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:0,what", "127.0.0.1:0,tls=1.1",
    "127.0.0.1:0,tickets=x", "127.0.0.1:0,name=a\"b", "127.0.0.1:0,wrapper,tls=none",
    "127.0.0.1:0,reject=nobody", "127.0.0.1:same", "localhost:0", "127.0.0.1:0,wrapper=yes"])
def test_bad_arguments_are_refused(argument):
    done = subprocess.run([program("sluice-sink"), "--listen", argument], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 64 and "sluice-sink: " in done.stderr


def test_help_documents_it():
    done = subprocess.run([program("sluice-sink"), "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "defer-first=N" in done.stdout


def test_own_certificate_is_served(start, tmp_path):
    cert = tmp_path / "cert.pem"
    sink = start("127.0.0.1:0,name=own.test", extra=["--cert-out", cert])
    context = ssl.create_default_context(cafile=cert)
    with socket.create_connection(sink.addresses[0], timeout=20) as sock:
        raw = Raw(sock)
        raw.code()
        raw.say(b"EHLO c.test")
        raw.say(b"STARTTLS")
        with context.wrap_socket(sock, server_hostname="own.test") as tls:
            assert tls.getpeercert()["subject"] == ((("commonName", "own.test"),),)
