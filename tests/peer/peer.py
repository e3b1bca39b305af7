"""A scripted SMTP, LMTP and TLS peer for tests: a well-behaved server whose every step can be bent.

A behaviour is either a Server subclass (one method a step, see bugs.py for the named bugs) or a
list of steps run by `Steps`. Each connection has a thread and an object of its own; what happened
is in Peer's counters, for the test to judge. It is no measure of speed.
"""
import re
import select
import socket
import ssl
import struct
import subprocess
import threading

LINE_MAX = 1 << 20
STALL_MAX_S = 120  # a stall ends when the client leaves, or then: a test never hangs on it


class Message:
    """One copy that the peer took responsibility for, or read to the final dot."""

    def __init__(self, helo, sender, recipients, content, session):
        self.helo, self.sender, self.recipients = helo, sender, recipients
        self.content = content  # dots unstuffed, without the final dot
        self.tls, self.resumed = session.tls_version, session.resumed
        self.connection = session.number

    def header(self, name):
        head = self.content.split(b"\r\n\r\n", 1)[0]
        found = re.search(rb"(?im)^" + name.encode() + rb":[ \t]*([^\r\n]*)", head)
        return found.group(1).decode() if found else None


class Disconnected(Exception):
    pass


class Connection:
    """Lines and bytes over a socket that may become TLS."""

    def __init__(self, sock, split):
        self.sock, self.split, self.buffer = sock, split, b""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(STALL_MAX_S)

    def read_some(self):
        try:
            data = self.sock.recv(65536)
        except OSError as error:
            raise Disconnected(str(error)) from error
        if not data:
            raise Disconnected("EOF")
        self.buffer += data

    def read_line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > LINE_MAX:
                raise Disconnected("line too long")
            self.read_some()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r").decode("utf-8", "surrogateescape")

    def read_content(self):
        """To the final dot; dots unstuffed."""
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            self.read_some()
        if self.buffer.startswith(b".\r\n"):
            content, self.buffer = b"", self.buffer[3:]
        else:
            content, self.buffer = self.buffer.split(b"\r\n.\r\n", 1)
            content += b"\r\n"
        return re.sub(rb"(?m)^\.", b"", content)

    def read_octets(self, num):
        while len(self.buffer) < num:
            self.read_some()
        octets, self.buffer = self.buffer[:num], self.buffer[num:]
        return octets

    def send(self, data, split=None):
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        try:
            if self.split if split is None else split:
                for i in range(len(data)):
                    self.sock.sendall(data[i:i + 1])
            else:
                self.sock.sendall(data)
        except OSError as error:
            raise Disconnected(str(error)) from error

    def starttls(self, context):
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except OSError as error:
            raise Disconnected(f"handshake: {error}") from error
        return self.sock

    def stall(self, seconds=STALL_MAX_S):
        """Says nothing until the client leaves (or sends more, which is kept)."""
        readable, _, _ = select.select([self.sock], [], [], seconds)
        if readable:
            self.read_some()

    def reset(self):
        """RST instead of FIN: the client sees ECONNRESET."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


class Server:
    """A correct receiver. Subclasses override steps; a step that returns False ends the session."""

    keywords = ["PIPELINING", "SIZE 104857600", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8"]
    pipelining = True
    chunking = False
    lmtp = False
    tickets = 2
    max_version = ssl.TLSVersion.TLSv1_3
    wrapper = False      # TLS from the first octet
    client_ca = None     # a CA file: only clients with a certificate of it are served

    def __init__(self, peer, connection, number):
        self.peer, self.conn, self.number = peer, connection, number
        self.tls_version, self.resumed, self.helo = None, False, ""
        self.sender, self.recipients, self.num_rcpt, self.num_messages = None, [], 0, 0
        self.chunks = b""

    # --- steps ---
    def on_connect(self):
        return self.reply("220 peer.test ready")

    def on_ehlo(self, name):
        self.helo = name
        words = [k for k in self.keywords if self.pipelining or k != "PIPELINING"]
        words += ["CHUNKING"] if self.chunking else []
        if self.peer.tls and not self.tls_version:
            words.append("STARTTLS")
        lines = ["peer.test greets you"] + words
        return self.reply("\r\n".join(
            f"250{' ' if i == len(lines) - 1 else '-'}{line}" for i, line in enumerate(lines)))

    def on_helo(self, name):
        self.helo = name
        return self.reply("250 peer.test")

    def on_starttls(self):
        if not self.peer.tls or self.tls_version:
            return self.reply("503 5.5.1 not now")
        self.reply("220 2.0.0 go ahead")
        return self.handshake()

    def handshake(self):
        sock = self.conn.starttls(self.peer.context_for(type(self)))
        self.tls_version, self.resumed = sock.version(), bool(sock.session_reused)
        self.client_certificate = sock.getpeercert() or None
        self.peer.count("resumed" if self.resumed else "full")
        return True

    def on_mail(self, sender, params):
        self.sender, self.recipients, self.num_rcpt = sender, [], 0
        return self.reply("250 2.1.0 sender ok")

    def on_rcpt(self, recipient, params):
        if self.sender is None:
            return self.reply("503 5.5.1 MAIL first")
        self.num_rcpt += 1
        return self.accept_rcpt(recipient)

    def accept_rcpt(self, recipient):
        self.recipients.append(recipient)
        return self.reply("250 2.1.5 recipient ok")

    def on_data(self):
        if not self.recipients:
            return self.reply("554 5.5.1 no valid recipients")
        self.reply("354 go ahead")
        content = self.conn.read_content()
        return self.on_content(content)

    def on_bdat(self, size, is_last):
        self.chunks += self.conn.read_octets(size)
        if self.sender is None or not self.recipients:
            self.chunks = b""
            return self.reply("554 5.5.1 no valid recipients")
        if not is_last:
            return self.reply("250 2.0.0 go on")
        content, self.chunks = self.chunks, b""
        return self.on_content(content)

    def on_content(self, content):
        self.take(content)
        if self.lmtp:
            for recipient in self.recipients:
                self.reply(self.lmtp_verdict(recipient))
            return True
        return self.reply("250 2.0.0 taken")

    def lmtp_verdict(self, recipient):
        return "250 2.1.5 taken"

    def on_rset(self):
        self.sender, self.recipients = None, []
        return self.reply("250 2.0.0 reset")

    def on_other(self, line):
        return self.reply("500 5.5.2 unknown command")

    # --- machinery ---
    def take(self, content):
        self.num_messages += 1
        self.peer.take(Message(self.helo, self.sender, list(self.recipients), content, self))
        self.sender = None

    def reply(self, text):
        self.conn.send(text + "\r\n")
        return True

    def dispatch(self, line):
        upper = line.upper()
        path = re.match(r"(?i)(?:MAIL FROM|RCPT TO):\s*<((?:[^\">]|\"(?:\\.|[^\"\\])*\")*)>\s*(.*)", line)
        if upper.startswith(("EHLO", "LHLO")):
            return self.on_ehlo(line[5:].strip())
        if upper.startswith("HELO"):
            return self.on_helo(line[5:].strip())
        if upper == "STARTTLS":
            return self.on_starttls()
        if upper.startswith("MAIL FROM:") and path:
            return self.on_mail(path.group(1), path.group(2))
        if upper.startswith("RCPT TO:") and path:
            return self.on_rcpt(path.group(1), path.group(2))
        if upper == "DATA":
            return self.on_data()
        chunk = re.fullmatch(r"BDAT (\d+)( LAST)?", upper)
        if chunk and self.chunking:
            return self.on_bdat(int(chunk.group(1)), bool(chunk.group(2)))
        if upper == "RSET":
            return self.on_rset()
        if upper == "NOOP":
            return self.reply("250 2.0.0 ok")
        if upper == "QUIT":
            self.reply("221 2.0.0 bye")
            return False
        return self.on_other(line)

    def run(self):
        if self.wrapper:
            self.handshake()
        if self.on_connect() is False:
            return
        while True:
            line = self.conn.read_line()
            self.peer.record(self.number, line)
            if self.dispatch(line) is False:
                return


class Steps(Server):
    """Runs `steps`, a list of tuples, and nothing else:
    ("expect", regex)  reads a line that must match     ("send", bytes)   as one write
    ("split", bytes)   byte by byte                     ("stall",)        until the client leaves
    ("close",)  ("reset",)                              ("starttls",)     handshake as server
    ("content",)  reads to the final dot and keeps the message"""

    steps = []

    def run(self):
        for step in self.steps:
            getattr(self, "do_" + step[0])(*step[1:])

    def do_expect(self, regex):
        line = self.conn.read_line()
        self.peer.record(self.number, line)
        if not re.search(regex, line, re.IGNORECASE):
            self.peer.complain(f"expected {regex!r}, got {line!r}")
            raise Disconnected("script")
        address = re.search(r"<(.*)>", line)
        if line.upper().startswith("MAIL"):
            self.sender, self.recipients = address.group(1), []
        elif line.upper().startswith("RCPT"):
            self.recipients.append(address.group(1))

    def do_send(self, data):
        self.conn.send(data, split=False)

    def do_split(self, data):
        self.conn.send(data, split=True)

    def do_stall(self):
        self.conn.stall()

    def do_close(self):
        self.conn.close()

    def do_reset(self):
        self.conn.reset()

    def do_starttls(self):
        self.handshake()

    def do_content(self):
        self.take(self.conn.read_content())


KEYS = {"ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"]}


def make_certificate(folder, name="peer.test", kind="ec"):
    """A self-signed certificate; (certificate, key) paths."""
    cert, key = folder / f"{kind}-cert.pem", folder / f"{kind}-key.pem"
    if not cert.exists():
        subprocess.run(
            ["openssl", "req", "-x509", *KEYS[kind], "-nodes", "-days", "30", "-subj", f"/CN={name}",
             "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(cert)],
            check=True, capture_output=True)
    return cert, key


class Peer:
    """Listens on an ephemeral port of a loopback address and serves each connection with `behaviour`
    (or the next of a list of them; the last one stays)."""

    def __init__(self, behaviour=Server, address="127.0.0.1", port=0, tls=None, split=False,
                 pipelining=True, chunking=False):
        self.behaviours = behaviour if isinstance(behaviour, list) else [behaviour]
        self.tls, self.split, self.pipelining, self.chunking = tls, split, pipelining, chunking
        self.messages, self.commands, self.complaints = [], [], []
        self.counts = {"connections": 0, "full": 0, "resumed": 0, "open": 0, "most_open": 0}
        self.lock = threading.Lock()
        self.contexts = {}
        self.live = set()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = socket.create_server((address, port), backlog=128, family=family)
        self.address, self.port = self.listener.getsockname()[:2]
        self.stopped = threading.Event()  # for behaviours that wait for the test's end
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def next_hop(self):
        lmtp = "lmtp:" if self.behaviours[0].lmtp else ""
        return f"{lmtp}[{self.address}]:{self.port}"

    def context_for(self, behaviour):
        """One context per behaviour, so that its tickets stay good between connections."""
        with self.lock:
            if behaviour not in self.contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*map(str, self.tls))
                context.num_tickets = behaviour.tickets
                context.maximum_version = behaviour.max_version
                if behaviour.client_ca:
                    context.load_verify_locations(str(behaviour.client_ca))
                    context.verify_mode = ssl.CERT_REQUIRED
                if behaviour.tickets == 0:
                    context.options |= ssl.OP_NO_TICKET
                self.contexts[behaviour] = context
            return self.contexts[behaviour]

    def count(self, name, n=1):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + n

    def record(self, number, line):
        with self.lock:
            self.commands.append((number, line))

    def complain(self, text):
        with self.lock:
            self.complaints.append(text)

    def take(self, message):
        with self.lock:
            self.messages.append(message)

    def verbs(self):
        """How often each command came."""
        counts = {}
        for _, line in list(self.commands):
            verb = line.split(" ")[0].upper()
            counts[verb] = counts.get(verb, 0) + 1
        return counts

    def recipients(self):
        return sorted(r for m in list(self.messages) for r in m.recipients)

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                number = self.counts["connections"]
                self.counts["connections"] += 1
                self.counts["open"] += 1
                self.counts["most_open"] = max(self.counts["most_open"], self.counts["open"])
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock, number):
        behaviour = self.behaviours[min(number, len(self.behaviours) - 1)]
        connection = Connection(sock, self.split)
        with self.lock:
            self.live.add(connection)
        session = behaviour(self, connection, number)
        session.pipelining = session.pipelining and self.pipelining
        session.chunking = session.chunking or self.chunking
        try:
            session.run()
        except Disconnected:
            pass
        finally:
            connection.close()
            with self.lock:
                self.live.discard(connection)
                self.counts["open"] -= 1

    def close(self):
        self.stopped.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        self.listener.close()
        self.thread.join(5)
        for connection in list(self.live):
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
