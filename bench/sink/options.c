/* The command line and its documentation.
 * A listener's own options are read in personality.c. */
#include "bench/sink/options.h"

#include "base/memory.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

enum { DEFAULT_TIMEOUT_S = 300, TIMEOUT_MAX_S = 24 * 3600 };

static const char help[] =
    "Usage: sluice-sink --listen ADDRESS:PORT[,option[=value]]... [more listeners and options]\n"
    "\n"
    "Receives mail over SMTP or LMTP, with or without TLS, and counts it. Each listener has a\n"
    "personality of its own. Ends on SIGTERM or SIGINT with its statistics; SIGUSR1 writes them\n"
    "at any time.\n"
    "\n"
    "  --listen SPEC      as below; may be given again and again\n"
    "  --threads N        event loops, each with its own sockets (default 1)\n"
    "  --port-file FILE   when all listen: a line \"name address:port\" for each, in order\n"
    "  --maildir DIR      keep each message as DIR/SEQUENCE\n"
    "  --stats FILE       JSON, replaced as a whole each time; \"-\" is standard output\n"
    "  --ledger FILE      append a line for each final dot and for each reply to one that was "
    "sent\n"
    "  --ledger-times     with the time of each reply, microseconds of the monotonic clock\n"
    "  --cert FILE, --key FILE\n"
    "                     PEM: certificate (and its chain behind it), private key. Without them\n"
    "                     a self-signed EC P-256 one for all listeners' names is made\n"
    "  --cert-out FILE    write the certificate in use, for clients that verify it\n"
    "  --timeout SECONDS  close connections that say nothing for so long (default 300)\n"
    "  --no-duplicates    do not look for duplicates\n"
    "  --help\n"
    "\n"
    "PORT 0 is any free one; \"same\" is the port of the first listener. IPv6: [::1]:2525.\n"
    "Listener options:\n"
    "  name=NAME          in banner, EHLO reply, certificate, statistics (mxN.sink.test)\n"
    "  tls=none|1.2|1.3|any   STARTTLS with these versions (any: 1.2 and 1.3)\n"
    "  wrapper            TLS from the first byte instead of STARTTLS\n"
    "  tickets=N          TLS 1.3 tickets per handshake (2); 0: none, in TLS 1.2 neither\n"
    "  ticket-reissue=no  no tickets on a resumed handshake\n"
    "  rotate=N           a new ticket key every N handshakes; older tickets are worthless then\n"
    "  ticket-lifetime=S  seconds\n"
    "  ticket-key=NAME    listeners of the same NAME take each other's tickets\n"
    "  lmtp               LHLO, a reply per recipient after the final dot (RFC 2033)\n"
    "  no-ehlo  no-pipelining  no-8bitmime  no-utf8  no-chunking  no-dsn\n"
    "                     do not offer it, and refuse its parameters\n"
    "  size=N             largest content, advertised by SIZE (52428800); 0: not advertised\n"
    "  reject=ADDRESS|@DOMAIN   550 to RCPT; may be given several times\n"
    "  defer=ADDRESS|@DOMAIN    451 to RCPT\n"
    "  defer-first=N      451 to the first N RCPT of each recipient address\n"
    "  limit=N            recipients per transaction; 452 to more\n"
    "  421-after=N        421 to MAIL after N messages in a connection, then close\n"
    "  close-after-dot=N  accept and count, but answer the first N final dots by closing\n"
    "  final=CODE         554 (5xx) or 451 (4xx) to every final dot\n"
    "  delay=MS           before each flight of replies\n"
    "  connections=N      at once; 421 instead of a banner to more\n"
    "  read-rate=N        read no more than N octets a second of a connection\n"
    "  fault=STAGE:ACTION[:CONDITION]...   as below; may be given several times\n"
    "  script=FILE        such faults, one a line with blanks instead of \":\"; # is a comment\n"
    "\n"
    "Faults. The first one of a listener that fits and is due happens, once what it disturbs has\n"
    "taken effect: with final:close a message is accepted and counted, and its 250 is lost.\n"
    "  STAGE      banner, ehlo, starttls, mail, rcpt, data, content (its first octets arrived),\n"
    "             final (the reply to the final dot)\n"
    "  ACTION     delay=MS       before the flight of replies that it is in\n"
    "             stall          say and read nothing any more; the connection stays\n"
    "             close, reset   instead of the reply; reset is a TCP one\n"
    "             split[=MS]     this flight octet by octet, MS (1) between them\n"
    "             garbage[=N]    N (64) octets above 0x7f and CRLF instead of the reply\n"
    "             reply=CODE     4xx or 5xx, and nothing takes effect; 421 also closes\n"
    "             inject         the reply and in the same flight \"250 2.0.0 Injected\": behind\n"
    "                            STARTTLS that is plaintext for the client to fall for\n"
    "  CONDITION  for=ADDRESS|@DOMAIN   the sender's (mail), the recipient's (rcpt), that of any\n"
    "                            accepted recipient (data, content, final)\n"
    "             times=N        only so often on this listener\n"
    "             after=N        not the first N times\n"
    "\n"
    "A kept message begins with X-Sink-Listener, X-Sink-Helo, X-Sink-Mail-From,\n"
    "X-Sink-Mail-Parameters (if any), X-Sink-Rcpt-To (one line each), X-Sink-Rcpt-Parameters\n"
    "(address and parameters, of those that had any), X-Sink-TLS (\"none\" or version, cipher\n"
    "and full|resumed) and X-Sink-Peer; the content follows at once.\n"
    "\n"
    "Ledger: \"dot NUMBER CODE ID RECIPIENT...\" when the final dot arrived and before the reply "
    "to\n"
    "it, CODE (0: close instead) leaves, \"reply NUMBER\" when the kernel took that reply. ID is "
    "the\n"
    "value of X-Bench-Id or else Message-ID.\n"
    "\n"
    "Statistics: {\"dump\": N, \"cpu_user_us\": ..., \"cpu_system_us\": ..., \"total\": "
    "{counters},\n"
    "\"listeners\": [{\"name\": ..., \"address\": ..., \"counters\": {...}}, ...]}. Counters:\n"
    "  connections, handshakes_full, handshakes_resumed, handshakes_failed, tickets_issued\n"
    "  plaintext_sessions    connections that gave a MAIL command in plaintext\n"
    "  messages              accepted ones, and of these messages_plaintext,\n"
    "                        messages_tls_full, messages_tls_resumed by their connection\n"
    "  recipients, octets    of accepted messages; octets as on the wire\n"
    "  duplicates            recipients that got a message again: same X-Bench-Id, or where\n"
    "                        there is none, same Message-ID\n"
    "  deferred, rejected    recipients, at RCPT or at the final dot\n"
    "  unanswered            final dots answered by closing; their messages are counted too\n"
    "  bad_commands, pipelining_violations\n"
    "  faults                that happened\n"
    "  turned_away           connections over the limit\n";

enum {
    OPT_LISTEN = 1,
    OPT_THREADS,
    OPT_PORT_FILE,
    OPT_MAILDIR,
    OPT_STATS,
    OPT_LEDGER,
    OPT_LEDGER_TIMES,
    OPT_CERT,
    OPT_KEY,
    OPT_CERT_OUT,
    OPT_TIMEOUT,
    OPT_NO_DUPLICATES,
    OPT_HELP
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"port-file", required_argument, NULL, OPT_PORT_FILE},
    {"maildir", required_argument, NULL, OPT_MAILDIR},
    {"stats", required_argument, NULL, OPT_STATS},
    {"ledger", required_argument, NULL, OPT_LEDGER},
    {"ledger-times", no_argument, NULL, OPT_LEDGER_TIMES},
    {"cert", required_argument, NULL, OPT_CERT},
    {"key", required_argument, NULL, OPT_KEY},
    {"cert-out", required_argument, NULL, OPT_CERT_OUT},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"no-duplicates", no_argument, NULL, OPT_NO_DUPLICATES},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "sluice-sink: %s\nTry sluice-sink --help.\n", what);
    exit(EX_USAGE);
}

static uint64_t number(const char *text, uint64_t max, const char *what)
{
    uint64_t value;
    if (!bytes_to_u64(bytes_of(text), max, &value) || value == 0)
        fail(what);
    return value;
}

static void add_listener(struct options *options, const char *spec)
{
    char why[PERSONALITY_WHY_MAX];
    if (options->num_personalities == OPTIONS_LISTENERS_MAX)
        fail("too many listeners");
    size_t at = options->num_personalities++;
    options->personalities = mem_realloc(options->personalities, options->num_personalities,
                                         sizeof *options->personalities);
    if (!personality_parse(&options->personalities[at], spec, (unsigned)at + 1, why))
        fail(why);
    if (at == 0 && options->personalities[0].same_port)
        fail("the first listener has no other's port to take");
}

static void apply(struct options *options, int option, const char *value)
{
    switch (option) {
    case OPT_LISTEN:
        add_listener(options, value);
        break;
    case OPT_THREADS:
        options->threads = (unsigned)number(value, OPTIONS_THREADS_MAX, "--threads: 1 to 64");
        break;
    case OPT_PORT_FILE:
        options->port_file = value;
        break;
    case OPT_MAILDIR:
        options->maildir = value;
        break;
    case OPT_STATS:
        options->stats_file = value;
        break;
    case OPT_LEDGER:
        options->ledger = value;
        break;
    case OPT_LEDGER_TIMES:
        options->ledger_times = true;
        break;
    case OPT_CERT:
        options->cert_file = value;
        break;
    case OPT_KEY:
        options->key_file = value;
        break;
    case OPT_CERT_OUT:
        options->cert_out = value;
        break;
    case OPT_TIMEOUT:
        options->timeout_ms =
            (int64_t)number(value, TIMEOUT_MAX_S, "--timeout: 1 to 86400 seconds") * 1000;
        break;
    case OPT_NO_DUPLICATES:
        options->find_duplicates = false;
        break;
    case OPT_HELP:
        fputs(help, stdout);
        exit(EX_OK);
    default:
        fail("unknown option or missing value");
    }
}

void options_parse(struct options *out, int argc, char **argv)
{
    *out = (struct options){
        .threads = 1, .timeout_ms = DEFAULT_TIMEOUT_S * 1000, .find_duplicates = true};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        apply(out, option, optarg);
    if (optind < argc)
        fail("unexpected argument");
    if (out->num_personalities == 0)
        fail("no --listen");
    if (!out->cert_file != !out->key_file)
        fail("--cert and --key go together");
}

void options_fini(struct options *options)
{
    for (size_t i = 0; i < options->num_personalities; i++)
        personality_fini(&options->personalities[i]);
    free(options->personalities);
    *options = (struct options){0};
}
