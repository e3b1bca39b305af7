/* One GET or POST over HTTPS: connects to one of the given addresses, checks the server's
 * certificate for the host's name, sends the request, hands over the response. Follows no
 * redirection.
 *
 * On a loop, in its thread; nothing blocks. */
#ifndef SLUICE_TLS_HTTPS_REQUEST_H
#define SLUICE_TLS_HTTPS_REQUEST_H

#include "base/loop.h"
#include "dns/answer.h"
#include "dns/route.h"
#include "tls/channel.h"
#include "tls/http_response.h"

enum { HTTPS_ADDRESSES_MAX = 8, HTTPS_HEAD_MAX = 1024 };

enum https_outcome {
    HTTPS_OK,             /* a response, with whatever status */
    HTTPS_FAILED,         /* no connection, no TLS, no HTTP, a limit, too slow */
    HTTPS_BAD_CERTIFICATE /* TLS, but not by the host */
};

struct https_request_params {
    struct loop *loop;           /* borrowed */
    struct tls_context *context; /* borrowed: anchors and protocol settings */
    const char *host;            /* borrowed until the end: a name, A-labels in lower case */
    uint16_t port;
    bool any_certificate; /* true: nothing is checked of it, and who answers is not known */
    const char *target;   /* borrowed for the call: path and query; a "/" that it lacks is added */
    const char *accept;   /* borrowed for the call: media types */
    const char *content_type; /* borrowed for the call; NULL: a GET, else a POST of the content */
    struct bytes content;     /* borrowed until the end */
    const struct host_address *addresses; /* borrowed for the call: tried in order */
    size_t num_addresses;                 /* what is beyond HTTPS_ADDRESSES_MAX is not tried */
    int64_t timeout_ms;                   /* of it all */
    size_t body_max;                      /* octets of the response's */
    int64_t now_wall_s;
    /* Called once, never from within https_request_start(), and unless https_request_free() comes
     * first. response is borrowed for the call; NULL but for HTTPS_OK. The callee calls
     * https_request_free(). */
    void (*on_done)(void *ctx, enum https_outcome outcome, const struct http_response *response,
                    const char *why);
    void *ctx;
};

struct https_request;

/* The addresses of these answers (NULL: not asked for), IPv6 and IPv4 by turns, so that a family
 * that does not work costs one wait. Those of this machine or link only if allow_local. */
size_t https_addresses(const struct answer *aaaa, const struct answer *a, bool allow_local,
                       struct host_address out[HTTPS_ADDRESSES_MAX]);

struct https_request *https_request_start(const struct https_request_params *params)
    __attribute__((warn_unused_result, returns_nonnull));
/* Also from within on_done. NULL allowed. */
void https_request_free(struct https_request *request);

#endif
