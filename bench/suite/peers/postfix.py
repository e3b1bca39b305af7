"""Postfix. Its best at bulk mail is a matter of not doing things twice: connections and TLS sessions are
kept (smtp hands them to scache and tlsproxy between messages), processes live long, limits of the queue
manager do not bind.

Debian's 3.7 as the expert would set it up; what is not named here is as in its default configuration.
"""
from . import peer

MAIN = """compatibility_level = 3.6
myhostname = sender.test
mydestination =
inet_interfaces = all
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
local_header_rewrite_clients =
message_size_limit = 104857600
# Logging is on: postlogd writes what syslogd would.
maillog_file = /var/log/postfix.log
# Only MX and A records: no look-ups of AAAA, nothing from /etc/hosts.
smtp_host_lookup = dns
# The queue manager: all of the mail in the active queue, nothing is slowed down on its way in.
in_flow_delay = 0
qmgr_message_active_limit = {active}
qmgr_message_recipient_limit = {active}
# As many connections to a destination as the scenario says, from the beginning.
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
# Processes: enough for a connection to each host, and none ends to be replaced.
default_process_limit = {processes}
max_use = 1000000
max_idle = 300s
smtpd_client_connection_count_limit = 0
smtp_tls_security_level = {level}
{reuse}
{cache}
"""

# Connections are kept for the next message to the same host, whichever process sends it.
REUSE = """smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = static:all
smtp_connection_cache_time_limit = 60s
connection_cache_ttl_limit = 60s
smtp_connection_reuse_time_limit = 1h
smtp_connection_reuse_count_limit = 0
smtp_tls_connection_reuse = yes"""

EACH_ITS_OWN = """smtp_connection_cache_on_demand = no
smtp_tls_connection_reuse = no"""

# tlsmgr keeps the TLS sessions of all smtp processes.
TLS_CACHE = "smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache"

# name type private unpriv chroot wakeup maxproc command. The whole server is in a root already.
SERVICES = """cleanup unix n - n - 0 cleanup
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""
INTAKE = "{}:{} inet n - n - 20 smtpd\n".format(*peer.INTAKE)
SENDING = "qmgr unix n - n 300 1 qmgr\nsmtp unix - - n - - smtp\n"


class Postfix(peer.Peer):
    title, root_name, queue_inside = "Postfix", "postfix", "/var/spool/postfix"

    def _configure(self, job, services):
        etc = self.root / "etc/postfix"
        (etc / "main.cf").write_text(MAIN.format(
            active=max(20000, 2 * job.num), connections=job.connections,
            processes=max(100, job.hosts * job.connections + 20), level="encrypt" if job.tls else "none",
            reuse=EACH_ITS_OWN if job.per_connection else REUSE,
            cache=TLS_CACHE if job.tls and self.cache else ""))
        (etc / "master.cf").write_text(SERVICES + services)
        for database in (self.root / "var/lib/postfix").glob("smtp_scache*"):
            database.unlink()
        # The program behind `postfix start`, without the shell scripts in front of it.
        return self.in_root("/usr/lib/postfix/sbin/master", "-d")

    def intake_command(self, job):
        command = self._configure(job, INTAKE)
        self.run("postfix", "check")  # makes what is missing in a new queue; takes seconds, so only here
        return command

    def sending_command(self, job):
        return self._configure(job, SENDING)

    def waiting(self, queue):
        return sum(peer.count_files(queue / name) for name in ("incoming", "active", "deferred"))
