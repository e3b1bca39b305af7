"""Signed zones for tests: knot signs and serves them, unbound validates, both on ports of 127.0.0.1.

`Dnssec(folder, {"good.test": [...]}, insecure={...}, bogus={...})`: lines are in zone file syntax below
the zone's name. `secure` zones have a trust anchor at the resolver, `insecure` ones are not signed,
`bogus` ones have a trust anchor that none of their keys fits."""
import hashlib
import os
import pathlib
import socket
import subprocess
import time

import dns.message
import dns.query
from middle import DnsMiddle

KNOT = """
server:
    rundir: "{folder}"
    pidfile: "{folder}/knot.pid"
    listen: 127.0.0.1@{port}
    user: "{user}"
log:
  - target: "{folder}/knot.log"
    any: info
database:
    storage: "{folder}/db"
policy:
  - id: fast
    algorithm: ecdsap256sha256
    single-type-signing: on
    nsec3: off
template:
  - id: default
    storage: "{folder}"
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
  - id: plain
    storage: "{folder}"
    zonefile-load: whole
    zonefile-sync: -1
    journal-content: none
zone:
"""

UNBOUND = """
server:
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: "{folder}/unbound.pid"
    logfile: "{folder}/unbound.log"
    use-syslog: no
    do-daemonize: no
    interface: 127.0.0.1@{port}
    module-config: "validator iterator"
    do-not-query-localhost: no
    local-zone: "test." nodefault
    val-log-level: 2
    cache-max-ttl: 1
    cache-max-negative-ttl: 1
    num-threads: 1
"""

SOA = "@ 60 SOA ns.{zone}. admin.{zone}. {serial} 3600 900 1209600 1\n@ 60 NS ns.{zone}.\nns 60 A 127.0.0.1\n"


def free_port():
    """A port that is free for UDP and TCP just now."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            try:
                tcp.bind(("127.0.0.1", udp.getsockname()[1]))
            except OSError:
                continue
            return udp.getsockname()[1]


class Dnssec:
    def __init__(self, folder, secure, insecure=None, bogus=None, change=None):
        """change: what a man in the middle does to the answers that the resolver gets (middle.DnsMiddle)."""
        self.folder = pathlib.Path(folder)
        (self.folder / "db").mkdir(parents=True)
        self.secure, self.insecure, self.bogus = dict(secure), dict(insecure or {}), dict(bogus or {})
        self.serial = int(time.time())
        self.knot_port, self.port = free_port(), free_port()
        self.server = f"127.0.0.1:{self.port}"
        self.processes = []
        self.middle = DnsMiddle(self.knot_port, change) if change else None
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _zones(self):
        return {**self.secure, **self.insecure, **self.bogus}

    def _write_zone(self, zone):
        text = f"$ORIGIN {zone}.\n" + SOA.format(zone=zone, serial=self.serial) + "\n".join(self._zones()[zone]) + "\n"
        (self.folder / f"{zone}.zone").write_text(text)

    def _start(self):
        conf = KNOT.format(folder=self.folder, port=self.knot_port, user="root" if os.getuid() == 0 else os.getlogin())
        for zone in self._zones():
            self._write_zone(zone)
            conf += f'  - domain: {zone}\n    file: "{zone}.zone"\n'
            conf += "    template: plain\n" if zone in self.insecure else "    dnssec-signing: on\n    dnssec-policy: fast\n"
        (self.folder / "knot.conf").write_text(conf)
        self._spawn("knotd", "-c", self.folder / "knot.conf")
        self._wait(self.knot_port, lambda answer: all(self._serves(z) for z in self._zones()))
        conf = UNBOUND.format(folder=self.folder, port=self.port)
        for zone in {**self.secure, **self.bogus}:
            conf += f'    trust-anchor: "{self._anchor(zone)}"\n'
        upstream = self.middle.port if self.middle else self.knot_port
        for zone in self._zones():
            conf += f'stub-zone:\n    name: "{zone}."\n    stub-addr: 127.0.0.1@{upstream}\n'
        (self.folder / "unbound.conf").write_text(conf)
        self._spawn("unbound", "-d", "-c", self.folder / "unbound.conf")
        self._wait(self.port, lambda answer: True)

    def _spawn(self, *command):
        with open(self.folder / (command[0] + ".out"), "wb") as out:
            self.processes.append(subprocess.Popen([str(c) for c in command], stdout=out, stderr=out,
                                                   stdin=subprocess.DEVNULL, env={**os.environ, "PATH": PATH}))

    def _query(self, port, name, kind):
        query = dns.message.make_query(name, kind, want_dnssec=True)
        return dns.query.udp(query, "127.0.0.1", port=port, timeout=1)

    def _serves(self, zone):
        answer = self._query(self.knot_port, zone + ".", "DNSKEY")
        soa = self._query(self.knot_port, zone + ".", "SOA")
        return soa.answer and (zone in self.insecure or answer.answer)

    def _wait(self, port, condition):
        end = time.monotonic() + 30
        while True:
            assert all(p.poll() is None for p in self.processes), self.words()
            try:
                # One of ours: for any other name unbound would look for the root servers first.
                if condition(self._query(port, next(iter(self.secure)) + ".", "SOA")):
                    return
            except (dns.exception.DNSException, OSError):
                pass
            assert time.monotonic() < end, self.words()
            time.sleep(0.05)

    def _anchor(self, zone):
        out = subprocess.run(["keymgr", "-c", str(self.folder / "knot.conf"), f"{zone}.", "ds"], check=True,
                             capture_output=True, text=True, env={**os.environ, "PATH": PATH}).stdout
        words = next(line for line in out.splitlines() if line.split()[4:5] == ["2"]).split()
        digest = "0" * len(words[-1]) if zone in self.bogus else words[-1]
        return " ".join([*words[:-1], digest])

    def change(self, zone, lines):
        """Other records from now on: returns when the resolver shows the new SOA."""
        for group in (self.secure, self.insecure, self.bogus):
            if zone in group:
                group[zone] = lines
        self.serial += 100
        self._write_zone(zone)
        self.processes[0].send_signal(1)

    def words(self):
        return "\n".join(p.read_text(errors="replace")[-2000:] for p in self.folder.glob("*.out")) + \
            "\n".join(p.read_text(errors="replace")[-2000:] for p in self.folder.glob("*.log"))

    def stop(self):
        if self.middle:
            self.middle.close()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                process.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def tlsa(cert, usage=3, selector=1, matching=1):
    """The record's data for a certificate file: "3 1 1 <hex>"."""
    command = ["openssl", "x509", "-in", str(cert), "-outform", "DER"]
    if selector == 1:
        command = ["sh", "-c", 'openssl x509 -in "$1" -pubkey -noout | openssl pkey -pubin -outform DER', "sh", str(cert)]
    der = subprocess.run(command, check=True, capture_output=True).stdout
    data = {0: der.hex(), 1: hashlib.sha256(der).hexdigest(), 2: hashlib.sha512(der).hexdigest()}[matching]
    return f"{usage} {selector} {matching} {data}"
