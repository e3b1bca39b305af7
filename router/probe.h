/* What would happen to mail for a domain, seen by trying all but the mail: route, TLS policy of
 * each host and who decided it, a session with each, certificate, tickets, resumption.
 *
 * For `sluice probe`; the caller's thread waits in it. The finding is one JSON document, described
 * in docs/commands.md; probe_print.c says the same for people. */
#ifndef SLUICE_ROUTER_PROBE_H
#define SLUICE_ROUTER_PROBE_H

#include "router/config.h"

#include <jansson.h>

/* How mail would leave at a host, the better the smaller. */
enum probe_fate {
    PROBE_AUTHENTICATED, /* over TLS, with a certificate that the policy demands and accepts */
    PROBE_ENCRYPTED,     /* over TLS, with whomever answers */
    PROBE_PLAINTEXT,
    PROBE_REFUSED, /* not at this host: the policy, the network or the host is against it */
    PROBE_BOUNCED  /* of a domain: nobody takes mail for it */
};
const char *probe_fate_name(enum probe_fate fate);

struct probe_options {
    const struct config *config; /* borrowed */
    const char *domain;          /* A-label, lower case, or a literal: of the recipients */
    const struct next_hop *host; /* NULL: as the domain's mail goes; else only this */
    bool every_address;          /* also those behind the first one that answers */
    int64_t patience_ms;         /* for each session */
    void (*on_line)(void *ctx, char direction, struct bytes line); /* NULL: no transcript */
    void *on_line_ctx;
};

/* The finding, the caller's to free; NULL with a line in why when nothing could be tried (no
 * resolver, an unreadable certificate file). *out_fate: what the first host in order that takes
 * mail means for it. */
json_t *probe_run(const struct probe_options *options, enum probe_fate *out_fate,
                  char why[CONFIG_WHY_MAX]) __attribute__((warn_unused_result));

/* For people. */
void probe_print(const json_t *finding, struct buffer *out);

#endif
