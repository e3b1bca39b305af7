/* The channel of the header: plaintext or TLS over one non-blocking socket.
 * It does not wait, does not close the socket, and decides nothing about what a certificate has to
 * satisfy or whether plaintext may be used: that is policy.c's. */
#include "tls/channel.h"

#include "base/check.h"
#include "tls/channel_bio.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { RECORD_HEADER_LEN = 5 };

static void report(struct channel *channel, enum session_use use);
static enum channel_status handshake_done(struct channel *channel,
                                          struct channel_tls_info *out_info);
static enum channel_status handshake_failed(struct channel *channel, int result);
static enum channel_status read_plain(struct channel *channel, void *to, size_t cap,
                                      size_t *out_len);
static enum channel_status read_tls(struct channel *channel, void *to, size_t cap, size_t *out_len);
static enum channel_status read_ended(struct channel *channel, int result, bool was_corked);
static enum channel_status write_records(struct channel *channel, struct bytes bytes,
                                         size_t *out_len);
static enum channel_status seal_plain(struct channel *channel);
static enum channel_status flush_cork(struct channel *channel);
static size_t cork_room(const struct channel *channel);
static enum channel_status fail_io(struct channel *channel, const char *doing);
static void describe_ssl_error(struct channel *channel, const char *doing, int result);
static int64_t thread_cpu_us(void);

void channel_init(struct channel *channel, int fd)
{
    *channel = (struct channel){.fd = fd};
    buffer_init(&channel->in, CHANNEL_IN_MAX);
    buffer_init(&channel->plain, CHANNEL_RECORD_MAX);
    buffer_init(&channel->out, CHANNEL_OUT_MAX);
}

void channel_fini(struct channel *channel)
{
    if (channel->ssl && channel->handshake_done && !channel_has_unsent(channel)) {
        ERR_clear_error();
        SSL_shutdown(channel->ssl);
        ERR_clear_error();
        (void)channel_bio_flush(channel);
    }
    SSL_free(channel->ssl);
    SSL_SESSION_free(channel->offered);
    buffer_fini(&channel->in);
    buffer_fini(&channel->plain);
    buffer_fini(&channel->out);
    channel->ssl = NULL;
    channel->offered = NULL;
}

bool channel_has_unread(struct channel *channel)
{
    uint8_t octet;
    if (channel->in_pos < channel->in.len)
        return true;
    return recv(channel->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void channel_start_tls(struct channel *channel, const struct channel_tls_params *params,
                       int64_t now_ms)
{
    CHECK(!channel->ssl && !channel_has_unsent(channel));
    channel->tls = *params;
    channel->now_ms = now_ms;
    channel->wall_ahead_ms = params->now_wall_s * 1000 - now_ms;
    channel->verified_until_ms = SESSION_UNVERIFIED;
    channel->ssl = SSL_new(params->context->ssl_ctx);
    CHECK(channel->ssl); /* want of memory */
    SSL_set_app_data(channel->ssl, channel);
    SSL_set_connect_state(channel->ssl);
    SSL_set_renegotiate_mode(channel->ssl, ssl_renegotiate_never);
    SSL_set_shed_handshake_config(channel->ssl, 1);
    BIO *bio = channel_bio_new(channel);
    SSL_set_bio(channel->ssl, bio, bio);
    /* A name that no server can have (RFC 6066 3) is not sent; the handshake goes on without. */
    if (params->sni && *params->sni && !SSL_set_tlsext_host_name(channel->ssl, params->sni))
        ERR_clear_error();
    if (!params->cache || !params->offer_session)
        return;
    channel->offered = session_cache_take(params->cache, &channel->tls.destination,
                                          now_ms + channel->wall_ahead_ms, &channel->offer);
    if (channel->offered)
        SSL_set_session(channel->ssl, channel->offered);
}

enum channel_status channel_handshake(struct channel *channel, int64_t now_ms,
                                      struct channel_tls_info *out_info)
{
    CHECK(channel->ssl && !channel->handshake_done);
    channel->now_ms = now_ms;
    channel->last_recv_short = false; /* each call follows a readiness */
    if (channel_has_unsent(channel)) {
        enum channel_status status = channel_bio_flush(channel);
        if (status == CHANNEL_FAILED)
            return handshake_failed(channel, -1);
        if (status != CHANNEL_OK)
            return status;
    }
    int64_t before_us = thread_cpu_us();
    ERR_clear_error();
    channel_bio_begin(channel);
    int result = SSL_do_handshake(channel->ssl);
    channel_bio_end(channel);
    channel->handshake_cpu_us += thread_cpu_us() - before_us;
    if (result == 1)
        return handshake_done(channel, out_info);
    if (SSL_get_error(channel->ssl, result) != SSL_ERROR_WANT_READ)
        return handshake_failed(channel, result);
    switch (channel_bio_flush(channel)) {
    case CHANNEL_WANT_WRITE:
        return CHANNEL_WANT_WRITE;
    case CHANNEL_FAILED:
        return handshake_failed(channel, -1);
    case CHANNEL_OK:
    case CHANNEL_WANT_READ:
    case CHANNEL_CLOSED:
        break;
    }
    return CHANNEL_WANT_READ;
}

enum channel_status channel_read(struct channel *channel, void *to, size_t cap, int64_t now_ms,
                                 size_t *out_len)
{
    CHECK(cap > 0);
    channel->now_ms = now_ms;
    *out_len = 0;
    return channel->ssl ? read_tls(channel, to, cap, out_len)
                        : read_plain(channel, to, cap, out_len);
}

bool channel_read_pending(const struct channel *channel)
{
    if (!channel->ssl)
        return false;
    if (SSL_pending(channel->ssl) > 0)
        return true;
    /* Part of a record waits for the socket. SSL takes all that it can use of `in`, so `in` begins
     * with a header. */
    size_t kept = channel->in.len - channel->in_pos;
    if (kept < RECORD_HEADER_LEN)
        return false;
    const uint8_t *header = channel->in.at + channel->in_pos;
    return kept - RECORD_HEADER_LEN >= (size_t)header[3] * 256 + header[4];
}

enum channel_status channel_write(struct channel *channel, struct bytes bytes, size_t *out_len)
{
    CHECK(!channel->ssl || channel->handshake_done);
    *out_len = 0;
    if (bytes.len == 0)
        return CHANNEL_OK;
    if (channel->ssl)
        return write_records(channel, bytes, out_len);
    struct bytes taken = bytes_first(bytes, cork_room(channel));
    if (taken.len == 0)
        return CHANNEL_WANT_WRITE;
    if (channel->out_pos > 0 && taken.len > channel->out.max - channel->out.len) {
        buffer_consume(&channel->out, channel->out_pos);
        channel->out_pos = 0;
    }
    CHECK(buffer_append_bytes(&channel->out, taken));
    *out_len = taken.len;
    return CHANNEL_OK;
}

enum channel_status channel_flush(struct channel *channel)
{
    enum channel_status status = seal_plain(channel);
    if (status == CHANNEL_OK || status == CHANNEL_WANT_WRITE)
        status = flush_cork(channel);
    /* The cork had no room for it before. */
    if (status == CHANNEL_OK && channel->plain.len > 0) {
        status = seal_plain(channel);
        if (status == CHANNEL_OK)
            status = flush_cork(channel);
    }
    return status;
}

bool channel_has_unsent(const struct channel *channel)
{
    return channel_unsent_len(channel) > 0;
}

size_t channel_unsent_len(const struct channel *channel)
{
    return channel->out.len - channel->out_pos + channel->plain.len;
}

const char *channel_error(const struct channel *channel)
{
    return channel->error;
}

/* A session whose certificate is good for one domain only, or did not pass what is only reported,
 * is not kept: its key says more than was shown, and the report has to be made again. */
int channel_on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct channel *channel = SSL_get_app_data(ssl);
    if (!channel->tls.cache || channel->verdict.by_domain ||
        channel->verdict.wish != TLS_FAULT_NONE)
        return 0; /* the reference stays with BoringSSL */
    /* In a resumed handshake nothing was verified: what was holds as long as it did. In TLS 1.2 the
     * ticket comes before the handshake has ended. */
    int64_t until_ms =
        SSL_session_reused(ssl) ? channel->offer.verified_until_ms : channel->verified_until_ms;
    session_cache_put(channel->tls.cache, &channel->tls.destination, session, until_ms,
                      channel->now_ms + channel->wall_ahead_ms);
    return 1;
}

/* Not called on a resumed handshake: what was verified is part of the session's key. */
enum ssl_verify_result_t channel_on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct channel *channel = SSL_get_app_data(ssl);
    bool ok =
        tls_verify(SSL_get0_peer_certificates(ssl), channel->tls.requirement,
                   channel->tls.context->trust.store, channel->tls.now_wall_s, &channel->verdict);
    if (channel->verdict.valid_until_s != TLS_VALID_FOREVER)
        channel->verified_until_ms = channel->verdict.valid_until_s * 1000;
    if (ok)
        return ssl_verify_ok;
    *out_alert = channel->verdict.fault == TLS_FAULT_EXPIRED ? SSL_AD_CERTIFICATE_EXPIRED
                                                             : SSL_AD_CERTIFICATE_UNKNOWN;
    return ssl_verify_invalid;
}

static void report(struct channel *channel, enum session_use use)
{
    const struct session_report how = {.session = channel->offered,
                                       .use = use,
                                       .miss = channel->offer.miss,
                                       .cpu_us = channel->handshake_cpu_us};
    if (channel->tls.cache)
        session_cache_report(channel->tls.cache, &channel->tls.destination, &how);
    SSL_SESSION_free(channel->offered);
    channel->offered = NULL;
}

static enum channel_status handshake_done(struct channel *channel,
                                          struct channel_tls_info *out_info)
{
    channel->handshake_done = true;
    bool resumed = SSL_session_reused(channel->ssl);
    bool offered = channel->offered;
    *out_info = (struct channel_tls_info){
        .version = SSL_get_version(channel->ssl),
        .cipher = SSL_CIPHER_standard_name(SSL_get_current_cipher(channel->ssl)),
        .resumed = resumed,
        .offered_session = offered,
        .verdict = channel->verdict,
    };
    tls_proof_make(channel->tls.requirement, channel->verdict.by_domain, out_info->proof);
    channel->tls.requirement = NULL; /* borrowed until here */
    if (resumed)
        report(channel, SESSION_USE_RESUMED);
    else
        report(channel, offered ? SESSION_USE_REFUSED : SESSION_USE_FULL);
    return CHANNEL_OK;
}

static enum channel_status handshake_failed(struct channel *channel, int result)
{
    describe_ssl_error(channel, "TLS handshake", result);
    if (channel->verdict.fault != TLS_FAULT_NONE)
        snprintf(channel->error, sizeof channel->error, "TLS certificate: %.180s",
                 channel->verdict.why);
    if (channel->offered)
        report(channel, SESSION_USE_FAILED);
    (void)channel_bio_flush(channel); /* the alert, for the peer's log */
    return CHANNEL_FAILED;
}

static enum channel_status read_plain(struct channel *channel, void *to, size_t cap,
                                      size_t *out_len)
{
    channel->io_errno = 0;
    ssize_t received = channel_bio_receive(channel, to, cap);
    if (received == -EAGAIN)
        return CHANNEL_WANT_READ;
    if (received < 0)
        return fail_io(channel, "read");
    *out_len = (size_t)received;
    return channel->peer_closed ? CHANNEL_CLOSED : CHANNEL_OK;
}

static enum channel_status read_tls(struct channel *channel, void *to, size_t cap, size_t *out_len)
{
    CHECK(channel->handshake_done);
    bool was_corked = channel_has_unsent(channel);
    ERR_clear_error();
    channel_bio_begin(channel);
    int result = SSL_read(channel->ssl, to, cap < INT32_MAX ? (int)cap : INT32_MAX);
    channel_bio_end(channel);
    if (result <= 0)
        return read_ended(channel, result, was_corked);
    *out_len = (size_t)result;
    return CHANNEL_OK;
}

static enum channel_status read_ended(struct channel *channel, int result, bool was_corked)
{
    switch (SSL_get_error(channel->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return CHANNEL_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return CHANNEL_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        channel->peer_closed = true;
        return CHANNEL_CLOSED;
    default:
        break;
    }
    describe_ssl_error(channel, "read", result);
    if (!was_corked)
        (void)channel_bio_flush(channel); /* at most an alert: nothing else has been written */
    return channel->peer_closed ? CHANNEL_CLOSED : CHANNEL_FAILED;
}

static enum channel_status flush_cork(struct channel *channel)
{
    enum channel_status status = channel_bio_flush(channel);
    if (status != CHANNEL_FAILED)
        return status;
    channel->last_recv_short = false; /* no readiness will tell of the peer's last words */
    return fail_io(channel, "write");
}

/* One record into the cork. WANT_WRITE: there is no room. Its overhead comes out of the slack. */
static enum channel_status seal(struct channel *channel, struct bytes record)
{
    if (cork_room(channel) < record.len)
        return CHANNEL_WANT_WRITE;
    ERR_clear_error();
    int result = SSL_write(channel->ssl, record.at, (int)record.len);
    if (result == (int)record.len)
        return CHANNEL_OK;
    describe_ssl_error(channel, "write", result);
    return CHANNEL_FAILED;
}

static enum channel_status seal_plain(struct channel *channel)
{
    if (channel->plain.len == 0)
        return CHANNEL_OK;
    enum channel_status status = seal(channel, buffer_bytes(&channel->plain));
    if (status == CHANNEL_OK)
        buffer_fini(&channel->plain);
    return status;
}

/* A whole record's worth is sealed from where it lies; the rest is gathered. */
static enum channel_status write_records(struct channel *channel, struct bytes bytes,
                                         size_t *out_len)
{
    while (*out_len < bytes.len) {
        struct bytes rest = bytes_from(bytes, *out_len);
        struct bytes part = bytes_first(rest, CHANNEL_RECORD_MAX - channel->plain.len);
        enum channel_status status = CHANNEL_OK;
        if (part.len == CHANNEL_RECORD_MAX)
            status = seal(channel, part);
        else if (part.len > 0)
            CHECK(buffer_append_bytes(&channel->plain, part));
        else
            status = seal_plain(channel);
        if (status != CHANNEL_OK)
            return status == CHANNEL_WANT_WRITE && *out_len > 0 ? CHANNEL_OK : status;
        *out_len += part.len;
    }
    return CHANNEL_OK;
}

static size_t cork_room(const struct channel *channel)
{
    size_t most = channel->out.max - CHANNEL_OUT_SLACK;
    size_t unsent = channel->out.len - channel->out_pos;
    return unsent < most ? most - unsent : 0;
}

static enum channel_status fail_io(struct channel *channel, const char *doing)
{
    snprintf(channel->error, sizeof channel->error, "%s: %s", doing, strerror(channel->io_errno));
    return CHANNEL_FAILED;
}

/* What the peer said comes first (an alert is an error of the library), then the socket. */
static void describe_ssl_error(struct channel *channel, const char *doing, int result)
{
    int kind = SSL_get_error(channel->ssl, result);
    uint32_t error = ERR_peek_error();
    const char *reason = ERR_reason_error_string(error);
    if (kind == SSL_ERROR_SSL && error != 0)
        snprintf(channel->error, sizeof channel->error, "%s: %s", doing,
                 reason ? reason : "unknown error");
    else if (channel->io_errno != 0)
        (void)fail_io(channel, doing);
    else if (channel->peer_closed)
        snprintf(channel->error, sizeof channel->error,
                 "%s: the peer closed the connection without close_notify", doing);
    else
        snprintf(channel->error, sizeof channel->error, "%s: failed (%d)", doing, kind);
    ERR_clear_error();
}

/* Not in base/clock.h, since it is no time that anything may be decided by: a measure of work. */
static int64_t thread_cpu_us(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (int64_t)spent.tv_sec * 1000000 + spent.tv_nsec / 1000;
}
