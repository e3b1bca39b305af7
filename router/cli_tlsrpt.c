/* `sluice tlsrpt`: the reports that are due to the owners of recipient domains, by RFC 8460.
 * It prints what the router has kept of a day; it sends nothing. */
#include "base/clock.h"
#include "queue/address.h"
#include "router/cli.h"
#include "router/tls_reporter.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static bool is_day(const char *text)
{
    return tls_report_begins_with_day(text) && text[TLS_REPORT_DAY_LEN] == '\0';
}

static int print(const struct config *config, const char *day, const char *domain)
{
    char why[TLS_REPORTER_WHY_MAX];
    struct tls_report *report = tls_reporter_read(config->spool, day, why);
    if (!report) {
        fprintf(stderr, "sluice tlsrpt: %s\n", *why ? why : "nothing was counted on that day");
        return *why ? EX_IOERR : EX_UNAVAILABLE;
    }
    struct tls_report_sender sender = {.organization = *config->tls.report_organization
                                                           ? config->tls.report_organization
                                                           : config->hostname,
                                       .contact = config->tls.report_contact,
                                       .hostname = config->hostname};
    json_t *reports = tls_report_make(report, &sender, domain), *one;
    size_t i;
    json_array_foreach(reports, i, one) cli_print_json(one);
    int code = json_array_size(reports) ? EX_OK : EX_UNAVAILABLE;
    if (code != EX_OK)
        fprintf(stderr, "sluice tlsrpt: nothing was counted for that domain\n");
    json_decref(reports);
    tls_report_free(report);
    return fflush(stdout) == 0 ? code : EX_IOERR;
}

static int print_for(const struct config *config, const char *day, const char *name)
{
    char *domain = name ? address_domain_to_ascii(bytes_of(name)) : NULL;
    if (name && !domain) {
        fprintf(stderr, "sluice tlsrpt: %s is no domain\n", name);
        return EX_USAGE;
    }
    int code = print(config, day, domain);
    free(domain);
    return code;
}

int cli_tlsrpt(int argc, char **argv)
{
    enum { OPTION_DAY = CLI_OPTION_OWN };
    static const struct option known[] = {
        CLI_CONFIG,
        CLI_SPOOL,
        {"day", required_argument, NULL, OPTION_DAY},
        {NULL, 0, NULL, 0},
    };
    struct cli_options options = {.json = true};
    char day[TLS_REPORT_DAY_LEN + 1];
    tls_report_day(clock_wall_ms() / 1000, day);
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        if (cli_take_option(&options, c))
            continue;
        if (c != OPTION_DAY || !is_day(optarg)) {
            fprintf(stderr, "usage: sluice tlsrpt [-c FILE] [--spool DIR] [--day YYYY-MM-DD] "
                            "[DOMAIN]\n");
            return EX_USAGE;
        }
        memcpy(day, optarg, sizeof day);
    }
    const char *name = optind < argc ? argv[optind++] : NULL;
    if (!cli_no_more_arguments("sluice tlsrpt", argc, argv))
        return EX_USAGE;
    struct config *config = cli_load_config(options.config, options.spool);
    if (!config)
        return EX_CONFIG;
    int code = print_for(config, day, name);
    config_free(config);
    return code;
}
