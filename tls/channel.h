/* A byte channel over a non-blocking socket: plaintext first, TLS after channel_start_tls(), one
 * interface.
 *
 * Belongs to one worker's connection, embedded. The fd is the connection's to close. All calls
 * return at once. Reading goes through a read-ahead buffer (one recv for a record, not two);
 * writing is corked: channel_write() gathers, channel_flush() encrypts and sends. Nothing here
 * waits, and nothing calls back but the new-session callback into the session cache. */
#ifndef SLUICE_TLS_CHANNEL_H
#define SLUICE_TLS_CHANNEL_H

#include "tls/context.h"

enum channel_status {
    CHANNEL_OK,
    CHANNEL_WANT_READ,  /* call again when the fd is readable */
    CHANNEL_WANT_WRITE, /* call again when the fd is writable */
    CHANNEL_CLOSED,     /* end of stream from the peer; channel_error() is empty when it was orderly
                           (close_notify, or FIN in plaintext) and says so when it was not: SMTP has
                           its own framing, so both are the same to a session */
    CHANNEL_FAILED      /* channel_error() says why */
};

struct channel_tls_params {
    struct tls_context *context;            /* borrowed */
    struct session_cache *cache;            /* borrowed; NULL: no resumption */
    struct session_destination destination; /* its label is borrowed until channel_fini() */
    const char *sni;                        /* borrowed until the handshake ends; NULL: none */
    bool offer_session; /* false: full handshake on purpose (after a failed resumed one) */
    /* What the certificate has to satisfy: its proof is in the key. Borrowed until the handshake
     * ends. */
    const struct tls_requirement *requirement;
    int64_t now_wall_s; /* for certificates' dates */
};

struct channel_tls_info {
    const char *version; /* "TLSv1.3"; static */
    const char *cipher;  /* "TLS_AES_128_GCM_SHA256"; static */
    bool resumed;
    bool offered_session; /* a session was offered (resumed or not) */
    /* What the certificate was checked for; with a resumed session, when that began. */
    uint8_t proof[TLS_PROOF_LEN];
    struct tls_verdict verdict; /* of a full handshake; no fault and no usage on a resumed one */
};

struct channel {
    int fd;   /* borrowed */
    SSL *ssl; /* owned; NULL: plaintext */
    struct channel_tls_params tls;
    struct tls_verdict verdict; /* of the handshake under way or done */
    SSL_SESSION *offered;       /* owned reference; NULL */
    struct session_offer offer; /* what the cache said when it was asked */
    int64_t verified_until_ms;  /* of the certificates that this connection rests on */
    int64_t wall_ahead_ms;      /* of the wall clock before the loop's */
    bool handshake_done;
    struct buffer in; /* read ahead: undecrypted records under TLS; no memory while empty */
    size_t in_pos;
    struct buffer plain; /* under TLS: not yet a record; no memory while empty */
    struct buffer out;   /* corked, not yet sent; no memory while empty */
    size_t out_pos;
    bool peer_closed;
    bool last_recv_short; /* the socket was drained at last_recv_ms: until the next readiness */
    int64_t last_recv_ms;
    int io_errno;             /* of the last recv() or send() that failed; 0 */
    int64_t handshake_cpu_us; /* thread CPU spent in the handshake's calls */
    /* Set by the last call that was given a time: for tickets that arrive on read. */
    int64_t now_ms;
    char error[TLS_WHY_MAX];
};
enum {
    CHANNEL_OUT_MAX = 256 * 1024,
    CHANNEL_IN_MAX = 17 * 1024,    /* one record of the largest size, with its overhead */
    CHANNEL_OUT_SLACK = 4 * 1024,  /* of the cork, kept for what TLS itself has to say */
    CHANNEL_RECORD_MAX = 16 * 1024 /* octets of plain text in a record (RFC 8446 5.1) */
};

void channel_init(struct channel *channel, int fd);
/* Frees buffers and SSL. Under TLS a close_notify goes out if the socket takes it at once, and is
 * not waited for. What is still in the cork is dropped, never sent: the caller may have given it
 * up, and it may hold the final dot. */
void channel_fini(struct channel *channel);

/* True when bytes that the peer sent before the handshake are waiting (STARTTLS injection): the
 * caller must close. Call it after the 220 was consumed, before channel_start_tls(). Also looks at
 * the socket without waiting. */
bool channel_has_unread(struct channel *channel);
void channel_start_tls(struct channel *channel, const struct channel_tls_params *params,
                       int64_t now_ms);
/* Drives the handshake. The client's last flight stays corked until the next flush, so that
 * Finished and EHLO leave in one send. On OK fills info. How it went has been reported to the cache
 * on OK, and on FAILED when a session was offered. */
enum channel_status channel_handshake(struct channel *channel, int64_t now_ms,
                                      struct channel_tls_info *out_info);

/* Up to cap (> 0) plain octets. OK: *out_len > 0. Stores the tickets that arrive. Callers may read
 * on until WANT_READ: after a recv() that drained the socket, the next call with the same now_ms
 * (the same turn of the loop) answers WANT_READ without a system call. That may be one answer too
 * early, so readiness has to be level-triggered. */
enum channel_status channel_read(struct channel *channel, void *to, size_t cap, int64_t now_ms,
                                 size_t *out_len);
/* The channel itself holds more octets from the peer, of which no readiness of the fd will tell. */
bool channel_read_pending(const struct channel *channel);
/* Takes all or part of the octets into the cork (*out_len); WANT_WRITE with *out_len 0 when the
 * cork is full: flush first. Under TLS what is written between two flushes shares records. */
enum channel_status channel_write(struct channel *channel, struct bytes bytes, size_t *out_len);
/* Seals what is not yet a record and sends the cork. OK: all sent. After FAILED channel_read() may
 * still find what the peer had said.
 */
enum channel_status channel_flush(struct channel *channel);
bool channel_has_unsent(const struct channel *channel);
size_t channel_unsent_len(const struct channel *channel); /* octets, under TLS mostly of records */
const char *channel_error(const struct channel *channel);

#endif
