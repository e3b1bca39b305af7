/* An HTTP/1.1 response to one GET or POST (RFC 9112), read as it comes, with limits on its parts.
 * Nothing is followed and nothing is kept: a redirection is a status like any other.
 *
 * One thread. No I/O: whoever has the connection feeds it. */
#ifndef SLUICE_TLS_HTTP_RESPONSE_H
#define SLUICE_TLS_HTTP_RESPONSE_H

#include "base/bytes.h"

#include <http_parser.h>

enum { HTTP_HEAD_MAX = 16 * 1024, HTTP_MEDIA_TYPE_MAX = 64, HTTP_FIELD_NAME_MAX = 32 };

struct http_response {
    http_parser parser;
    char field_name[HTTP_FIELD_NAME_MAX]; /* of the field being read; "" when it is longer */
    size_t field_name_len;
    bool in_value;
    char media_type[HTTP_MEDIA_TYPE_MAX]; /* lower case, without parameters; "" none, or longer */
    size_t media_type_len;
    unsigned num_media_types;
    size_t head_len;    /* octets of start line and fields so far, of interim responses too */
    struct buffer body; /* owned */
    bool is_complete;
    bool ends_at_eof;    /* the end of the connection ends the body: it has to be an orderly one */
    const char *problem; /* static text; NULL: none so far */
};

/* body_max: octets; a longer body is a problem. */
void http_response_init(struct http_response *response, size_t body_max);
void http_response_fini(struct http_response *response);
/* false: response->problem says why, and no more may be fed. What comes behind the end of the
 * response is not looked at. */
bool http_response_feed(struct http_response *response, struct bytes octets)
    __attribute__((warn_unused_result));
/* The connection has ended, in an orderly way (close_notify) or not. True when the response is
 * complete with that. */
bool http_response_end(struct http_response *response, bool is_orderly)
    __attribute__((warn_unused_result));
/* Status of the final response; 0: not there yet. */
unsigned http_response_status(const struct http_response *response);
bool http_response_has_media_type(const struct http_response *response, const char *type);

#endif
