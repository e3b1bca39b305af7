/* Responses of policy hosts, good and bad, whole and an octet at a time. */
#include "base/memory.h"
#include "tests/unit/cmocka_prelude.h"
#include "tls/http_response.h"

#include <stdlib.h>

enum { BODY_MAX = 20 };

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"

static const struct {
    const char *text;
    bool ends_orderly; /* after the text */
    unsigned status;   /* 0: no response */
    const char *body;
    bool is_plain;
    const char *problem;
} rows[] = {
    {HEAD "Content-Length: 5\r\n\r\nhello", false, 200, "hello", true, NULL},
    {HEAD "Content-Length: 5\r\n\r\nhello and more", false, 200, "hello", true, NULL},
    {HEAD "Content-Length: 5\r\n\r\nhell", true, 0, NULL, true, "ended before"},
    {HEAD "\r\nhello", true, 200, "hello", true, NULL},
    {HEAD "\r\nhello", false, 0, NULL, true, "ended before"},
    {HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n", false, 200,
     "hello", true, NULL},
    {HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", true, 0, NULL, true, "ended before"},
    {HEAD "Content-Length: 21\r\n\r\n123456789012345678901", false, 0, NULL, true,
     "body is too large"},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" HEAD
     "Content-Length: 2\r\n\r\nok",
     false, 200, "ok", true, NULL},
    {"HTTP/1.1 302 Found\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n", false, 302, "",
     false, NULL},
    {"HTTP/1.0 404 No\r\nContent-Type: TEXT/Plain\r\n\r\nno", true, 404, "no", true, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n", false, 200, "",
     false, NULL},
    {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\nContent-Length: "
     "0\r\n\r\n",
     false, 200, "", false, NULL},
    {"220 mx.example ESMTP\r\n", false, 0, NULL, false, "no HTTP"},
    {"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nx", false, 0, NULL,
     false, "no HTTP"},
    {"", true, 0, NULL, false, "ended before"},
};

static void check(size_t i, size_t step)
{
    struct http_response response;
    struct bytes text = bytes_of(rows[i].text);
    bool ok = true;
    http_response_init(&response, BODY_MAX);
    for (; ok && text.len; text = bytes_from(text, step))
        ok = http_response_feed(&response, bytes_first(text, step));
    ok = ok && http_response_end(&response, rows[i].ends_orderly);
    if (ok != !rows[i].problem || http_response_status(&response) != rows[i].status)
        fail_msg("row %zu by %zu: %d %u %s", i, step, ok, http_response_status(&response),
                 response.problem ? response.problem : "");
    if (ok) {
        assert_true(bytes_equal(buffer_bytes(&response.body), bytes_of(rows[i].body)));
        assert_int_equal(http_response_has_media_type(&response, "text/plain"), rows[i].is_plain);
    } else if (!strstr(response.problem, rows[i].problem)) {
        fail_msg("row %zu by %zu: %s", i, step, response.problem);
    }
    http_response_fini(&response);
}

static void responses_are_read_in_pieces_of_any_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(i, 1);
        check(i, 3);
        check(i, SIZE_MAX / 2);
    }
}

/* Fields, interim responses, chunks: whatever goes on for ever ends at the limit. */
static void a_header_without_an_end_is_cut(void **state)
{
    static const struct {
        const char *begin, *again;
    } endless[] = {
        {"HTTP/1.1 200 OK\r\n", "X: y\r\n"},
        {"HTTP/1.1 200 OK\r\nX: ", "yyyy"},
        {"", "HTTP/1.1 100 C\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        struct http_response response;
        bool ok = true;
        http_response_init(&response, SIZE_MAX);
        ok = http_response_feed(&response, bytes_of(endless[i].begin));
        for (size_t k = 0; ok && k < 2 * HTTP_HEAD_MAX; k++)
            ok = http_response_feed(&response, bytes_of(endless[i].again));
        assert_false(ok);
        assert_string_equal(response.problem, "the header is too large");
        http_response_fini(&response);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_read_in_pieces_of_any_size),
        cmocka_unit_test(a_header_without_an_end_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
