/* `sluice probe`: arguments and exit code. What is tried is probe.c's. */
#include "base/bytes.h"
#include "queue/address.h"
#include "router/cli.h"
#include "router/probe.h"
#include "router/smtp_reply.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum {
    EXIT_ENCRYPTED = 10,
    EXIT_PLAINTEXT = 11,
    PATIENCE_S = 30,
    PATIENCE_MAX_S = 3600,
    OUTPUT_MAX = 4 * 1024 * 1024
};

static const int exit_codes[] = {
    [PROBE_AUTHENTICATED] = EX_OK,      [PROBE_ENCRYPTED] = EXIT_ENCRYPTED,
    [PROBE_PLAINTEXT] = EXIT_PLAINTEXT, [PROBE_REFUSED] = EX_TEMPFAIL,
    [PROBE_BOUNCED] = EX_UNAVAILABLE,
};

static void print_line(void *ctx, char direction, struct bytes line)
{
    (void)ctx;
    char text[1024];
    size_t len = 0;
    (void)smtp_text_append(text, sizeof text, &len, line);
    fprintf(stderr, "%c %s\n", direction, text);
}

static int probe(const struct probe_options *options, bool json)
{
    char why[CONFIG_WHY_MAX];
    enum probe_fate fate;
    json_t *finding = probe_run(options, &fate, why);
    if (!finding) {
        fprintf(stderr, "sluice probe: %s\n", why);
        return EX_CONFIG;
    }
    if (json) {
        cli_print_json(finding);
    } else {
        struct buffer out;
        buffer_init(&out, OUTPUT_MAX);
        probe_print(finding, &out);
        fwrite(out.at, 1, out.len, stdout);
        buffer_fini(&out);
    }
    json_decref(finding);
    return fflush(stdout) == 0 ? exit_codes[fate] : EX_IOERR;
}

/* "example.com" is a domain, "[mx.example.com]:465" a host, both together a host for that domain.
 */
static int probe_named(struct probe_options *options, char **names, int num_names, bool json)
{
    const char *name = names[0], *why = NULL;
    struct next_hop host;
    bool has_host = num_names == 2 || name[0] == '[';
    if (has_host && !next_hop_parse(names[num_names - 1], &host, &why)) {
        fprintf(stderr, "sluice probe: %s: %s\n", names[num_names - 1], why);
        return EX_USAGE;
    }
    char *domain =
        has_host && num_names == 1 ? strdup(host.host) : address_domain_to_ascii(bytes_of(name));
    int code = EX_USAGE;
    if (domain) {
        options->domain = domain;
        options->host = has_host ? &host : NULL;
        code = probe(options, json);
    } else {
        fprintf(stderr, "sluice probe: %s is no domain\n", name);
    }
    free(domain);
    if (has_host)
        next_hop_fini(&host);
    return code;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: sluice probe [-c FILE] [--json] [--all] [--transcript] [--timeout SECONDS] "
            "DOMAIN [HOST]\nSECONDS: at most %d\n",
            PATIENCE_MAX_S);
    return EX_USAGE;
}

int cli_probe(int argc, char **argv)
{
    enum { OPTION_ALL = CLI_OPTION_OWN, OPTION_TRANSCRIPT, OPTION_TIMEOUT };
    static const struct option known[] = {
        CLI_CONFIG,
        CLI_JSON,
        {"all", no_argument, NULL, OPTION_ALL},
        {"transcript", no_argument, NULL, OPTION_TRANSCRIPT},
        {"timeout", required_argument, NULL, OPTION_TIMEOUT},
        {NULL, 0, NULL, 0},
    };
    struct probe_options options = {.every_address = false};
    struct cli_options shared = {.json = false};
    uint64_t patience_s = PATIENCE_S;
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        if (cli_take_option(&shared, c))
            continue;
        if (c == OPTION_ALL)
            options.every_address = true;
        else if (c == OPTION_TRANSCRIPT)
            options.on_line = print_line;
        else if (c != OPTION_TIMEOUT ||
                 !bytes_to_u64(bytes_of(optarg), PATIENCE_MAX_S, &patience_s))
            return usage();
    }
    if (argc - optind < 1 || argc - optind > 2)
        return usage();
    struct config *config = cli_load_config(shared.config, NULL);
    if (!config)
        return EX_CONFIG;
    options.config = config;
    options.patience_ms = (int64_t)patience_s * 1000;
    int code = probe_named(&options, argv + optind, argc - optind, shared.json);
    config_free(config);
    return code;
}
