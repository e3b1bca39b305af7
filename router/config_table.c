/* The rows. Order here is the order of `sluice check` and of docs/configuration.md.
 * It holds no code but the table: config_option.c stores and prints by it. */
#include "router/config_table.h"

#define AT(member) offsetof(struct config, member), sizeof(((struct config *)0)->member)
#define OF(member)                                                                                 \
    offsetof(struct destination_settings, member),                                                 \
        sizeof(((struct destination_settings *)0)->member)
#define MS(seconds) ((int64_t)(seconds)*1000)
#define KIB(n) ((int64_t)(n) << 10)
#define MIB(n) ((int64_t)(n) << 20)
#define DAYS(n) (MS(86400) * (n))

enum { PATH_LEN_MAX = 4000 };

static const char *const durabilities[] = {"none", "group", "strict", NULL};
static const char *const in_doubts[] = {"retry", "hold", NULL};
static const char *const long_lines[] = {"fold", "send", "bounce", NULL};
/* By enum tls_level, and "wrapper" behind them: TLS_SETTING_WRAPPER. */
static const char *const levels[] = {"none", "may",       "encrypt", "verify", "sts",
                                     "dane", "dane-only", "wrapper", NULL};
static const char *const on_failures[] = {"defer", "plaintext-next", "plaintext-now", NULL};
static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3", NULL};
static const char *const scopes[] = {"address", "host", "site", NULL};
static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const char later_levels[] = "sts"; /* its policies are not looked up yet */
static const char later_any[] = "*";      /* any text but the default */

/* clang-format off */
const struct config_option config_options[] = {
    {"", "hostname", OPTION_TEXT, AT(hostname), 0, 255, "", NULL, NULL,
     "Our name in EHLO, Received and bounces. Empty: the system's fully qualified name."},
    {"", "spool", OPTION_TEXT, AT(spool), 1, PATH_LEN_MAX, "/var/spool/sluice", NULL, NULL,
     "The spool folder; see docs/spool.md for what lies in it."},
    {"", "workers", OPTION_NUMBER, AT(workers), 0, 1024, "0", NULL, NULL,
     "Threads that deliver. 0: one per core that the process may use."},

    {"pickup", "settle", OPTION_DURATION, AT(pickup.settle_ms), 0, MS(3600), "2s", NULL, NULL,
     "How long a file that a scan finds must have been still before it is taken."},
    {"pickup", "scan_interval", OPTION_DURATION, AT(pickup.scan_interval_ms), MS(1), DAYS(1), "60s", NULL, NULL,
     "How often new/ is scanned whatever inotify says."},
    {"pickup", "max_message_size", OPTION_SIZE, AT(pickup.max_message_size), KIB(1), INT64_C(1) << 40, "100M", NULL, NULL,
     "Larger files go to bad/."},
    {"pickup", "max_header_size", OPTION_SIZE, AT(pickup.max_header_size), KIB(4), MIB(64), "1M", NULL, NULL,
     "Files whose header section is larger go to bad/."},
    {"pickup", "max_recipients", OPTION_NUMBER, AT(pickup.max_recipients), 1, 1000000, "10000", NULL, NULL,
     "Files that name more recipients go to bad/."},

    {"queue", "durability", OPTION_CHOICE, AT(queue.durability), 0, 0, "group", durabilities, NULL,
     "group: outcomes survive a power cut within commit_interval. strict: that a message is about to be sent survives one, before it is. none: nothing does, only the end of the process, for benchmarks. docs/journal.md says what may be lost."},
    {"queue", "commit_interval", OPTION_DURATION, AT(queue.commit_interval_ms), 1, MS(10), "10ms", NULL, NULL,
     "How long outcomes are gathered before they are made durable together; strict does not wait."},
    {"queue", "commit_lag", OPTION_DURATION, AT(queue.commit_lag_ms), MS(0) + 10, MS(60), "1s", NULL, NULL,
     "group: when outcomes could not be made durable for longer, each delivery waits for a commit until they are."},
    {"queue", "active_messages", OPTION_NUMBER, AT(queue.active_messages), 1, 10000000, "20000", NULL, NULL,
     "Messages loaded at once; the rest waits as bare index entries."},
    {"queue", "content_memory", OPTION_SIZE, AT(queue.content_memory), MIB(1), INT64_C(1) << 40, "256M", NULL, NULL,
     "Octets of content held in memory at once."},
    {"queue", "content_inline_max", OPTION_SIZE, AT(queue.content_inline_max), 0, MIB(64), "256K", NULL, NULL,
     "Larger files are streamed from the disk when a connection is ready."},
    {"queue", "site_share", OPTION_NUMBER, AT(queue.site_share), 1, 10000000, "10000", NULL, NULL,
     "Deliveries of one site in memory at once, so that no site fills the window."},
    {"queue", "in_doubt", OPTION_CHOICE, AT(queue.hold_in_doubt), 0, 0, "retry", in_doubts, NULL,
     "What becomes of a recipient whose connection died after the final dot, or whose attempt a crash cut short. retry: it is tried again, and may get the message twice. hold: it is not, and when nothing else of the message is left to try, the file goes to hold/ until an operator decides."},
    {"queue", "shutdown_grace", OPTION_DURATION, AT(queue.shutdown_grace_ms), 0, MS(3600), "30s", NULL, NULL,
     "How long SIGTERM lets transactions in flight go on."},
    {"queue", "dsn_original_max", OPTION_SIZE, AT(queue.dsn_original_max), 0, MIB(1), "64K", NULL, NULL,
     "Octets of the original that a report to its sender carries: all of it with X-Sluice-Ret: FULL, its header section else, of which at most 64K."},

    {"content", "long_lines", OPTION_CHOICE, AT(queue.long_lines), 0, 0, "fold", long_lines, NULL,
     "What becomes of lines over 998 octets."},

    {"dns", "servers", OPTION_SERVERS, AT(dns.servers), 0, 16, "", NULL, NULL,
     "A list of addresses, each with an optional port: {\"127.0.0.1:53\", \"[::1]:53\"}. Empty: those of resolv.conf."},
    {"dns", "allow_local", OPTION_TRUTH, AT(dns.allow_local), 0, 0, "false", NULL, NULL,
     "Whether mail hosts may have loopback, link-local or our own addresses."},
    {"dns", "trust_ad", OPTION_TRUTH, AT(dns.trust_ad), 0, 0, "false", NULL, NULL,
     "Whether the AD bit counts from servers that are not loopback."},
    {"dns", "ipv4", OPTION_TRUTH, AT(dns.ipv4), 0, 0, "true", NULL, NULL, "Whether IPv4 addresses are used."},
    {"dns", "ipv6", OPTION_TRUTH, AT(dns.ipv6), 0, 0, "true", NULL, NULL, "Whether IPv6 addresses are used."},
    {"dns", "min_ttl", OPTION_DURATION, AT(dns.min_ttl_ms), 0, DAYS(7), "5s", NULL, NULL,
     "Answers live at least that long."},
    {"dns", "max_ttl", OPTION_DURATION, AT(dns.max_ttl_ms), MS(1), DAYS(30), "1d", NULL, NULL,
     "Answers live at most that long."},
    {"dns", "max_negative_ttl", OPTION_DURATION, AT(dns.max_negative_ttl_ms), 0, DAYS(7), "1h", NULL, NULL,
     "Answers that say that there is nothing live at most that long."},
    {"dns", "stale", OPTION_DURATION, AT(dns.stale_ms), 0, DAYS(30), "1d", NULL, NULL,
     "How long an expired answer is still used while the servers fail."},
    {"dns", "timeout", OPTION_DURATION, AT(dns.timeout_ms), 10, MS(60), "5s", NULL, NULL, "Of one try of one server."},
    {"dns", "tries", OPTION_NUMBER, AT(dns.tries), 1, 10, "3", NULL, NULL, "Tries per server."},
    {"dns", "max_in_flight", OPTION_NUMBER, AT(dns.max_in_flight), 1, 10000, "100", NULL, NULL,
     "Queries on their way at once; the rest waits here."},
    {"dns", "cache_entries", OPTION_NUMBER, AT(dns.cache_entries), 16, 10000000, "100000", NULL, NULL, "Answers kept."},

    {"smtp", "port", OPTION_NUMBER, AT(smtp.port), 1, 65535, "25", NULL, NULL, "Where mail hosts are spoken to."},
    {"smtp", "max_mx", OPTION_NUMBER, AT(smtp.max_mx), 1, ROUTE_HOSTS_MAX, "16", NULL, NULL,
     "Hosts of a domain that are tried within one attempt."},
    {"smtp", "connect_timeout", OPTION_DURATION, AT(smtp.connect_timeout_ms), 10, MS(3600), "30s", NULL, NULL, "For one address."},
    {"smtp", "banner_timeout", OPTION_DURATION, AT(smtp.banner_timeout_ms), 10, MS(3600), "60s", NULL, NULL, "For the 220 greeting."},
    {"smtp", "ehlo_timeout", OPTION_DURATION, AT(smtp.ehlo_timeout_ms), 10, MS(3600), "60s", NULL, NULL, "For the reply to EHLO or HELO."},
    {"smtp", "starttls_timeout", OPTION_DURATION, AT(smtp.starttls_timeout_ms), 10, MS(3600), "30s", NULL, NULL, "For the reply to STARTTLS and for the handshake, each."},
    {"smtp", "mail_timeout", OPTION_DURATION, AT(smtp.mail_timeout_ms), 10, MS(3600), "300s", NULL, NULL, "For the reply to MAIL."},
    {"smtp", "rcpt_timeout", OPTION_DURATION, AT(smtp.rcpt_timeout_ms), 10, MS(3600), "300s", NULL, NULL, "For the reply to RCPT."},
    {"smtp", "data_timeout", OPTION_DURATION, AT(smtp.data_timeout_ms), 10, MS(3600), "120s", NULL, NULL, "For the 354 to DATA."},
    {"smtp", "content_timeout", OPTION_DURATION, AT(smtp.content_timeout_ms), 10, MS(3600), "180s", NULL, NULL, "Between two parts of content that the peer takes."},
    {"smtp", "final_timeout", OPTION_DURATION, AT(smtp.final_timeout_ms), 10, MS(7200), "600s", NULL, NULL, "For the reply to the final dot. A short one makes duplicates (RFC 5321 4.5.3.2.6)."},
    {"smtp", "content_min_rate", OPTION_SIZE, AT(smtp.content_min_rate), 0, MIB(1024), "500", NULL, NULL,
     "Octets a second that the peer must take on average; 0: no limit."},
    {"smtp", "one_flight_max", OPTION_SIZE, AT(smtp.one_flight_max), 0, MIB(1), "64K", NULL, NULL,
     "Content up to this size leaves in one flight with MAIL and RCPT, where the host offers CHUNKING; 0: never."},
    {"smtp", "race_delay", OPTION_DURATION, AT(smtp.race_delay_ms), 10, MS(60), "250ms", NULL, NULL,
     "How long an address is waited for before the next one is tried beside it (RFC 8305)."},

    {"tls", "level", OPTION_CHOICE, AT(tls.all.level), 0, 0, "may", levels, later_levels,
     "none: never TLS. may: TLS where the host offers it, else plaintext; more where DANE says so. encrypt: TLS or nothing. verify: and a certificate of a trusted CA for the host. dane, dane-only: see docs/tls.md. wrapper: as encrypt, from the first octet (port 465)."},
    {"tls", "wrapper", OPTION_TRUTH, AT(tls.all.wrapper), 0, 0, "false", NULL, NULL,
     "Whether TLS begins with the first octet, without STARTTLS (port 465, RFC 8314); with any level."},
    {"tls", "match", OPTION_NAMES, AT(tls.all.match), 0, 2000, "", NULL, NULL,
     "What a certificate has to be for under verify: names with blanks between them, one of which is enough. Empty: the host's name."},
    {"tls", "on_failure", OPTION_CHOICE, AT(tls.all.on_failure), 0, 0, "plaintext-next", on_failures, NULL,
     "What a failed handshake leads to where TLS is not required. defer: another host or a later attempt. plaintext-next: plaintext in a later attempt, when the host has been failing for retry.minimum. plaintext-now: plaintext at once."},
    {"tls", "ca_file", OPTION_TEXT, AT(tls.all.ca_file), 0, PATH_LEN_MAX, "", NULL, NULL,
     "Trust anchors in PEM beside the system's: a private CA."},
    {"tls", "system_ca_file", OPTION_TEXT, AT(tls.all.system_ca_file), 0, PATH_LEN_MAX, "", NULL, NULL,
     "The system's trust anchors in PEM. Empty: where the system keeps them; none: they are not trusted."},
    {"tls", "cert_file", OPTION_TEXT, AT(tls.all.cert_file), 0, PATH_LEN_MAX, "", NULL, NULL,
     "Our client certificate and the chain above it, in PEM. Empty: none."},
    {"tls", "key_file", OPTION_TEXT, AT(tls.all.key_file), 0, PATH_LEN_MAX, "", NULL, NULL,
     "Its private key, which others than owner and group may not read. Empty: in cert_file."},
    {"tls", "minimum_version", OPTION_CHOICE, AT(tls.all.minimum_version), 0, 0, "1.2", versions, NULL,
     "The least version of TLS."},
    {"tls", "maximum_version", OPTION_CHOICE, AT(tls.all.maximum_version), 0, 0, "1.3", versions, NULL,
     "The most recent version of TLS."},
    {"tls", "ciphers", OPTION_TEXT, AT(tls.all.ciphers), 0, 1000, "", NULL, NULL,
     "Cipher suites up to TLS 1.2, in BoringSSL's syntax. Empty: its default. Those of TLS 1.3 are fixed."},
    {"tls", "groups", OPTION_TEXT, AT(tls.all.groups), 0, 200, "", NULL, NULL,
     "Key exchange groups. Empty: X25519:P-256."},
    {"tls", "broken_lifetime", OPTION_DURATION, AT(tls.broken_lifetime_ms), MS(1), DAYS(30), "1d", NULL, NULL,
     "How long a host whose TLS failed is remembered for on_failure."},

    {"tls.session_cache", "entries", OPTION_NUMBER, AT(tls.cache.entries), 0, 100000000, "65536", NULL, NULL,
     "Destinations whose TLS sessions are kept; 0 switches the cache off."},
    {"tls.session_cache", "timeout", OPTION_DURATION, AT(tls.cache.timeout_ms), MS(1), DAYS(7), "1h", NULL, NULL,
     "How long a TLS session is offered again; its own lifetime may be shorter."},
    {"tls.session_cache", "tickets_per_destination", OPTION_NUMBER, AT(tls.cache.tickets_per_destination), 1, SESSION_TICKETS_MAX, "4", NULL, NULL,
     "TLS sessions kept per destination: as many as connections that begin at the same time."},
    {"tls.session_cache", "stripes", OPTION_NUMBER, AT(tls.cache.stripes), 1, 1024, "16", NULL, NULL,
     "Parts of the cache, each with a lock of its own; a power of two."},
    {"tls.session_cache", "scope", OPTION_CHOICE, AT(tls.scope), 0, 0, "address", scopes, NULL,
     "What a destination is: address (IP and port), host (MX host) or site (all hosts of a site, then without SNI)."},
    {"tls.session_cache", "file", OPTION_TEXT, AT(tls.cache_file), 0, PATH_LEN_MAX, "", NULL, later_any,
     "Where the cache is kept between runs. Not available yet: only empty, which is nowhere."},

    {"retry", "minimum", OPTION_DURATION, AT(retry.minimum_ms), 100, DAYS(7), "5m", NULL, NULL,
     "The wait after the first failed attempt; it doubles with each. Also how long a host whose TLS fails is not spoken to in plaintext under tls.level may."},
    {"retry", "maximum", OPTION_DURATION, AT(retry.maximum_ms), 100, DAYS(7), "4000s", NULL, NULL, "Doubling stops here."},
    {"retry", "lifetime", OPTION_DURATION, AT(retry.lifetime_ms), MS(1), DAYS(60), "5d", NULL, NULL,
     "From arrival to the bounce."},
    {"retry", "null_lifetime", OPTION_DURATION, AT(retry.null_lifetime_ms), MS(1), DAYS(60), "1d", NULL, NULL,
     "The same for messages with a null sender, which are bounces themselves."},
    {"retry", "jitter_percent", OPTION_NUMBER, AT(retry.jitter_percent), 0, 50, "10", NULL, NULL,
     "Each wait is made longer or shorter by up to that part, at random."},
    {"retry", "warn_after", OPTION_DURATION, AT(retry.warn_after_ms), 0, DAYS(60), "0s", NULL, NULL,
     "Once a message is that old, the sender is told that it is late and still tried, once. 0s: never."},

    {"log", "file", OPTION_TEXT, AT(log.file), 0, PATH_LEN_MAX, "", NULL, NULL,
     "The delivery log, one JSON object a line (docs/log.md). Empty: none; - is standard output."},
    {"log", "transcript", OPTION_TRUTH, AT(log.transcript), 0, 0, "false", NULL, NULL,
     "Whether the protocol of every session is written down."},
    {"log", "transcript_file", OPTION_TEXT, AT(log.transcript_file), 0, PATH_LEN_MAX, "", NULL, NULL,
     "Where transcripts go. Empty: log.file with .transcript added, or transcript.log in the spool when log.file names no file."},
    {"log", "level", OPTION_CHOICE, AT(log.level), 0, 0, "info", log_levels, NULL,
     "The least important notes that go to standard error."},

    {"destination", "next_hop", OPTION_NEXT_HOP, OF(next_hop), 0, 300, "", NULL, NULL,
     "Where to send instead of the MX hosts: relay.example.com (its MX hosts), [relay.example.com] (its addresses), [192.0.2.1]:2525, lmtp:[127.0.0.1]:24. Empty: by MX."},
    {"destination", "port", OPTION_NUMBER, OF(port), 1, 65535, NULL, NULL, NULL,
     "Where hosts are spoken to that next_hop gives no port for; smtp.port unless set."},
    {"destination", "connections", OPTION_NUMBER, OF(connections), 1, 10000, "20", NULL, NULL,
     "Connections to a site at once, at most."},
    {"destination", "connections_initial", OPTION_NUMBER, OF(connections_initial), 1, 10000, "5", NULL, NULL,
     "Where that number starts; success lets it grow, failure halves it. Never above connections."},
    {"destination", "max_deliveries", OPTION_NUMBER, OF(max_deliveries), 1, 1000000, "100", NULL, NULL,
     "Messages on one connection."},
    {"destination", "max_recipients", OPTION_NUMBER, OF(max_recipients), 1, 10000, "100", NULL, NULL,
     "Recipients in one transaction (RFC 5321 4.5.3.1.8: every host takes 100)."},
    {"destination", "idle", OPTION_DURATION, OF(idle_ms), 0, MS(3600), "5s", NULL, NULL,
     "How long a connection waits for more mail."},
    {"destination", "connection_lifetime", OPTION_DURATION, OF(connection_lifetime_ms), MS(1), DAYS(1), "300s", NULL, NULL,
     "How long a connection is used."},
    {"destination", "transcript", OPTION_TRUTH, OF(transcript), 0, 0, NULL, NULL, NULL,
     "Whether its sessions are written down; log.transcript unless set."},

    {"destination.tls", "level", OPTION_CHOICE, OF(tls.level), 0, 0, NULL, levels, later_levels,
     "As tls.level, which holds unless this is set."},
    {"destination.tls", "wrapper", OPTION_TRUTH, OF(tls.wrapper), 0, 0, NULL, NULL, NULL,
     "As tls.wrapper, which holds unless this is set."},
    {"destination.tls", "match", OPTION_NAMES, OF(tls.match), 0, 2000, NULL, NULL, NULL,
     "As tls.match, which holds unless this is set."},
    {"destination.tls", "on_failure", OPTION_CHOICE, OF(tls.on_failure), 0, 0, NULL, on_failures, NULL,
     "As tls.on_failure, which holds unless this is set."},
    {"destination.tls", "ca_file", OPTION_TEXT, OF(tls.ca_file), 0, PATH_LEN_MAX, NULL, NULL, NULL,
     "As tls.ca_file, which holds unless this is set."},
    {"destination.tls", "system_ca_file", OPTION_TEXT, OF(tls.system_ca_file), 0, PATH_LEN_MAX, NULL, NULL, NULL,
     "As tls.system_ca_file, which holds unless this is set."},
    {"destination.tls", "cert_file", OPTION_TEXT, OF(tls.cert_file), 0, PATH_LEN_MAX, NULL, NULL, NULL,
     "As tls.cert_file, which holds unless this is set."},
    {"destination.tls", "key_file", OPTION_TEXT, OF(tls.key_file), 0, PATH_LEN_MAX, NULL, NULL, NULL,
     "As tls.key_file, which holds unless this is set."},
    {"destination.tls", "minimum_version", OPTION_CHOICE, OF(tls.minimum_version), 0, 0, NULL, versions, NULL,
     "As tls.minimum_version, which holds unless this is set."},
    {"destination.tls", "maximum_version", OPTION_CHOICE, OF(tls.maximum_version), 0, 0, NULL, versions, NULL,
     "As tls.maximum_version, which holds unless this is set."},
    {"destination.tls", "ciphers", OPTION_TEXT, OF(tls.ciphers), 0, 1000, NULL, NULL, NULL,
     "As tls.ciphers, which holds unless this is set."},
    {"destination.tls", "groups", OPTION_TEXT, OF(tls.groups), 0, 200, NULL, NULL, NULL,
     "As tls.groups, which holds unless this is set."},
};
/* clang-format on */

const size_t config_num_options = sizeof config_options / sizeof *config_options;
