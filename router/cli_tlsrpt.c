/* `sluice tlsrpt`: the reports that are due to the owners of recipient domains, by RFC 8460, and
 * what became of them. It prints what the router has kept of a day; it sends nothing. */
#include "base/clock.h"
#include "queue/address.h"
#include "router/cli.h"
#include "router/config_report.h"
#include "router/json_line.h"
#include "router/tls_report_plan.h"
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

/* The last step of each domain. */
static void note_step(void *ctx, const struct tls_report_step *step)
{
    json_object_set_new(
        ctx, step->domain,
        json_pack("{s:s, s:i, s:I, s:I, s:s, s:s}", "state", tls_report_state_name(step->state),
                  "attempts", (int)step->attempts, "at", (json_int_t)step->wall_ms, "next",
                  (json_int_t)step->next_wall_ms, "endpoint", step->endpoint, "why", step->why));
}

static void set_time(json_t *row, const char *key, int64_t wall_ms)
{
    char text[WALL_TIME_LEN + 1];
    wall_time_format(wall_ms * 1000, text);
    json_object_set_new(row, key, wall_ms ? json_string(text) : json_null());
}

static void print_status_row(const struct config *config, const char *day, const char *domain,
                             const json_t *step)
{
    const struct tls_report_plan plan = {.hostname = config->hostname,
                                         .delay_ms = config->tls.report.delay_ms};
    int64_t due_ms = config->tls.report.send ? tls_report_plan_due_ms(&plan, day, domain) : 0;
    json_t *row = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s}", "day", day, "domain", domain, "state",
                            tls_report_state_name(TLS_REPORT_WAITING), "attempts", 0, "endpoint",
                            "", "why", "");
    if (step)
        json_object_update(row, (json_t *)(uintptr_t)step);
    set_time(row, "at", json_integer_value(json_object_get(step, "at")));
    set_time(row, "next", step ? json_integer_value(json_object_get(step, "next")) : due_ms);
    cli_print_json(row);
    json_decref(row);
}

static int print_status(const struct config *config, const char *day, const json_t *reports)
{
    char why[TLS_REPORT_LEDGER_WHY_MAX];
    json_t *steps = json_object(), *report;
    size_t i;
    bool ok = tls_report_ledger_read(config->spool, day, note_step, steps, why);
    if (!ok)
        fprintf(stderr, "sluice tlsrpt: %s\n", why);
    for (i = 0; ok && (report = json_array_get(reports, i)); i++) {
        const char *domain = tls_report_domain(report);
        print_status_row(config, day, domain, json_object_get(steps, domain));
    }
    json_decref(steps);
    return ok ? EX_OK : EX_IOERR;
}

static int print(const struct config *config, const char *day, const char *domain, bool status)
{
    char why[TLS_REPORTER_WHY_MAX];
    struct tls_report *report = tls_reporter_read(config->spool, day, why);
    if (!report) {
        fprintf(stderr, "sluice tlsrpt: %s\n", *why ? why : "nothing was counted on that day");
        return *why ? EX_IOERR : EX_UNAVAILABLE;
    }
    struct tls_report_sender sender = config_report_sender(config);
    json_t *reports = tls_report_make(report, &sender, domain), *one;
    size_t i;
    int code = json_array_size(reports) ? EX_OK : EX_UNAVAILABLE;
    if (code != EX_OK)
        fprintf(stderr, "sluice tlsrpt: nothing was counted for that domain\n");
    else if (status)
        code = print_status(config, day, reports);
    else
        json_array_foreach(reports, i, one) cli_print_json(one);
    json_decref(reports);
    tls_report_free(report);
    return fflush(stdout) == 0 ? code : EX_IOERR;
}

static int print_for(const struct config *config, const char *day, const char *name, bool status)
{
    char *domain = name ? address_domain_to_ascii(bytes_of(name)) : NULL;
    if (name && !domain) {
        fprintf(stderr, "sluice tlsrpt: %s is no domain\n", name);
        return EX_USAGE;
    }
    int code = print(config, day, domain, status);
    free(domain);
    return code;
}

int cli_tlsrpt(int argc, char **argv)
{
    enum { OPTION_DAY = CLI_OPTION_OWN, OPTION_STATUS };
    static const struct option known[] = {
        CLI_CONFIG,
        CLI_SPOOL,
        {"day", required_argument, NULL, OPTION_DAY},
        {"status", no_argument, NULL, OPTION_STATUS},
        {NULL, 0, NULL, 0},
    };
    struct cli_options options = {.json = true};
    bool status = false;
    char day[TLS_REPORT_DAY_LEN + 1];
    tls_report_day(clock_wall_ms() / 1000, day);
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        if (cli_take_option(&options, c))
            continue;
        status |= c == OPTION_STATUS;
        if (c == OPTION_STATUS)
            continue;
        if (c != OPTION_DAY || !is_day(optarg)) {
            fprintf(stderr, "usage: sluice tlsrpt [-c FILE] [--spool DIR] [--day YYYY-MM-DD] "
                            "[--status] [DOMAIN]\n");
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
    int code = print_for(config, day, name, status);
    config_free(config);
    return code;
}
