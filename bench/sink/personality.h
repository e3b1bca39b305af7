/* How one listener of the sink behaves: what it offers, refuses and breaks on purpose.
 *
 * Made once from the command line, immutable afterwards, read by any thread. What a listener
 * remembers while it runs is in sink.h. */
#ifndef SLUICE_BENCH_SINK_PERSONALITY_H
#define SLUICE_BENCH_SINK_PERSONALITY_H

#include "bench/sink/fault.h"

#include <sys/socket.h>

enum { PERSONALITY_RULES_MAX = 256, PERSONALITY_WHY_MAX = 200 };

enum personality_tls {
    PERSONALITY_TLS_NONE,
    PERSONALITY_TLS_1_2,
    PERSONALITY_TLS_1_3,
    PERSONALITY_TLS_ANY
};

struct personality_rule {
    bool reject;   /* 550; else 451 */
    char *pattern; /* owned: address, or "@domain" */
};

struct personality {
    char *name; /* owned: banner, EHLO reply, certificate, statistics */
    struct sockaddr_storage address;
    socklen_t address_len;
    bool same_port; /* as the first listener's */
    enum personality_tls tls;
    bool wrapper; /* TLS from the first byte */
    unsigned tickets;
    bool no_ticket_reissue;
    unsigned rotate;            /* handshakes per ticket key; 0: one key for ever */
    unsigned ticket_lifetime_s; /* 0: the library's default */
    char *ticket_key;           /* owned: listeners of one key name share keys; NULL: own keys */
    bool lmtp;
    bool no_ehlo;
    bool no_pipelining;
    bool no_8bitmime;
    bool no_utf8;
    bool no_chunking;
    bool no_dsn;
    uint64_t size;               /* octets of content; 0: no limit and not advertised */
    unsigned defer_first;        /* RCPT attempts per recipient that get 451 first */
    unsigned limit;              /* recipients per transaction, 452 beyond; 0: SESSION_RCPT_MAX */
    unsigned messages_until_421; /* per connection; 0: never */
    unsigned close_after_dot;    /* first final dots that are answered by closing */
    unsigned final_code;         /* reply to every final dot; 0: 250 */
    unsigned delay_ms;           /* before each flight of replies */
    unsigned connections;        /* at once, 421 to more; 0: any number */
    unsigned read_rate; /* octets a second that are read of a connection; 0: all there is */
    struct faults faults;
    struct personality_rule *rules; /* owned */
    size_t num_rules;
};

/* spec: ADDRESS:PORT[,option[=value]]..., as --help describes it. number: for the default name.
 * false with a reason in why; out is then empty. */
bool personality_parse(struct personality *out, const char *spec, unsigned number,
                       char why[PERSONALITY_WHY_MAX]) __attribute__((warn_unused_result));
void personality_fini(struct personality *personality);
/* The first rule that matches, or NULL. address without angle brackets. */
const struct personality_rule *personality_rule_for(const struct personality *personality,
                                                    struct bytes address);

#endif
