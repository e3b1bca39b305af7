/* Limits and the few fields that matter, around http-parser.
 * It knows nothing of what the body is for. */
#include "tls/http_response.h"

#include "base/check.h"
#include "base/memory.h"

#include <limits.h>

static struct http_response *response_of(const http_parser *parser)
{
    return container_of(parser, struct http_response, parser);
}

static int fail(struct http_response *response, const char *problem)
{
    if (!response->problem)
        response->problem = problem;
    return 1; /* ends http_parser_execute() */
}

static int count_head(struct http_response *response, size_t len)
{
    response->head_len += len;
    return response->head_len > HTTP_HEAD_MAX ? fail(response, "the header is too large") : 0;
}

static int on_status(http_parser *parser, const char *at, size_t len)
{
    (void)at;
    return count_head(response_of(parser), len + 1);
}

/* A name, as a value, may come in any number of pieces. */
static int on_header_field(http_parser *parser, const char *at, size_t len)
{
    struct http_response *response = response_of(parser);
    if (response->in_value)
        response->field_name_len = 0;
    response->in_value = false;
    for (size_t i = 0; i < len; i++, response->field_name_len++)
        if (response->field_name_len < sizeof response->field_name - 1)
            response->field_name[response->field_name_len] = (char)ascii_lower((uint8_t)at[i]);
    return count_head(response, len);
}

static bool is_field(const struct http_response *response, const char *name)
{
    return response->field_name_len < sizeof response->field_name &&
           bytes_equal(bytes_make(response->field_name, response->field_name_len), bytes_of(name));
}

static int on_header_value(http_parser *parser, const char *at, size_t len)
{
    struct http_response *response = response_of(parser);
    bool is_media_type = is_field(response, "content-type");
    if (is_media_type && !response->in_value) {
        response->num_media_types++;
        response->media_type_len = 0;
    }
    response->in_value = true;
    for (size_t i = 0; is_media_type && i < len; i++, response->media_type_len++)
        if (response->media_type_len < sizeof response->media_type)
            response->media_type[response->media_type_len] = (char)ascii_lower((uint8_t)at[i]);
    return count_head(response, len);
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct http_response *response = response_of(parser);
    if (!buffer_append(&response->body, at, len))
        return fail(response, "the body is too large");
    return 0;
}

/* Each chunk of a body may bring octets of its own that carry nothing. */
static int on_chunk(http_parser *parser)
{
    return count_head(response_of(parser), 1);
}

/* Interim responses (RFC 9110 15.2) go before the final one; head_len bounds their number. */
static int on_message_complete(http_parser *parser)
{
    struct http_response *response = response_of(parser);
    if (parser->status_code < 200) {
        response->num_media_types = 0;
        return count_head(response, 1);
    }
    response->is_complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

static int on_headers_complete(http_parser *parser)
{
    struct http_response *response = response_of(parser);
    response->ends_at_eof = !(parser->flags & F_CHUNKED) && parser->content_length == ULLONG_MAX;
    return 0;
}

static const http_parser_settings settings = {
    .on_status = on_status,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk,
    .on_message_complete = on_message_complete,
};

void http_response_init(struct http_response *response, size_t body_max)
{
    *response = (struct http_response){.problem = NULL};
    http_parser_init(&response->parser, HTTP_RESPONSE);
    buffer_init(&response->body, body_max);
}

void http_response_fini(struct http_response *response)
{
    buffer_fini(&response->body);
}

bool http_response_feed(struct http_response *response, struct bytes octets)
{
    CHECK(!response->problem);
    if (response->is_complete || octets.len == 0)
        return true;
    size_t used =
        http_parser_execute(&response->parser, &settings, (const char *)octets.at, octets.len);
    enum http_errno error = HTTP_PARSER_ERRNO(&response->parser);
    if (response->is_complete)
        return true;
    if (response->problem || error != HPE_OK || used != octets.len || response->parser.upgrade)
        fail(response, "it is no HTTP/1.1 response");
    return !response->problem;
}

bool http_response_end(struct http_response *response, bool is_orderly)
{
    if (response->is_complete || response->problem)
        return response->is_complete && !response->problem;
    if (response->ends_at_eof && is_orderly)
        (void)http_parser_execute(&response->parser, &settings, NULL, 0);
    if (!response->is_complete)
        fail(response, "the connection ended before the response did");
    return response->is_complete;
}

unsigned http_response_status(const struct http_response *response)
{
    return response->is_complete ? response->parser.status_code : 0;
}

bool http_response_has_media_type(const struct http_response *response, const char *type)
{
    struct bytes value = bytes_make(response->media_type, response->media_type_len);
    if (response->num_media_types != 1 || value.len > sizeof response->media_type)
        return false;
    return bytes_equal(bytes_trim(bytes_first(value, bytes_find(value, ';'))), bytes_of(type));
}
