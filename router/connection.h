/* A connection: from a site's next delivery to a session on one of its hosts, and on to further
 * deliveries.
 *
 * Owned by one worker, for life. It dials (addresses raced, hosts in order, every one gets its
 * turn), drives the channel and the session machine, hands finished deliveries to the worker, waits
 * idle for more, closes. It holds one of its site's connection credits from connection_open() to
 * its end. Its memory is freed at the end of the tick in which it closed. */
#ifndef SLUICE_ROUTER_CONNECTION_H
#define SLUICE_ROUTER_CONNECTION_H

#include "router/delivery_tls.h"
#include "router/dialer.h"
#include "router/smtp_session.h"
#include "router/transcript.h"
#include "router/worker.h"
#include "tls/channel.h"

enum connection_state {
    CONNECTION_DIALING,
    CONNECTION_HANDSHAKE,
    CONNECTION_TALKING,
    CONNECTION_IDLE,
    CONNECTION_CLOSED
};

enum intent_state { INTENT_NONE, INTENT_WAITS /* for a commit */, INTENT_STORED };

struct connection {
    struct loop_garbage garbage;
    struct connection *prev; /* in worker->connections */
    struct connection *next;
    struct connection *idle_next;     /* in its site's list of idle ones */
    struct worker *worker;            /* borrowed */
    struct site *site;                /* borrowed: lives while a connection holds a credit */
    struct config_snapshot *snapshot; /* one reference: the first delivery's */
    const struct destination_settings *settings; /* borrowed from it; the site's */
    struct route *route;                         /* one reference: of the last delivery */
    struct delivery *delivery;                   /* owned while under way; NULL when idle */
    enum connection_state state;

    struct dialer dialer;
    struct dialed at;     /* where the session is, in the route */
    struct loop_fd watch; /* of the session's socket; fd -1: none */
    int fd;               /* owned; -1: none */
    struct channel channel;
    struct smtp_session session;
    bool session_open; /* channel and session are initialised */
    enum smtp_want want;
    struct buffer out; /* commands to be sent */
    struct bytes body; /* content handed out by the session and not yet taken by the channel */
    enum smtp_want want_after_body;
    enum intent_state intent; /* of the transaction under way */
    struct commit_wait *wait; /* borrowed, while intent is INTENT_WAITS */
    struct timer timer;       /* the wait under way: reply, handshake, idle */

    bool in_transaction;   /* smtp_session_begin() was called for the delivery on this session */
    bool ready;            /* counted by the site as a working session */
    bool plaintext_forced; /* TLS failed here and policy lets this host have plaintext */
    bool full_handshake_forced; /* a resumed handshake failed here */
    bool has_tls;
    enum tls_fault tls_fault; /* of the certificate in the last handshake that failed */
    bool offered_session;     /* the handshake under way tries to resume */
    struct channel_tls_info tls;
    /* What the delivery for which the session was begun demands of its host; borrows from that
     * delivery: until the session is ready. */
    struct tls_requirement requirement;
    char label[300]; /* "mx.example.net [192.0.2.1]:25" */
    unsigned num_deliveries;
    int64_t opened_ms; /* when this session became ready */

    struct outcome failure; /* why hosts of this attempt failed, the last one */
    struct dialed failed_at;
    unsigned num_failures;   /* hosts that failed for a reason of their own */
    int limit_error;         /* the last reason why no socket could be had at all; 0: none */
    unsigned num_unsuitable; /* hosts that work but cannot carry this delivery */
    struct outcome unsuitable;
    struct dialed unsuitable_at;
    int content_fd; /* owned; -1: content is in memory */
    bool transcribes;
    struct transcript transcript; /* while transcribes */
};

/* Uses a granted credit: takes a delivery (or gives the credit back) and dials. */
void connection_open(struct worker *worker, struct site *site);
/* An idle connection takes a delivery that its site promised; false: the session is gone. */
void connection_serve(struct connection *connection);
/* Shutdown. now: also in the middle of a transaction; else only when none is under way. */
void connection_stop(struct connection *connection, bool now);

/* Between the files of this room. connection_delivery.c: */
void connection_begin_attempt(struct connection *connection);
/* Before the first octet of content: stores the intent, and has it wait for a commit where it must.
 * INTENT_STORED: content may go. INTENT_WAITS: connection_committed() goes on. INTENT_NONE: it
 * cannot be stored, and the session wants CLOSE. */
enum intent_state connection_begins_content(struct connection *connection);
/* The commit that the intent waited for worked, or failed with that errno. */
void connection_committed(struct connection *connection, int error);
/* IDLE or CLOSE was wanted while a delivery was under way. Returns true when there is something to
 * pump. */
bool connection_transaction_ended(struct connection *connection);
bool connection_take_next(struct connection *connection, enum site_taker taker);
void connection_no_host_left(struct connection *connection);
/* connection.c: */
void connection_use_socket(struct connection *connection, int fd);
void connection_drop_session(struct connection *connection);
void connection_close(struct connection *connection);
void connection_pump(struct connection *connection);
/* EOF, reset, time-out, violation: one path, into the session; it wants CLOSE afterwards. */
void connection_lose(struct connection *connection, enum trouble trouble, const char *detail);
/* QUIT, not waited for. */
void connection_say_goodbye(struct connection *connection);
/* Why a host could not take the delivery under way. */
void connection_note_failure(struct connection *connection, struct dialed at,
                             const struct outcome *failure);
/* The host works, and cannot carry this delivery. What may pass outweighs what is final. */
void connection_note_unsuitable(struct connection *connection, struct dialed at,
                                const struct outcome *unsuitable);
/* On to the next address that has not had its turn. */
void connection_leave_host(struct connection *connection);
/* connection_tls.c: */
/* Hosts that the delivery's TLS policy rules out get no turn. */
void connection_skip_hosts(struct connection *connection);
/* Whether to ask for TLS at the host that was reached; sets connection->requirement. */
bool connection_wants_tls(struct connection *connection);
/* Whether the session satisfies the delivery that it is to carry; kind NONE: it does. */
struct outcome connection_tls_fits(struct connection *connection);
void connection_start_tls(struct connection *connection);
void connection_continue_tls(struct connection *connection);
void connection_tls_failed(struct connection *connection, const char *why);
/* Its host's TLS is not broken with these settings. */
void connection_tls_works(const struct connection *connection);

#endif
