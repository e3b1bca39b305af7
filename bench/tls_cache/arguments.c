/* Options as rows of a table: name, what it is, where it goes, what it may be.
 * It runs nothing. */
#include "bench/tls_cache/arguments.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

enum { MANY = 1000 * 1000 * 1000 };

static const char help[] =
    "usage: sluice-tls-cache-model costs --connect ADDRESS:PORT --session FILE [--num N]\n"
    "       sluice-tls-cache-model run --session-1.3 FILE --session-1.2 FILE [options]\n"
    "\n"
    "costs: CPU of full and resumed handshakes with a receiver that offers STARTTLS, and a "
    "session\n"
    "of it into FILE. run: the router's TLS session cache with sessions like those, under a\n"
    "workload that is made up. Both answer in JSON. docs/tls-cache.md explains them, and\n"
    "`sluice-bench tls-cache` runs them.\n"
    "\n"
    "The workload:\n"
    "  --destinations N     (20000)\n"
    "  --zipf S             popularity of the Kth destination is 1/K^S (1.0); 0: all alike\n"
    "  --rate N             connections a second (50)\n"
    "  --burst N            of these begin at the same time at a destination (4)\n"
    "  --duration S         seconds (7200)\n"
    "  --mix KIND=SHARE,... of the destinations (several=1): several one once no-reissue\n"
    "                       short rotating shared unshared tls12 no-tickets\n"
    "  --tickets N          of a server that gives several (2)\n"
    "  --lifetime S         of a ticket (7200); --short-lifetime S (300)\n"
    "  --rotation S         a rotating server changes its key so often (3600)\n"
    "  --rotate-after N     ... or after N handshakes (0: not by them)\n"
    "  --hosts N            MX hosts of a shared or unshared destination (2)\n"
    "  --addresses N        of each (2)\n"
    "  --route-ttl S        how long mail keeps to the same of them (0: any for each connection)\n"
    "  --own-names          each address gives a name of its own in EHLO\n"
    "  --handshake-ms MS    from the look-up of a session to the new tickets (100)\n"
    "  --arrivals FILE      a line \"MS DESTINATION\" for each connection instead of a rate\n"
    "  --seed N             (1)\n"
    "The cache, as tls.session_cache in sluice.conf:\n"
    "  --entries N (65536)  --bytes N (0)  --stripes N (16)  --tickets-per-destination N (4)\n"
    "  --timeout S (3600)   --scope address|host|site\n";

enum type { UNSIGNED, SIZE, UINT64, DOUBLE, MS, SECONDS, TEXT, FLAG, MIX, SCOPE, ADDRESS };

struct row {
    const char *name;
    enum type type;
    size_t offset;
    double least, most;
};
#define AT(member) offsetof(struct arguments, member)

static const struct row rows[] = {
    {"connect", ADDRESS, AT(server), 0, 0},
    {"session", TEXT, AT(session), 0, 0},
    {"num", UNSIGNED, AT(num), 1, 1e6},
    {"session-1.3", TEXT, AT(session_1_3), 0, 0},
    {"session-1.2", TEXT, AT(session_1_2), 0, 0},
    {"destinations", SIZE, AT(workload.destinations), 1, MANY},
    {"zipf", DOUBLE, AT(workload.zipf), 0, 10},
    {"rate", DOUBLE, AT(workload.rate), 1e-6, MANY},
    {"burst", UNSIGNED, AT(workload.burst), 1, MANY},
    {"duration", SECONDS, AT(workload.duration_ms), 1, MANY},
    {"mix", MIX, AT(workload.mix), 0, 0},
    {"tickets", UNSIGNED, AT(workload.tickets), 1, 100},
    {"lifetime", UNSIGNED, AT(workload.lifetime_s), 1, MANY},
    {"short-lifetime", UNSIGNED, AT(workload.short_lifetime_s), 1, MANY},
    {"rotation", UNSIGNED, AT(workload.rotation_s), 0, MANY},
    {"rotate-after", UNSIGNED, AT(workload.rotate_after), 0, MANY},
    {"hosts", UNSIGNED, AT(workload.hosts), 1, 1000},
    {"addresses", UNSIGNED, AT(workload.addresses), 1, 1000},
    {"route-ttl", UNSIGNED, AT(workload.route_s), 0, MANY},
    {"own-names", FLAG, AT(workload.own_names), 0, 0},
    {"arrivals", TEXT, AT(workload.arrivals), 0, 0},
    {"seed", UINT64, AT(workload.seed), 0, MANY},
    {"handshake-ms", MS, AT(model.handshake_ms), 0, MANY},
    {"entries", SIZE, AT(model.cache.entries), 0, MANY},
    {"bytes", UINT64, AT(model.cache.bytes), 0, 1e15},
    {"stripes", UNSIGNED, AT(model.cache.stripes), 1, 1024},
    {"tickets-per-destination", UNSIGNED, AT(model.limits.tickets), 1, SESSION_TICKETS_MAX},
    {"timeout", SECONDS, AT(model.limits.timeout_ms), 1, MANY},
    {"scope", SCOPE, AT(model.scope), 0, 0},
};
enum { NUM_ROWS = sizeof rows / sizeof *rows, HELP = NUM_ROWS };

_Noreturn void arguments_fail(const char *why)
{
    fprintf(stderr, "sluice-tls-cache-model: %s\nTry --help.\n", why);
    exit(EX_USAGE);
}

static double number_of(const char *text, double least, double most)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= least && number <= most))
        arguments_fail(text);
    return number;
}

static void read_mix(char *text, double out[SERVER_KIND_NUM])
{
    memset(out, 0, SERVER_KIND_NUM * sizeof *out);
    for (char *save, *item = strtok_r(text, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(item, '=');
        unsigned kind = 0;
        if (equals)
            *equals = '\0';
        while (kind < SERVER_KIND_NUM && strcmp(server_behaviour_of(kind)->name, item) != 0)
            kind++;
        if (kind == SERVER_KIND_NUM)
            arguments_fail(item);
        out[kind] = equals ? number_of(equals + 1, 1e-6, 1e9) : 1;
    }
}

static enum session_scope scope_of(const char *text)
{
    if (strcmp(text, "host") == 0)
        return SESSION_SCOPE_HOST;
    if (strcmp(text, "site") == 0)
        return SESSION_SCOPE_SITE;
    if (strcmp(text, "address") != 0)
        arguments_fail(text);
    return SESSION_SCOPE_ADDRESS;
}

static void read_address(char *text, struct sockaddr_in *out)
{
    char *colon = strrchr(text, ':');
    *out = (struct sockaddr_in){.sin_family = AF_INET};
    if (!colon)
        arguments_fail(text);
    *colon = '\0';
    out->sin_port = htons((uint16_t)number_of(colon + 1, 1, 65535));
    if (inet_pton(AF_INET, text, &out->sin_addr) != 1)
        arguments_fail(text);
}

static void apply(struct arguments *out, const struct row *row, char *value)
{
    void *to = (uint8_t *)out + row->offset;
    switch (row->type) {
    case UNSIGNED:
        *(unsigned *)to = (unsigned)number_of(value, row->least, row->most);
        return;
    case SIZE:
        *(size_t *)to = (size_t)number_of(value, row->least, row->most);
        return;
    case UINT64:
        *(uint64_t *)to = (uint64_t)number_of(value, row->least, row->most);
        return;
    case DOUBLE:
        *(double *)to = number_of(value, row->least, row->most);
        return;
    case MS:
        *(int64_t *)to = (int64_t)number_of(value, row->least, row->most);
        return;
    case SECONDS:
        *(int64_t *)to = (int64_t)(number_of(value, row->least, row->most) * 1000);
        return;
    case TEXT:
        *(const char **)to = value;
        return;
    case FLAG:
        *(bool *)to = true;
        return;
    case MIX:
        read_mix(value, to);
        return;
    case SCOPE:
        *(enum session_scope *)to = scope_of(value);
        return;
    case ADDRESS:
        read_address(value, to);
        return;
    }
}

void arguments_parse(struct arguments *out, int argc, char **argv)
{
    struct option options[NUM_ROWS + 2] = {{0}};
    for (int i = 0; i < NUM_ROWS; i++)
        options[i] = (struct option){
            rows[i].name, rows[i].type == FLAG ? no_argument : required_argument, NULL, i};
    options[HELP] = (struct option){"help", no_argument, NULL, HELP};
    *out = (struct arguments){.num = 400,
                              .workload = {.destinations = 20000,
                                           .zipf = 1,
                                           .rate = 50,
                                           .burst = 4,
                                           .duration_ms = 7200 * 1000,
                                           .mix = {[SERVER_SEVERAL] = 1},
                                           .hosts = 2,
                                           .addresses = 2,
                                           .tickets = 2,
                                           .lifetime_s = 7200,
                                           .short_lifetime_s = 300,
                                           .rotation_s = 3600,
                                           .seed = 1},
                              .model = {.cache = {.entries = 65536},
                                        .handshake_ms = 100,
                                        .limits = {.tickets = 4, .timeout_ms = 3600 * 1000}}};
    for (int i; (i = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (i < 0 || i > HELP)
            arguments_fail("unknown option or missing value");
        if (i == HELP) {
            fputs(help, stdout);
            exit(EX_OK);
        }
        apply(out, &rows[i], optarg);
    }
    if (optind != argc - 1)
        arguments_fail("costs or run?");
    out->command = argv[optind];
    if (out->model.cache.stripes & (out->model.cache.stripes - 1))
        arguments_fail("--stripes: a power of two");
}
