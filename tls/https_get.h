/* One GET over HTTPS: connects to one of the given addresses, checks the server's certificate for
 * the host's name, asks for the path, hands over the response. Follows no redirection.
 *
 * On a loop, in its thread; nothing blocks. */
#ifndef SLUICE_TLS_HTTPS_GET_H
#define SLUICE_TLS_HTTPS_GET_H

#include "base/loop.h"
#include "dns/route.h"
#include "tls/channel.h"
#include "tls/http_response.h"

enum { HTTPS_ADDRESSES_MAX = 8, HTTPS_REQUEST_MAX = 1024 };

enum https_outcome {
    HTTPS_OK,             /* a response, with whatever status */
    HTTPS_FAILED,         /* no connection, no TLS, no HTTP, a limit, too slow */
    HTTPS_BAD_CERTIFICATE /* TLS, but not by the host */
};

struct https_get_params {
    struct loop *loop;           /* borrowed */
    struct tls_context *context; /* borrowed: anchors and protocol settings */
    const char *host;            /* borrowed until the end: a name, A-labels in lower case */
    uint16_t port;
    const char *path;                     /* borrowed for the call */
    const struct host_address *addresses; /* borrowed for the call: tried in order */
    size_t num_addresses;                 /* what is beyond HTTPS_ADDRESSES_MAX is not tried */
    int64_t timeout_ms;                   /* of it all */
    size_t body_max;
    int64_t now_wall_s;
    /* Called once, never from within https_get_start(), and unless https_get_free() comes first.
     * response is borrowed for the call; NULL but for HTTPS_OK. The callee calls
     * https_get_free(). */
    void (*on_done)(void *ctx, enum https_outcome outcome, const struct http_response *response,
                    const char *why);
    void *ctx;
};

struct https_get;

struct https_get *https_get_start(const struct https_get_params *params)
    __attribute__((warn_unused_result, returns_nonnull));
/* Also from within on_done. NULL allowed. */
void https_get_free(struct https_get *get);

#endif
