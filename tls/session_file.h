/* The format in which TLS sessions outlive the process: pure, octets to records and back.
 *
 *   file    "SLTLSESS", version u32, when it was written i64 (ms), records, u32 0, SHA-256 of all
 *           before
 *   record  its length u32, key 32 octets, last used i64 (ms), label u16 + octets, sessions u8 +
 *           each: stored i64 (ms), verified until i64 (ms), spent u8, u32 + SSL_SESSION_to_bytes()
 *
 * Numbers are big-endian. The key holds all that makes a session usable, so nothing of it is
 * repeated here. The file is a secret: whoever has a session can take part in what is resumed from
 * it. Any thread. */
#ifndef SLUICE_TLS_SESSION_FILE_H
#define SLUICE_TLS_SESSION_FILE_H

#include "tls/session_cache.h"

enum {
    SESSION_FILE_VERSION = 1,
    SESSION_FILE_HEAD_LEN = 20,
    SESSION_FILE_TAIL_LEN = 36,
    SESSION_FILE_SESSION_MAX = 64 * 1024, /* octets of one; larger ones are not written */
    SESSION_FILE_RECORD_MAX = 1100 * 1024
};

/* The head of a file, and one record; out's max is at least as large as the constants. */
void session_file_put_head(struct buffer *out, int64_t now_ms);
/* false: no session of it can be written down. */
bool session_file_put_record(struct buffer *out, const struct session_saved *saved);

enum session_file_state { SESSION_FILE_GOOD, SESSION_FILE_OTHER_VERSION, SESSION_FILE_CORRUPT };
/* Checks all but the records: out_records are those of a good file. */
enum session_file_state session_file_open(struct bytes file, struct bytes *out_records);

struct session_file_record {
    struct session_key key;
    int64_t used_ms;
    struct bytes label; /* borrowed from the file; no NUL in it */
    unsigned num;
    struct session_file_item {
        int64_t stored_ms, verified_until_ms;
        bool spent;
        struct bytes session; /* borrowed from the file */
    } items[SESSION_TICKETS_MAX];
};
/* Takes the first record off; false: there is none, or what follows is none. */
bool session_file_next(struct bytes *records, struct session_file_record *out);

struct session_file_counts {
    size_t destinations, sessions; /* taken in */
    size_t left_out;               /* sessions: expired, or not understood */
};
/* Takes in what is in the records, the most recently used destinations last, so that they stay
 * when not all fit. ssl_ctx: any that a session is to be used with, for its pool. */
void session_file_restore(struct session_cache *cache, SSL_CTX *ssl_ctx, struct bytes records,
                          int64_t now_ms, struct session_file_counts *out);

#endif
