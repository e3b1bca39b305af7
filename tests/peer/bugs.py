"""The growing list of named bugs that receivers have. Each says what a sender meets; what the router
must make of it is in tests/e2e/peer_test.py, one row a bug."""
import socket
import time

from peer import Disconnected, Server, Steps
from tls_behaviours import NoTickets, Tls12

BUGS = {}


def bug(name):
    def register(cls):
        cls.bug_name = name
        BUGS[name] = cls
        return cls
    return register


def from_the_second(cls):
    """The bug without its effect on the first message of each connection."""
    def step(name):
        return lambda self, *words: getattr(cls if self.num_messages else Server, name)(self, *words)
    names = ("on_mail", "on_rcpt", "accept_rcpt", "on_data", "on_bdat", "on_content", "on_rset")
    return type(cls.__name__ + "FromTheSecond", (cls,), {name: step(name) for name in names})


@bug("none")
class Good(Server):
    """No bug: the control."""


@bug("421-at-banner")
class BusyAtBanner(Server):
    def on_connect(self):
        self.reply("421 4.3.2 too busy")
        return False


@bug("554-at-banner")
class NoServiceAtBanner(Server):
    """RFC 5321 3.1: no SMTP service here; only QUIT may follow."""

    def on_connect(self):
        return self.reply("554 5.3.2 no SMTP service here")

    def dispatch(self, line):
        if line.upper() == "QUIT":
            self.reply("221 bye")
            return False
        return self.reply("503 5.5.1 no service, I said")


@bug("close-before-banner")
class CloseBeforeBanner(Steps):
    steps = [("close",)]


@bug("reset-before-banner")
class ResetBeforeBanner(Steps):
    steps = [("reset",)]


@bug("silent-after-connect")
class Silent(Steps):
    steps = [("stall",)]


@bug("multiline-banner")
class MultilineBanner(Server):
    def on_connect(self):
        return self.reply("220-peer.test\r\n220-wait for it\r\n220 ready")


@bug("bare-lf-replies")
class BareLineFeeds(Server):
    def reply(self, text):
        self.conn.send(text.replace("\r\n", "\n") + "\n")
        return True


@bug("no-text-replies")
class NoText(Server):
    """A code alone, even without the space (RFC 5321 4.2 asks receivers of it to be tolerant)."""

    def reply(self, text):
        self.conn.send(text if text[3:4] == "-" else text[:3])
        self.conn.send("\r\n")
        return True


@bug("code-changes-in-multiline")
class CodeChanges(Server):
    def on_ehlo(self, name):
        return self.reply("250-peer.test\r\n450-changed my mind\r\n250 SIZE 1000")


@bug("endless-reply")
class Endless(Server):
    def on_ehlo(self, name):
        while True:
            self.conn.send("250-and another thing\r\n" * 100)


@bug("endless-line")
class EndlessLine(Server):
    def on_ehlo(self, name):
        self.conn.send("250 ")
        while True:
            self.conn.send("x" * 4096)


@bug("huge-line")
class HugeLine(Server):
    """Longer than the 512 octets of RFC 5321 4.5.3.1.5, shorter than any sane limit."""

    def accept_rcpt(self, recipient):
        self.recipients.append(recipient)
        return self.reply("250 2.1.5 " + "ok " * 1000)


@bug("nul-in-reply")
class NulInReply(Server):
    def accept_rcpt(self, recipient):
        return self.reply("450 4.2.1 mail\0box \x1b[31mbusy\x07 \udcff")


@bug("garbage-banner")
class GarbageBanner(Steps):
    steps = [("send", b"SSH-2.0-OpenSSH_9.2p1\r\n"), ("stall",)]


@bug("no-ehlo-only-helo")
class OnlyHelo(Server):
    def on_ehlo(self, name):
        return self.reply("502 5.5.1 what is EHLO?")


@bug("ehlo-closes")
class EhloCloses(Server):
    def on_ehlo(self, name):
        return False


@bug("starttls-refused-454")
class StarttlsRefused(Server):
    def on_starttls(self):
        return self.reply("454 4.7.0 TLS not available due to temporary reason")


@bug("starttls-refused-501")
class StarttlsSyntaxError(Server):
    def on_starttls(self):
        return self.reply("501 5.5.4 syntax error")


@bug("extra-after-220-starttls")
class Injected(Server):
    """CVE-2011-0411 seen from the other side: octets in the clear, in the packet of the 220."""

    def on_starttls(self):
        self.conn.send("220 2.0.0 go ahead\r\n250 2.0.0 injected\r\n", split=False)
        return self.handshake()


@bug("tls-garbage")
class TlsGarbage(Server):
    def on_starttls(self):
        self.reply("220 2.0.0 go ahead")
        self.conn.read_some()  # the ClientHello, so that this is no injection before the handshake
        self.conn.send(b"500 what are you saying?\r\n" * 8, split=False)
        self.peer.count("garbage")
        return False


@bug("tls-silent")
class TlsSilent(Server):
    def on_starttls(self):
        self.reply("220 2.0.0 go ahead")
        self.conn.read_some()
        self.conn.stall()
        return False


bug("ticket-never-resumes")(NoTickets)
bug("tls12-only")(Tls12)


@bug("421-after-rcpt-3")
class BusyAfterThree(Server):
    def on_rcpt(self, recipient, params):
        self.num_rcpt += 1
        if self.num_rcpt > 3:
            self.reply("421 4.3.2 closing, too much for me")
            return False
        return self.accept_rcpt(recipient)


@bug("421-after-first-message")
class BusyAfterFirst(Server):
    """Routine: the connection has delivered, and another may follow at once."""

    def on_mail(self, sender, params):
        if self.num_messages:
            self.reply("421 4.7.0 enough for one connection")
            return False
        return super().on_mail(sender, params)


@bug("421-at-final-dot")
class BusyAtDot(Server):
    def on_content(self, content):
        self.peer.count("dots")
        self.reply("421 4.3.0 not now")
        return False


@bug("close-after-dot")
class CloseAfterDot(Server):
    def on_content(self, content):
        self.take(content)
        return False


@bug("close-in-content")
class CloseInContent(Server):
    def on_data(self):
        self.reply("354 go ahead")
        self.conn.read_some()
        return False


class EarlyReply(Server):
    """Says `words` when the first of a large content has come; then it goes on."""

    words = ""

    def on_data(self):
        self.reply("354 go ahead")
        self.conn.read_some()
        self.reply(self.words)
        return self.go_on()

    def go_on(self):
        """Reads on, as RFC 5321 would have it, but does not say it again."""
        while True:
            self.conn.buffer = b""
            self.conn.read_some()


@bug("552-in-content")
class TooMuchInContent(EarlyReply):
    words = "552 5.3.4 that is too much"


@bug("250-in-content")
class AcceptsInContent(EarlyReply):
    words = "250 2.0.0 seen enough"


@bug("451-in-content-then-close")
class DefersInContentAndCloses(EarlyReply):
    words = "451 4.3.1 no room"

    def go_on(self):
        return False


@bug("421-in-content-stops-reading")
class LeavesInContent(EarlyReply):
    """Neither reads on nor closes: a sender that only writes waits for its own time limit."""

    words = "421 4.3.2 shutting down"

    def go_on(self):
        self.peer.stopped.wait(60)
        return False


@bug("endless-reply-in-content")
class EndlessInContent(EarlyReply):
    """Reads no more before its words are taken: both sides' buffers are full."""

    words = "450-wait"

    def go_on(self):
        while True:
            self.conn.send("450-a little longer\r\n" * 100)


@bug("limits-told")
class LimitsTold(Server):
    """RFC 9422, and it means what it says."""
    keywords = Server.keywords + ["LIMITS MAILMAX=2 RCPTMAX=5"]
    num_mails = 0

    def on_mail(self, sender, params):
        self.num_mails += 1
        if self.num_mails > 2:
            self.peer.complain("MAIL beyond MAILMAX")
        return super().on_mail(sender, params)

    def on_rcpt(self, recipient, params):
        if self.num_rcpt >= 5:
            self.peer.complain("RCPT beyond RCPTMAX")
        return super().on_rcpt(recipient, params)


@bug("452-after-5-recipients")
class FiveAtATime(Server):
    def on_rcpt(self, recipient, params):
        if len(self.recipients) >= 5:
            return self.reply("452 4.5.3 too many recipients")
        return super().on_rcpt(recipient, params)


@bug("452-for-the-first")
class NoneAtATime(Server):
    def on_rcpt(self, recipient, params):
        return self.reply("452 4.2.2 mailbox full")


@bug("354-without-recipients")
class GoAheadAnyway(Server):
    def on_rcpt(self, recipient, params):
        return self.reply("550 5.1.1 no such user")

    def on_data(self):
        self.reply("354 go ahead")
        content = self.conn.read_content()
        self.peer.count("orphan_octets", len(content))
        self.peer.count("orphans")
        return self.reply("554 5.5.1 no valid recipients")


@bug("354-refused-mixed")
class Mixed(Server):
    """One recipient of each kind, by the first word of its local part."""

    verdicts = {"ok": "250 2.1.5 ok", "forward": "251 2.1.5 will forward", "maybe": "252 2.0.0 will try",
                "busy": "450 4.2.1 busy", "gone": "550 5.1.1 gone", "odd": "299 odd but positive"}

    def on_rcpt(self, recipient, params):
        verdict = self.verdicts[recipient.split(".")[0].split("@")[0]]
        if verdict.startswith("2"):
            self.recipients.append(recipient)
        return self.reply(verdict)


@bug("550-at-mail")
class RefusedSender(Server):
    def on_mail(self, sender, params):
        self.sender, self.recipients = sender, []
        return self.reply("550 5.7.1 not from you")

    def on_rcpt(self, recipient, params):
        return self.reply("503 5.5.1 MAIL first")


@bug("451-at-mail")
class GreylistedSender(RefusedSender):
    def on_mail(self, sender, params):
        return self.reply("451 4.7.1 greylisted")


@bug("451-at-data")
class NotData(Server):
    def on_data(self):
        return self.reply("451 4.3.0 no room")


@bug("554-at-final-dot")
class ContentRefused(Server):
    def on_content(self, content):
        self.peer.count("dots")
        return self.reply("554 5.7.1 looks like spam")


@bug("lmtp-per-recipient")
class Lmtp(Server):
    lmtp = True

    def lmtp_verdict(self, recipient):
        return {"ok": "250 2.1.5 taken", "busy": "450 4.2.1 busy",
                "gone": "550 5.1.1 gone"}[recipient.split("@")[0].split(".")[0]]

    def dispatch(self, line):
        if line.upper().startswith(("EHLO", "HELO")):
            return self.reply("500 5.5.1 LHLO, please")  # RFC 2033 4.1
        return super().dispatch(line)


@bug("slow-reader")
class SlowReader(Server):
    """A small window, read in small pieces: the sender's socket is full most of the time."""

    def on_connect(self):
        self.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return super().on_connect()

    def on_data(self):
        recv = self.conn.sock.recv
        self.conn.read_some = lambda: self._read_little(recv)
        return super().on_data()

    def _read_little(self, recv):
        try:
            data = recv(2048)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not data:
            raise Disconnected("EOF")
        self.conn.buffer += data


@bug("stops-reading-content")
class StopsReading(Server):
    def on_connect(self):
        self.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return super().on_connect()

    def on_data(self):
        self.reply("354 go ahead")
        self.peer.stopped.wait(60)
        return False


@bug("silent-after-dot")
class SilentAfterDot(Server):
    def on_content(self, content):
        self.take(content)
        self.conn.stall()
        return False


@bug("endless-reply-after-dot")
class EndlessAfterDot(Server):
    """Slowly, so that it lasts; each line is one more of the same reply."""

    def on_content(self, content):
        self.take(content)
        while True:
            self.conn.send("250-one moment\r\n")
            time.sleep(0.05)


@bug("reads-no-content")
class ReadsNoContent(Server):
    def on_data(self):
        self.reply("354 go ahead")
        self.conn.stall()
        return False


@bug("unasked-reply")
class Unasked(Server):
    """A reply that nothing was sent for: every later one would be taken for the wrong command."""

    def on_ehlo(self, name):
        super().on_ehlo(name)
        return self.reply("250 2.0.0 and by the way")
