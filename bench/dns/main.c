/* sluice-dns: a small authoritative DNS responder for the demo, the tests and the bench.
 * It does not recurse, sign or transfer, and it is not meant to face a network. */
#include "base/memory.h"
#include "bench/dns/server.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

enum { DOMAINS_MAX = 100 * 1000 * 1000, HOSTS_MAX = 254 };

static const char help[] =
    "usage: sluice-dns [--listen ADDRESS:PORT] [--zone FILE] [--domains N] [options]\n"
    "\n"
    "  --listen ADDRESS:PORT  UDP and TCP; default 127.0.0.1:0, any free port\n"
    "  --zone FILE            what to answer; may be given more than once\n"
    "  --domains N            also answer for d0.test to d(N-1).test:\n"
    "                         dK.test MX 10 mx.dK.test, mx.dK.test A 127.0.1.(K mod HOSTS + 1)\n"
    "  --hosts HOSTS          default 250, at most 254\n"
    "  --ad                   set AD in every answer, as a validating resolver does\n"
    "  --negative-ttl S       of names and types that do not exist; default 60\n"
    "  --port-file FILE       write the port there when ready\n"
    "  --verbose              print a line NAME TYPE udp|tcp for each question\n"
    "\n"
    "When ready it prints \"listening on ADDRESS:PORT\". SIGTERM or SIGINT ends it.\n"
    "\n"
    "Zone lines, a final dot in names is optional, # or ; begins a comment:\n"
    "  NAME TYPE TTL DATA     A AAAA MX TXT CNAME TLSA SOA NS, data as in zone files\n"
    "  *.NAME TYPE TTL DATA   for names below NAME that do not exist (RFC 4592)\n"
    "  NAME SERVFAIL          also REFUSED, NXDOMAIN, FORMERR, NOTIMP: for every type\n"
    "  NAME DROP              no answer at all\n"
    "  NAME TRUNCATE          over UDP only TC, over TCP the answer\n"
    "  NAME DELAY MS          answer UDP questions that much later\n"
    "\n"
    "  example.test  MX   300 10 mx1.example.test\n"
    "  example.test  MX   300 20 mx2.example.test\n"
    "  nomail.test   MX   300 0 .\n"
    "  *.many.test   MX   60  10 mx1.example.test\n"
    "  mx1.example.test A 300 127.0.0.2\n"
    "  broken.test   SERVFAIL\n";

struct options {
    struct server_options server;
    struct zone_options zone;
    const char *port_file;
};

struct signals {
    struct loop_fd fd;
    struct loop *loop;
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "sluice-dns: %s: %s\n", what, why);
    return EX_USAGE;
}

static bool parse_listen(const char *text, struct server_options *out)
{
    struct bytes all = bytes_of(text);
    bool is_bracketed = all.len && all.at[0] == '[';
    size_t end = bytes_find(all, is_bracketed ? ']' : ':');
    struct bytes host = bytes_first(all, end);
    struct bytes port = bytes_from(all, is_bracketed ? end + 1 : end);
    uint64_t number;
    if (port.len < 2 || port.at[0] != ':' ||
        !bytes_to_u64(bytes_from(port, 1), UINT16_MAX, &number))
        return false;
    out->port = (uint16_t)number;
    return host_address_parse(is_bracketed ? bytes_from(host, 1) : host, &out->address);
}

static bool parse_number(const char *text, unsigned max, unsigned *out)
{
    uint64_t number;
    if (!bytes_to_u64(bytes_of(text), max, &number))
        return false;
    *out = (unsigned)number;
    return true;
}

static bool read_zone(struct zone *zone, const char *path)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    char why[ZONE_WHY_MAX];
    bool ok = file != NULL;
    if (!file)
        complain(path, strerror(errno));
    for (unsigned number = 1; ok && (len = getline(&line, &cap, file)) >= 0; number++) {
        ok = zone_add_line(zone, bytes_trim(bytes_make(line, (size_t)len)), why);
        if (!ok)
            fprintf(stderr, "sluice-dns: %s:%u: %s\n", path, number, why);
    }
    free(line);
    if (file)
        fclose(file);
    return ok;
}

/* By rename, so that whoever waits for the file never reads half a number. */
static bool write_port_file(const char *path, uint16_t port)
{
    char *temporary = mem_printf("%s.%ld.tmp", path, (long)getpid());
    FILE *file = fopen(temporary, "we");
    bool ok = file && fprintf(file, "%u\n", port) > 0;
    if (file && fclose(file) != 0)
        ok = false;
    ok = ok && rename(temporary, path) == 0;
    if (!ok)
        complain(path, strerror(errno));
    free(temporary);
    return ok;
}

static void on_signal(struct loop_fd *fd, unsigned events)
{
    (void)events;
    loop_stop(container_of(fd, struct signals, fd)->loop);
}

static bool watch_signals(struct loop *loop, struct signals *signals)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    *signals = (struct signals){.fd = {.fd = -1, .on_ready = on_signal}, .loop = loop};
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 && loop_watch(loop, &signals->fd, fd, LOOP_READ);
}

static int serve(const struct options *options, struct zone *zone)
{
    struct loop loop;
    struct signals signals;
    char address[46];
    if (!loop_init(&loop) || !watch_signals(&loop, &signals)) {
        complain("event loop", strerror(errno));
        return EX_OSERR;
    }
    struct server *server = server_new(&loop, &options->server, zone);
    if (!server) {
        complain("cannot listen", strerror(errno));
        return EX_OSERR;
    }
    host_address_format(&options->server.address, address);
    printf(options->server.address.family == 6 ? "listening on [%s]:%u\n" : "listening on %s:%u\n",
           address, server_port(server));
    fflush(stdout);
    bool ok = !options->port_file || write_port_file(options->port_file, server_port(server));
    if (ok)
        loop_run(&loop);
    printf("%llu questions\n", (unsigned long long)server_num_queries(server));
    server_free(server);
    close(signals.fd.fd);
    loop_fini(&loop);
    return ok ? EX_OK : EX_CANTCREAT;
}

enum option_name {
    OPTION_LISTEN = 1,
    OPTION_ZONE,
    OPTION_DOMAINS,
    OPTION_HOSTS,
    OPTION_AD,
    OPTION_NEGATIVE_TTL,
    OPTION_PORT_FILE,
    OPTION_VERBOSE,
    OPTION_HELP
};

static const struct option option_table[] = {
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"zone", required_argument, NULL, OPTION_ZONE},
    {"domains", required_argument, NULL, OPTION_DOMAINS},
    {"hosts", required_argument, NULL, OPTION_HOSTS},
    {"ad", no_argument, NULL, OPTION_AD},
    {"negative-ttl", required_argument, NULL, OPTION_NEGATIVE_TTL},
    {"port-file", required_argument, NULL, OPTION_PORT_FILE},
    {"verbose", no_argument, NULL, OPTION_VERBOSE},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0}};

/* false: the value is wrong. */
static bool apply(struct options *options, int name, const char *value)
{
    switch ((enum option_name)name) {
    case OPTION_LISTEN:
        return parse_listen(value, &options->server);
    case OPTION_DOMAINS:
        return parse_number(value, DOMAINS_MAX, &options->zone.domains);
    case OPTION_HOSTS:
        return parse_number(value, HOSTS_MAX, &options->zone.hosts) && options->zone.hosts > 0;
    case OPTION_NEGATIVE_TTL:
        return parse_number(value, 86400, &options->server.reply.negative_ttl_s);
    case OPTION_AD:
        return options->server.reply.sets_ad = true;
    case OPTION_VERBOSE:
        return options->server.is_verbose = true;
    case OPTION_PORT_FILE:
        options->port_file = value;
        return true;
    case OPTION_ZONE:
    case OPTION_HELP:
        break;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = {.server = {.address = {.family = 4, .octets = {127, 0, 0, 1}},
                                         .reply = {.negative_ttl_s = 60}},
                              .zone = {.hosts = 250}};
    int name;
    while ((name = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        if (name == OPTION_HELP) {
            fputs(help, stdout);
            return EX_OK;
        }
        if (name == '?')
            return EX_USAGE;
        if (!apply(&options, name, optarg))
            return complain(argv[optind - 1], "not a value for this option, see --help");
    }
    if (optind < argc)
        return complain(argv[optind], "not an option, see --help");
    struct zone *zone = zone_new(&options.zone);
    bool ok = true;
    /* Again, now that the pattern's options are known: the zone files. */
    optind = 0;
    while (ok && (name = getopt_long(argc, argv, "", option_table, NULL)) != -1)
        ok = name != OPTION_ZONE || read_zone(zone, optarg);
    int exit_code = ok ? serve(&options, zone) : EX_DATAERR;
    zone_free(zone);
    return exit_code;
}
