"""Postfix, Exim and OpenSMTPD in the private roots that `roots.sh run` has mounted, and knot as their
DNS. Each listens on port 25 of two addresses, with STARTTLS and without; mail for *.test ends in
a maildir. Their settings are in servers/. Nothing is stopped: the process namespace ends with the
test."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

from harness import wait_for

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peer"))
from peer import make_certificate  # noqa: E402

SETTINGS = pathlib.Path(__file__).parent / "servers"

CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}  # inside the roots


class Delivered:
    """A stored copy: for whom, and the file as the receiver wrote it (LF line ends)."""

    def __init__(self, recipient, data):
        self.recipient, self.data = recipient, data


class Receiver:
    name = tls_address = plain_address = None
    tls_is_broken = False
    recipient_field = None  # where the receiver notes the envelope recipient

    def __init__(self, roots):
        self.root = pathlib.Path(roots) / self.name / "m"
        self.mail = self.root / "srv" / "mail"
        self.log_path = None

    def chroot(self, *command, **options):
        return subprocess.run(["chroot", str(self.root), *command], check=True, env=CLEAN, **options)

    def address_for(self, n, tls):
        """Where the nth destination leads."""
        return self.tls_address if tls else self.plain_address

    def start(self, folder):
        cert, key = make_certificate(folder, "mx.test")
        shutil.copy(cert, self.root / "etc/e2e-cert.pem")
        shutil.copy(key, self.root / "etc/e2e-key.pem")
        (self.root / "etc/e2e-key.pem").chmod(0o600)
        self.mail.mkdir(parents=True, exist_ok=True)
        self.mail.chmod(0o777)
        self.configure()
        for address in (self.tls_address, self.plain_address):
            wait_for(lambda a=address: listens(a), f"{self.name} on {address}:25", 30)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def stored(self):
        return list((self.mail / "maildir" / "new").glob("*"))

    def count(self):
        """How many copies are complete."""
        return sum(1 for _ in os.scandir(self.mail / "maildir" / "new")) if (self.mail / "maildir" / "new").exists() else 0

    def delivered(self):
        for path in self.stored():
            data = path.read_bytes()
            found = re.search(rb"(?im)^" + self.recipient_field + rb":[ \t]*<?([^>\r\n]*)>?", data)
            yield Delivered(found.group(1).decode("utf-8", "replace").strip() if found else None, data)


class Postfix(Receiver):
    name, tls_address, plain_address = "postfix", "127.0.1.1", "127.0.1.2"
    recipient_field = b"X-Original-To"

    def configure(self):
        etc = self.root / "etc/postfix"
        shutil.copy(SETTINGS / "postfix.main.cf", etc / "main.cf")
        master = (etc / "master.cf").read_text()
        # One smtpd service for each address; chroot off, the whole server already is in a root.
        master = re.sub(r"(?m)^smtp +inet .*$",
                        "127.0.1.1:smtp inet n - n - - smtpd\n"
                        "127.0.1.2:smtp inet n - n - - smtpd\n"
                        "  -o smtpd_tls_security_level=none", master)
        (etc / "master.cf").write_text(re.sub(r"(?m)^(\S+ +(?:unix|inet)(?:-\S+)? +\S+ +\S+ +)y", r"\1n", master))
        (etc / "domains").write_text("/\\.test$/ OK\n")
        self.log_path = self.root / "var/log/postfix.log"
        self.chroot("postfix", "start")

    def connections(self):
        return len(re.findall(r"smtpd\[\d+\]: connect from", self.log()))

    def handshakes(self):
        """(full, resumed)"""
        log = self.log()
        resumed = len(re.findall(r"[Rr]eusing old session", log))
        return len(re.findall(r"TLS connection established from", log)) - resumed, resumed


class Exim(Receiver):
    name, tls_address, plain_address = "exim", "127.0.2.1", "127.0.2.2"
    recipient_field = b"Envelope-to"

    def configure(self):
        config = self.root / "etc/exim4/exim4.conf"  # read before what Debian generates
        shutil.copy(SETTINGS / "exim.conf", config)
        (self.root / "etc/e2e-key.pem").chmod(0o644)
        self.log_path = self.root / "var/log/exim4/mainlog"
        self.chroot("exim4", "-bd", "-q2s")

    def connections(self):
        return len(re.findall(r"SMTP connection from \[", self.log()))

    def handshakes(self):
        """Messages, not handshakes, carry the mark in Exim's log: an asterisk for a resumed session."""
        marks = re.findall(r" <= .* X=TLS\S+", self.log())
        resumed = [m for m in marks if m.endswith("*") or "*" in m.rsplit("X=", 1)[1]]
        return len(marks) - len(resumed), len(resumed)


class OpenSmtpd(Receiver):
    name, tls_address, plain_address = "opensmtpd", "127.0.3.1", "127.0.3.2"
    recipient_field = b"Delivered-To"
    # Debian 12's 6.8.0p2 offers STARTTLS and then fails every handshake, whatever the key: its privilege
    # separated RSA and EC methods do not work with OpenSSL 3. So the TLS address is a real host with
    # broken TLS, and bulk goes to the plain one.
    tls_is_broken = True
    # Its listen() backlog is 5 an address, and a connection that Linux drops there looks established to
    # the client, which then waits for the greeting in vain: so, an address a destination.
    plain_addresses = [f"127.0.3.{i}" for i in range(2, 50)]

    def address_for(self, n, tls):
        return self.plain_addresses[n % len(self.plain_addresses)]

    def configure(self):
        listeners = "".join(f"listen on {a} port 25 hostname opensmtpd.test\n" for a in self.plain_addresses)
        (self.root / "etc/smtpd.conf").write_text((SETTINGS / "smtpd.conf").read_text().replace("@PLAIN@\n", listeners))
        if not re.search(r"(?m)^vmail:", (self.root / "etc/passwd").read_text()):
            self.chroot("useradd", "-d", "/srv/mail", "-s", "/usr/sbin/nologin", "-u", "2000", "vmail")
        self.log_path = self.root / "var/log/opensmtpd.log"
        with open(self.log_path, "ab") as log:
            # -d: in the foreground, with its log on standard error.
            subprocess.Popen(["chroot", str(self.root), "smtpd", "-d"], stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, env=CLEAN)

    def connections(self):
        return len(re.findall(r"smtp connected address=", self.log()))

    def handshakes(self):
        return len(re.findall(r"smtp tls", self.log())), 0


class Knot:
    def __init__(self, folder, zone_lines):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "knot.conf").write_text((SETTINGS / "knot.conf").read_text().replace("@DIR@", str(folder)))
        (folder / "test.zone").write_text("$ORIGIN test.\n$TTL 300\n@ SOA ns root 1 3600 600 86400 300\n"
                                          "@ NS ns\nns A 127.0.0.1\n" + "\n".join(zone_lines) + "\n")
        program = shutil.which("knotd") or "/usr/sbin/knotd"
        self.process = subprocess.Popen([program, "-c", str(folder / "knot.conf")], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for(lambda: listens("127.0.0.1", 53), "knot on 127.0.0.1:53")


def listens(address, port=25):
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex((address, port)) == 0


def start_all(folder):
    """Postfix, Exim, OpenSMTPD; each accepts connections."""
    roots = os.environ["SLUICE_E2E_ROOTS"]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    receivers = [Postfix(roots), Exim(roots), OpenSmtpd(roots)]
    for receiver in receivers:
        receiver.start(folder)
    return receivers
