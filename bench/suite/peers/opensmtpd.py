"""OpenSMTPD. A few processes with event loops, one of which (the transfer process) has all connections; it keeps
connections by itself. Its limits and pauses are made for a small server's politeness, and are set to what
the scenario says.

Debian's 6.8. It has no cache of TLS sessions as a client. It offers STARTTLS as a server but then fails, which
does not concern us here: as a client it works.
"""
import subprocess

from . import peer

CONFIG = """{listen}
queue ttl 1d
# All of the mail may be in flight at once.
scheduler limit max-inflight {inflight}
scheduler limit max-evp-batch-size 1024
scheduler limit max-msg-batch-size 1024
scheduler limit max-schedule 1024
smtp max-message-size "100M"
smtp limit max-mails 1000000
# As many connections as the scenario says.
mta limit max-conn-per-host {connections}
mta limit max-conn-per-route {connections}
mta limit max-conn-per-relay {connections}
mta limit max-conn-per-domain {connections}
mta limit max-conn-per-source 1000
mta limit max-conn-per-connector 1000
# No pauses between connections.
mta limit conn-delay-host 0
mta limit conn-delay-route 0
mta limit conn-delay-relay 0
mta limit conn-delay-domain 0
mta limit reconn-delay-route 0
# Messages on a connection: as many as wait, or one.
mta limit session-mail-max {messages}
# A relay keeps its messages at hand instead of giving them back to the scheduler.
mta limit task-hiwat {inflight}
mta limit task-lowat {inflight}
action "out" relay helo "sender.test"{tls}
match from any for any action "out"
"""


class OpenSmtpd(peer.Peer):
    title, root_name, queue_inside = "OpenSMTPD", "opensmtpd", "/var/spool/smtpd"

    def takes_part(self, scenario):
        return self.cache and super().takes_part(scenario)

    def _command(self, job, listen):
        (self.root / "etc/smtpd.conf").write_text(CONFIG.format(
            listen=listen, inflight=2 * job.num + 1000, connections=job.connections,
            messages=1 if job.per_connection else 1000000, tls=" tls no-verify" if job.tls else ""))
        # It reads the file of authorities anew for each TLS connection. One certificate, as a smart operator
        # would have it, makes that cheap; Debian's 140 would be most of what a connection costs.
        authorities = self.root / "etc/ssl/certs/ca-certificates.crt"
        text = authorities.read_text()
        end = "-----END CERTIFICATE-----\n"
        authorities.write_text(text[:text.index(end) + len(end)])
        # In the foreground, which logs to standard error what syslogd would write.
        return self.in_root("smtpd", "-d")

    def intake_command(self, job):
        return [*self._command(job, "listen on {} port {}".format(*peer.INTAKE)), "-P", "mta"]

    def sending_command(self, job):
        return self._command(job, "listen on socket")

    def lay_out(self, queue):
        queue.chmod(0o711)
        # Its resolver looks up addresses of a family only when some interface has one that is not 127.0.0.1.
        subprocess.run(["ip", "address", "replace", "192.0.2.1/32", "dev", "lo"], check=True)

    def waiting(self, queue):
        return peer.count_files(queue / "queue")
