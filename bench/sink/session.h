/* The SMTP or LMTP server side as a machine without I/O (RFC 5321, 2033, 1870, 2034, 2920, 3030,
 * 3207, 3461, 6152, 6531).
 *
 * Octets go in, replies are appended to a buffer, and `want` says what the caller must do next. One
 * thread. Whatever arrives, what it keeps is bounded by the constants below. */
#ifndef SLUICE_BENCH_SINK_SESSION_H
#define SLUICE_BENCH_SINK_SESSION_H

#include "bench/sink/sink.h"

enum {
    SESSION_LINE_MAX = 4096,      /* octets of a command line */
    SESSION_PATH_MAX = 320,       /* RFC 5321 4.5.3.1: 64 + @ + 255 */
    SESSION_RCPT_MAX = 1000,      /* per transaction */
    SESSION_NAME_MAX = 255,       /* HELO's argument */
    SESSION_ID_LINE_MAX = 512,    /* of a header field that identifies a message */
    SESSION_ID_MAX = 128,         /* of its value, as the ledger shows it */
    SESSION_BAD_COMMANDS_MAX = 20 /* then the connection ends */
};

enum session_want {
    SESSION_READ,  /* more input */
    SESSION_TLS,   /* send the replies, then shake hands, then session_tls_started() */
    SESSION_CLOSE, /* send the replies, then close */
    SESSION_RESET, /* the same, so that the peer sees a reset */
    SESSION_STALL, /* send the replies, then read and say nothing any more */
    SESSION_DROP   /* close at once, replies unsent */
};

enum session_security { SESSION_PLAINTEXT, SESSION_TLS_FULL, SESSION_TLS_RESUMED };

/* Finds the header field by which a message is known again. */
struct session_id_scan {
    uint8_t line[SESSION_ID_LINE_MAX]; /* of a line that arrives in parts */
    size_t line_len;
    uint64_t hash; /* 0: none found yet */
    uint8_t value[SESSION_ID_MAX];
    size_t value_len;
    bool done;
};

struct session {
    struct sink *sink;           /* borrowed */
    struct listener *listener;   /* borrowed */
    struct counters *counters;   /* borrowed */
    const struct sockaddr *peer; /* borrowed from the connection */
    struct buffer *out;          /* borrowed during session_input() */
    enum session_want want;
    enum session_phase { PHASE_COMMAND, PHASE_DATA, PHASE_CHUNK } phase;
    enum session_security security;
    const char *tls_version; /* static */
    const char *tls_cipher;  /* static */
    unsigned bad_commands;
    unsigned messages; /* accepted in this connection */
    bool greeted;      /* HELO, EHLO or LHLO was accepted */
    bool extended;     /* EHLO or LHLO */
    bool skipping;     /* inside a line that is too long */
    bool more_follows; /* input behind the command at hand */
    bool sent_mail;    /* a MAIL command was accepted in this connection */
    char helo[SESSION_NAME_MAX + 1];
    /* The transaction. */
    bool has_sender;
    bool wants_utf8;
    bool chunked; /* BDAT was used: DATA is out of order (RFC 3030 2) */
    char sender[SESSION_PATH_MAX + 1];
    char *parameters;         /* owned; of MAIL, kept only for the store; NULL */
    struct buffer recipients; /* accepted ones, each with a NUL behind */
    struct buffer rcpt_lines; /* kept only for the store: X-Sink-Rcpt-Parameters fields */
    unsigned num_recipients;
    /* The content. */
    bool at_line_start; /* nothing of DATA's content was consumed yet */
    uint64_t content_len;
    bool too_big;
    uint64_t chunk_left;
    bool chunk_last;
    bool chunk_refused; /* eaten and thrown away (RFC 3030 2) */
    unsigned
        hold_ms; /* of a fault: the caller keeps back the replies of this flight, then clears it */
    unsigned split_ms; /* the same: octet by octet, with so much between them */
    char fault_line[64];
    struct session_id_scan id;
    struct store_file file;
    struct buffer unreplied; /* numbers in the ledger of dots whose reply was not sent yet */
};

/* Everything borrowed outlives the session. */
void session_init(struct session *session, struct sink *sink, struct listener *listener,
                  struct counters *counters, const struct sockaddr *peer);
void session_fini(struct session *session);
void session_greet(struct session *session, struct buffer *out);
/* Consumes what it can and returns how much; what is left (less than SESSION_LINE_MAX) comes again
 * in front of more. Stops when want is not SESSION_READ. */
size_t session_input(struct session *session, struct bytes in, struct buffer *out);
/* All replies so far were taken by the kernel. */
void session_replies_sent(struct session *session);
/* The handshake is complete: forget all that was said in plaintext (RFC 3207 4.2). */
void session_tls_started(struct session *session, bool resumed, const char *version,
                         const char *cipher);

#endif
