/* What channel.c, context.c and the BIO between BoringSSL and the socket tell one another. Private
 * to this room. */
#ifndef SLUICE_TLS_CHANNEL_BIO_H
#define SLUICE_TLS_CHANNEL_BIO_H

#include "tls/channel.h"

#include <sys/types.h>

/* A BIO whose reads come from the channel's read-ahead and the socket, and whose writes go into the
 * cork. Borrows the channel. */
BIO *channel_bio_new(struct channel *channel);
/* Around each call into SSL that may read. Between them what recv() brought lies in a buffer of the
 * thread; end moves what is left of it into channel->in. */
void channel_bio_begin(struct channel *channel);
void channel_bio_end(struct channel *channel);
/* recv(): octets, 0 at the end of the stream, or -errno. -EAGAIN without a system call once after a
 * recv() in the same turn drained the socket. */
ssize_t channel_bio_receive(struct channel *channel, void *to, size_t cap);
/* send() of the cork until it is empty or the socket is full. Releases the memory when empty. */
enum channel_status channel_bio_flush(struct channel *channel);

/* Callbacks of the SSL_CTX (context.c sets them); the SSL's app data is its channel. */
int channel_on_new_session(SSL *ssl, SSL_SESSION *session);
enum ssl_verify_result_t channel_on_verify(SSL *ssl, uint8_t *out_alert);

#endif
