/* One session with one address of a mail host, to see what it does: greeting, capabilities,
 * handshake, certificate, tickets. No mail is sent: EHLO, STARTTLS, EHLO, QUIT.
 *
 * For `sluice probe`: the caller's thread waits in it. It demands nothing of the certificate, so
 * that a handshake can be looked at that a delivery would refuse; what a delivery would do is for
 * probe.c to judge. */
#ifndef SLUICE_ROUTER_PROBE_SESSION_H
#define SLUICE_ROUTER_PROBE_SESSION_H

#include "router/smtp_session.h"
#include "tls/channel.h"

enum { PROBE_LINES_MAX = 64 };

/* All borrowed during probe_session_run(). */
struct probe_target {
    const struct config *config;
    const struct route *route;
    const struct host_address *address;
    bool wrapper;
    struct tls_context *context;
    struct session_cache *cache; /* what the server gives is kept there and offered again */
    const char *sni;             /* NULL: none */
    int64_t patience_ms;         /* for the whole session */
    void (*on_line)(void *ctx, char direction, struct bytes line); /* NULL: no transcript */
    void *on_line_ctx;
};

/* Lines of the last EHLO reply, as they came, printable or not. */
struct probe_lines {
    size_t num;
    char *items[PROBE_LINES_MAX]; /* owned */
};

struct probe_session {
    struct outcome failure; /* kind NONE: it came to the end */
    bool connected;
    bool starttls_refused;
    bool handshake_failed;
    bool has_tls;
    struct channel_tls_info tls;     /* with has_tls */
    const char *group;               /* key agreement; static; NULL: none */
    STACK_OF(CRYPTO_BUFFER) * chain; /* owned; leaf first; NULL: none */
    uint64_t tickets;                /* that the server gave in this session */
    struct probe_lines before_tls, last;
    /* Microseconds since the beginning; 0: did not come to that. */
    int64_t connected_us, greeted_us, ready_us;
    int64_t handshake_us; /* its duration */
};

/* Always leaves a session that wants probe_session_fini(). */
void probe_session_run(const struct probe_target *target, struct probe_session *out);
void probe_session_fini(struct probe_session *session);

#endif
