/* The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
 *
 * Pure but for the nonce; one thread at a time per struct. What the server says is a stranger's:
 * bounded, and every attribute is checked. User and password are printable ASCII, for which
 * SASLprep (RFC 4013) changes nothing. */
#ifndef SLUICE_TLS_SCRAM_H
#define SLUICE_TLS_SCRAM_H

#include "base/bytes.h"

enum {
    SCRAM_DIGEST_LEN = 32,
    SCRAM_NONCE_LEN = 24,     /* octets of text that our nonce has */
    SCRAM_USER_MAX = 255,     /* octets */
    SCRAM_MESSAGE_MAX = 1024, /* octets of a server's message */
    SCRAM_SALT_MAX = 256,     /* octets */
    /* RFC 7677 4 asks for 4096 at least: fewer would hand the password to whoever plays server. */
    SCRAM_ITERATIONS_MIN = 4096,
    SCRAM_ITERATIONS_MAX = 200000 /* bounds the CPU that a worker spends on one connection */
};

struct scram {
    char nonce[SCRAM_NONCE_LEN + 1];
    struct buffer auth_message; /* owned; grows with each message (RFC 5802 3) */
    uint8_t server_signature[SCRAM_DIGEST_LEN];
    bool answered; /* scram_answer() worked */
};

/* nonce: at most SCRAM_NONCE_LEN printable characters but ","; NULL: drawn at random. Appends the
 * client-first-message to out. */
void scram_begin(struct scram *scram, const char *user, const char *nonce, struct buffer *out);
/* Answers the server-first-message with the client-final-message. NULL, or a static text: what is
 * wrong with it. */
const char *scram_answer(struct scram *scram, struct bytes server_first, const char *password,
                         struct buffer *out) __attribute__((warn_unused_result));
/* Whether the server-final-message proves that the server knows the password, too. NULL, or a
 * static text: what is wrong. Only after scram_answer(). */
const char *scram_check(const struct scram *scram, struct bytes server_final)
    __attribute__((warn_unused_result));
/* Wipes it. */
void scram_fini(struct scram *scram);

#endif
