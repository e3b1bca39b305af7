"""A scripted DNS responder: a dictionary of records, and named ways to misbehave. UDP and TCP on one
ephemeral loopback port. It knows no zones: a name that is not listed is NXDOMAIN, a type that a
listed name lacks is NODATA, both with an SOA."""
import collections
import socket
import struct
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

SOA = "ns.test. root.test. 1 3600 600 86400 1"  # negative answers may be cached for a second

# In place of records: what happens to any question for that name.
SERVFAIL, REFUSED, DROP, TRUNCATE, GARBAGE, WRONG_ID = (
    "servfail", "refused", "drop", "truncate", "garbage", "wrong-id")


class DnsPeer:
    """records: {"name": {"MX": ["10 mx.test."], "A": ["127.0.0.1"]}, "dead.test": SERVFAIL, ...};
    {"name": {"MX": [...], "A": DROP}} misbehaves for one type only. May be changed while it runs."""

    def __init__(self, records=None, address="127.0.0.1", ttl=60):
        self.records = {} if records is None else records
        self.ttl = ttl
        self.questions = collections.Counter()
        self.lock = threading.Lock()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        while True:  # the same port for both transports
            self.tcp = socket.create_server((address, 0))
            self.address, self.port = self.tcp.getsockname()
            try:
                self.udp.bind((address, self.port))
                break
            except OSError:
                self.tcp.close()
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._udp, self._tcp)]
        for thread in self.threads:
            thread.start()

    @property
    def server(self):
        return f"{self.address}:{self.port}"

    def asked(self, name, kind):
        with self.lock:
            return self.questions[(name.rstrip(".").lower(), kind)]

    def answer(self, wire, over_tcp):
        """Wire in, wire out; None says nothing."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if not query.question:
            return None
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        with self.lock:
            self.questions[(name, kind)] += 1
        response = dns.message.make_response(query, recursion_available=True)
        found = self.records.get(name)
        if isinstance(found, dict):
            special = found.get(kind) if isinstance(found.get(kind), str) else None
        else:
            special = found
        if special == DROP:
            return None
        if special == GARBAGE:
            return wire[:2] + b"\x81\x80" + b"\xff" * 40
        if special == TRUNCATE and not over_tcp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        if special in (SERVFAIL, REFUSED):
            response.set_rcode(dns.rcode.SERVFAIL if special == SERVFAIL else dns.rcode.REFUSED)
            return response.to_wire()
        self._fill(response, name, kind, found)
        out = response.to_wire(max_size=65535)
        if special == WRONG_ID:
            out = struct.pack("!H", struct.unpack("!H", out[:2])[0] ^ 0x5555) + out[2:]
        return out

    def _fill(self, response, name, kind, found):
        for _ in range(20):  # follow CNAMEs as a recursive server does, also round a loop
            if isinstance(found, dict) and "CNAME" in found and kind != "CNAME":
                target = found["CNAME"][0]
                rrset = dns.rrset.from_text(name + ".", self.ttl, "IN", "CNAME", target)
                if rrset in response.answer:
                    return
                response.answer.append(rrset)
                name = target.rstrip(".").lower()
                found = self.records.get(name)
                continue
            break
        if found in (WRONG_ID, TRUNCATE):
            found = {"A": ["127.0.0.1"]}
        records = found.get(kind) if isinstance(found, dict) else None
        if found is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if isinstance(records, list):
            response.answer.append(dns.rrset.from_text(name + ".", self.ttl, "IN", kind, *records))
        else:
            response.authority.append(dns.rrset.from_text("test.", 1, "IN", "SOA", SOA))

    def _udp(self):
        while True:
            try:
                wire, source = self.udp.recvfrom(4096)
            except OSError:
                return
            if not wire:
                return
            out = self.answer(wire, over_tcp=False)
            if out is not None:
                self.udp.sendto(out, source)

    def _tcp(self):
        while True:
            try:
                sock, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._tcp_one, args=(sock,), daemon=True).start()

    def _tcp_one(self, sock):
        stream = sock.makefile("rb")
        sock.settimeout(30)
        try:
            while True:
                head = stream.read(2)
                if len(head) < 2:
                    return
                out = self.answer(stream.read(struct.unpack("!H", head)[0]), over_tcp=True)
                if out is not None:
                    sock.sendall(struct.pack("!H", len(out)) + out)
        except OSError:
            return
        finally:
            sock.close()

    def close(self):
        self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()
        try:
            self.udp.sendto(b"", (self.address, self.port))  # wakes recvfrom()
        except OSError:
            pass
        for thread in self.threads:
            thread.join(5)
        self.udp.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
