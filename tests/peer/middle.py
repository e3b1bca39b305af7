"""Men in the middle: one between the router and a receiver, one between a resolver and the zones."""
import socket
import threading

import dns.flags
import dns.message
import dns.rdatatype


class Middle:
    """Passes a TCP connection on to `port` of `address`, and meddles with what is said in the clear.

    from_server(line) and from_client(line) get each line (octets, with its end) until the client sends a
    TLS record; they return what goes on in its place. After that `records(data, to_server)` may change
    octets."""

    def __init__(self, address, port, from_server=None, from_client=None, records=None):
        self.target, self.records = (address, port), records
        self.from_server, self.from_client = from_server or bytes, from_client or bytes
        self.saw = b""  # all that the client said in the clear
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=32)
        self.address, self.port = self.listener.getsockname()
        self.live = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def next_hop(self):
        return f"[{self.address}]:{self.port}"

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
            except OSError:
                return
            self.live |= {client, server}
            state = {"tls": False}
            threading.Thread(target=self._pass, args=(client, server, self.from_client, state, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, self.from_server, state, False), daemon=True).start()

    def _pass(self, source, sink, change, state, to_server):
        waiting = b""
        try:
            while data := source.recv(65536):
                if to_server and not waiting and data[:1] == b"\x16":
                    state["tls"] = True
                if state["tls"]:
                    sink.sendall(self.records(data, to_server) if self.records else data)
                    continue
                if to_server:
                    self.saw += data
                *lines, waiting = (waiting + data).split(b"\n")
                if out := b"".join(change(line + b"\n") for line in lines):
                    sink.sendall(out)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        for end in self.live:
            end.close()


class DnsMiddle:
    """Passes DNS over UDP on to a port of 127.0.0.1; change(message) may alter an answer in place."""

    def __init__(self, port, change):
        self.target, self.change = ("127.0.0.1", port), change
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, client = self.socket.recvfrom(65536)
            except OSError:
                return
            threading.Thread(target=self._answer, args=(query, client), daemon=True).start()

    def _answer(self, query, client):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
            upstream.settimeout(5)
            upstream.sendto(query, self.target)
            try:
                answer = dns.message.from_wire(upstream.recv(65536))
                self.change(answer)
                self.socket.sendto(answer.to_wire(), client)
            except OSError:
                pass

    def close(self):
        self.socket.close()


def without(kind):
    """A change for DnsMiddle: no records of that type, nor their signatures, nor proof that there are none."""
    def change(answer):
        if answer.question and answer.question[0].rdtype == dns.rdatatype.from_text(kind):
            answer.answer, answer.authority = [], []
    return change
