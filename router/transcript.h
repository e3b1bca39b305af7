/* The protocol of one session as text, gathered while it lives and written as one block at its end,
 * so that sessions do not interleave in the file.
 *
 * Owned by a connection, one thread. Bounded: what does not fit is counted and said. Secrets are
 * masked here too, whoever the caller is: AUTH and what answers a 334 (RFC 4954). */
#ifndef SLUICE_ROUTER_TRANSCRIPT_H
#define SLUICE_ROUTER_TRANSCRIPT_H

#include "base/log.h"
#include "router/config.h"

enum {
    TRANSCRIPT_MAX = 64 * 1024,
    TRANSCRIPT_LINE_MAX = 1000,         /* octets of a line; the rest is cut */
    TRANSCRIPT_NOTES_RESERVE = 4 * 1024 /* of TRANSCRIPT_MAX, kept for notes: how it ended */
};

struct transcript {
    struct buffer text; /* owned; empty until the first line */
    int64_t started_us; /* monotonic */
    uint64_t num_dropped;
    bool secret_next; /* the peer sent 334: the next line we send is a secret */
};

/* title: for people ("mx.example.net [192.0.2.1]:25"). */
void transcript_init(struct transcript *transcript, const char *title, int64_t wall_us,
                     int64_t now_us);
/* direction: '>' sent, '<' received. line: without its line end. */
void transcript_line(struct transcript *transcript, int64_t now_us, char direction,
                     struct bytes line);
/* What is no line of the protocol: "connected", "TLSv1.3, resumed", "final reply timed out". */
void transcript_note(struct transcript *transcript, int64_t now_us, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Writes the block (file NULL: drops it) and frees. The struct may be initialised again. */
void transcript_finish(struct transcript *transcript, struct log_file *file);

/* Where transcripts go: log.transcript_file, else beside log.file, else in the spool. Owned by the
 * caller. */
char *transcript_path(const struct config *config);

#endif
