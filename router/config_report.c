/* The meaning of the tls.report section. It sends nothing: tls_report_outbox.c does. */
#include "router/config_report.h"

#include "base/memory.h"
#include "queue/address.h"

#include <stdlib.h>
#include <string.h>

/* Keeping counts for less would lose reports over a night on which the machine is off. */
enum { REPORT_KEEP_LEAST_MS = 4 * TLS_REPORT_DAY_S * 1000 };

static bool settle_address(char **text)
{
    struct address address;
    const char *why;
    if (!**text)
        return true;
    if (!address_parse_path(bytes_of(*text), false, &address, &why))
        return false;
    bool ok = !address.needs_utf8 && !address.is_literal;
    if (ok) {
        free(*text);
        *text = mem_strdup(address.mailbox);
    }
    address_fini(&address);
    return ok;
}

static bool settle_via(const struct config *config, char **via)
{
    if (!**via)
        return true;
    char *domain = address_domain_to_ascii(bytes_of(*via));
    if (!domain)
        return false;
    free(*via);
    *via = domain;
    return config_for_domain(config, domain)->next_hop;
}

static void stand_in(char **text, const char *for_it)
{
    if (**text)
        return;
    free(*text);
    *text = mem_strdup(for_it);
}

const char *config_report_settle(struct config *config, const char **out_option)
{
    *out_option = "contact";
    if (!settle_address(&config->tls.report.contact))
        return "is no address, expected one such as \"tlsrpt@example.com\"";
    *out_option = "from";
    if (!settle_address(&config->tls.report.from))
        return "is no address, expected one such as \"tlsrpt@example.com\"";
    stand_in(&config->tls.report.contact, config->tls.report.from);
    stand_in(&config->tls.report.from, config->tls.report.contact);
    *out_option = "via";
    if (!settle_via(config, &config->tls.report.via))
        return "has no next_hop, expected the domain of a destination section with one";
    *out_option = "keep";
    if (config->tls.report.send && config->tls.report.keep_ms < REPORT_KEEP_LEAST_MS)
        return "is too short for tls.report.send, expected at least 4d";
    return NULL;
}

struct tls_report_sender config_report_sender(const struct config *config)
{
    return (struct tls_report_sender){.organization = *config->tls.report.organization
                                                          ? config->tls.report.organization
                                                          : config->hostname,
                                      .contact = config->tls.report.contact,
                                      .hostname = config->hostname};
}
