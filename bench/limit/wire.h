/* A blocking connection to the receiver, plain or TLS, with as few system calls as possible: one
 * send per write, one recv for as many replies as it brings. One thread. Failure ends the program.
 */
#ifndef SLUICE_BENCH_LIMIT_WIRE_H
#define SLUICE_BENCH_LIMIT_WIRE_H

#include "base/bytes.h"

#include <netinet/in.h>
#include <openssl/is_boringssl.h>
#include <openssl/ssl.h>

enum { WIRE_IN_MAX = 32 * 1024, WIRE_LINE_MAX = 2048 };

struct wire_options {
    struct sockaddr_in address;
    bool tls;
    bool pipelining; /* DATA after its 354 instead of BDAT */
    bool no_resume;  /* full handshakes only */
};

struct wire {
    int fd;
    SSL_CTX *context;     /* owned; NULL: plaintext */
    SSL *ssl;             /* owned */
    SSL_SESSION *session; /* owned: the newest ticket */
    bool no_resume;
    struct buffer sealed; /* what TLS made of a write */
    uint8_t cipher[WIRE_IN_MAX];
    size_t cipher_pos, cipher_len;
    uint8_t in[WIRE_IN_MAX]; /* replies not consumed yet */
    size_t in_pos, in_len;
    unsigned long full_handshakes, resumed_handshakes;
};

void wire_init(struct wire *wire, const struct wire_options *options);
void wire_fini(struct wire *wire);
/* Connects and says EHLO, and after STARTTLS again. */
void wire_open(struct wire *wire, const struct wire_options *options);
/* QUIT is not waited for. */
void wire_close(struct wire *wire);
void wire_send(struct wire *wire, struct bytes bytes);
/* Waits for one reply, all its lines; ends the program unless its code begins with the digit. */
void wire_expect(struct wire *wire, char digit, const char *to_what);
_Noreturn void wire_fail(const char *what, struct bytes detail);

#endif
