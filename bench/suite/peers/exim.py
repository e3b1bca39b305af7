"""Exim. Each message is delivered by a process of its own, so bulk mail depends on how seldom a connection is made:
a two-stage queue run (-qq) routes all first and notes in a database which messages wait for which host; the
second stage then hands an open connection from process to process. Several runners work on the queue at once,
each in an order of its own, but no more than there are connections: they would only find messages locked.

Debian's 4.96 (exim4-daemon-light, GnuTLS); what is not named here is the default.
"""
from . import peer

CONFIG = """primary_hostname = sender.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
disable_ipv6 = true
dns_ipv4_lookup = *
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
log_file_path = /var/log/exim4/%slog
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept_all
message_size_limit = 100M
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
recipients_max = 0
# No TLS for what comes in: otherwise each process, also one that only sends, makes itself a certificate.
tls_advertise_hosts =
keep_environment =
# Delivery is left to queue runners.
queue_only
queue_run_max = 0
# 62 folders instead of one.
split_spool_directory = true
# No second log file for each message: an inode made and removed for nothing.
message_logs = false
remote_max_parallel = {connections}
delay_warning =

begin acl
accept_all:
  accept

begin routers
all:
  driver = dnslookup
  transport = out
  # None of our records is signed.
  dnssec_request_domains = :

begin transports
out:
  driver = smtp
  # Messages on a connection: as many as wait, or one.
  connection_max_messages = {messages}
  hosts_require_tls = {tls}
  hosts_avoid_tls = {plain}
  hosts_try_dane = :
  dnssec_request_domains = :
  # Resumption is off by default.
  tls_resumption_hosts = {resumption}
  tls_try_verify_hosts = :
  # The default is the system's file of authorities, which every process reads when it starts.
  tls_verify_certificates =
  # Our receivers are on loopback addresses.
  allow_localhost = true

begin retry
* * F,1h,1s
"""

RUNNERS_MAX = 4


class Exim(peer.Peer):
    title, root_name, queue_inside = "Exim", "exim", "/var/spool/exim4"

    def _configure(self, job):
        text = CONFIG.format(port=peer.INTAKE[1], connections=job.connections, messages=1 if job.per_connection else 0,
                             tls="*" if job.tls else ":", plain=":" if job.tls else "*",
                             resumption="*" if job.tls and self.cache else ":")
        (self.root / "etc/exim4/exim4.conf").write_text(text)  # read before what Debian generates

    def intake_command(self, job):
        self._configure(job)
        return self.in_root("exim4", "-bdf")

    def sending_command(self, job):
        self._configure(job)
        self.forget_hints(job)
        return self._runners(job)

    def _runners(self, job):
        one = f"exim4 {'-q' if job.per_connection else '-qq'} &"
        return self.in_root("sh", "-c", one * min(RUNNERS_MAX, job.hosts * job.connections) + " wait")

    def forget_hints(self, job):
        """What it remembers of hosts and TLS sessions: each measurement begins with nothing."""
        peer.empty(self.queue(job) / "db")

    def waiting(self, queue):
        return peer.count_files(queue / "input")

    def on_all_ended(self, job, group):
        group.start(self._runners(job))
