/* The BIO between BoringSSL and a channel's socket: reads ahead, corks what is written.
 * It knows nothing of handshakes, sessions or errors of TLS. */
#include "tls/channel_bio.h"

#include "base/check.h"

#include <errno.h>
#include <openssl/bio.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* BoringSSL asks for 5 octets of a record's header and then for its body. One recv() into this
 * buffer serves both; it belongs to a thread, since only the rare leftover (the beginning of a
 * record, or one that is not wanted yet) has to outlive a call, and so an idle channel has none. */
static _Thread_local struct {
    struct channel *channel; /* whose call it is; NULL: nobody's */
    size_t pos, len;
    uint8_t at[CHANNEL_IN_MAX];
} ahead;

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void);
static int bio_read(BIO *bio, char *to, int cap);
static int bio_write(BIO *bio, const char *from, int len);
static long bio_ctrl(BIO *bio, int command, long number, void *pointer);
static size_t take_kept(struct channel *channel, char *to, size_t cap);
static ssize_t receive(struct channel *channel);

BIO *channel_bio_new(struct channel *channel)
{
    pthread_once(&method_once, make_method);
    BIO *bio = BIO_new(method);
    CHECK(bio); /* want of memory */
    BIO_set_data(bio, channel);
    BIO_set_init(bio, 1);
    return bio;
}

void channel_bio_begin(struct channel *channel)
{
    CHECK(!ahead.channel);
    ahead.channel = channel;
    channel->io_errno = 0;
}

void channel_bio_end(struct channel *channel)
{
    CHECK(ahead.channel == channel);
    if (ahead.pos < ahead.len) /* recv() waits for channel->in to be empty, so this fits */
        CHECK(buffer_append(&channel->in, ahead.at + ahead.pos, ahead.len - ahead.pos));
    ahead.channel = NULL;
    ahead.pos = ahead.len = 0;
}

enum channel_status channel_bio_flush(struct channel *channel)
{
    while (channel->out_pos < channel->out.len) {
        ssize_t sent = send(channel->fd, channel->out.at + channel->out_pos,
                            channel->out.len - channel->out_pos, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            channel->out_pos += (size_t)sent;
        } else if (errno == EAGAIN) {
            return CHANNEL_WANT_WRITE;
        } else if (errno != EINTR) {
            channel->io_errno = errno;
            return CHANNEL_FAILED;
        }
    }
    buffer_fini(&channel->out);
    channel->out_pos = 0;
    return CHANNEL_OK;
}

ssize_t channel_bio_receive(struct channel *channel, void *to, size_t cap)
{
    bool drained = channel->last_recv_short && channel->last_recv_ms == channel->now_ms;
    channel->last_recv_short = false; /* answers once, so that nobody can wait for ever */
    if (drained)
        return -EAGAIN;
    ssize_t received;
    do {
        received = recv(channel->fd, to, cap, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0) {
        if (errno != EAGAIN)
            channel->io_errno = errno;
        return -errno;
    }
    channel->last_recv_short = received > 0 && (size_t)received < cap;
    channel->last_recv_ms = channel->now_ms;
    channel->peer_closed = received == 0;
    return received;
}

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "channel");
    CHECK(method); /* want of memory */
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static int bio_read(BIO *bio, char *to, int cap)
{
    struct channel *channel = BIO_get_data(bio);
    CHECK(ahead.channel == channel);
    BIO_clear_retry_flags(bio);
    if (cap <= 0)
        return 0;
    size_t taken = take_kept(channel, to, (size_t)cap);
    if (taken > 0)
        return (int)taken;
    if (ahead.pos == ahead.len) {
        ssize_t received = receive(channel);
        if (received == -EAGAIN)
            BIO_set_retry_read(bio);
        if (received <= 0)
            return received == 0 ? 0 : -1;
        ahead.pos = 0;
        ahead.len = (size_t)received;
    }
    taken = ahead.len - ahead.pos < (size_t)cap ? ahead.len - ahead.pos : (size_t)cap;
    memcpy(to, ahead.at + ahead.pos, taken);
    ahead.pos += taken;
    return (int)taken;
}

static size_t take_kept(struct channel *channel, char *to, size_t cap)
{
    size_t kept = channel->in.len - channel->in_pos;
    if (kept == 0)
        return 0;
    size_t taken = kept < cap ? kept : cap;
    memcpy(to, channel->in.at + channel->in_pos, taken);
    channel->in_pos += taken;
    if (taken == kept) {
        buffer_fini(&channel->in);
        channel->in_pos = 0;
    }
    return taken;
}

/* A flight of our handshake that has not left yet is what the peer waits for: there is nothing to
 * receive. */
static ssize_t receive(struct channel *channel)
{
    bool peer_waits = !channel->handshake_done && channel->out_pos < channel->out.len;
    return peer_waits ? -EAGAIN : channel_bio_receive(channel, ahead.at, sizeof ahead.at);
}

/* Takes all or nothing. channel_write() leaves slack, so that refusing stays theoretical: a peer
 * would have to provoke kilobytes of alerts and key updates against a full cork. */
static int bio_write(BIO *bio, const char *from, int len)
{
    struct channel *channel = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if ((size_t)len > channel->out.max - channel->out.len && channel->out_pos > 0) {
        buffer_consume(&channel->out, channel->out_pos);
        channel->out_pos = 0;
    }
    if (!buffer_append(&channel->out, from, (size_t)len)) {
        channel->out.overflow = false;
        BIO_set_retry_write(bio);
        return -1;
    }
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH; /* the cork is flushed by the channel's owner */
}
