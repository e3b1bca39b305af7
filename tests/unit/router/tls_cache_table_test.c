/* The session cache's table: which destinations it shows, in which order, and its totals. */
#include "router/tls_cache_table.h"
#include "tests/unit/cmocka_prelude.h"

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static struct session_cache *cache;
static struct buffer out;

static int set_up(void **state)
{
    (void)state;
    cache = session_cache_new(&(struct session_cache_options){.entries = 1000});
    buffer_init(&out, 64 * 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    session_cache_free(cache);
    buffer_fini(&out);
    return 0;
}

/* A destination that gives no tickets: a full handshake, then that many look-ups in vain. */
static void ask(const char *label, unsigned times)
{
    struct session_key_parts parts = {.destination = bytes_of(label)};
    struct session_destination to = {.key = session_key_make(&parts),
                                     .label = label,
                                     .limits = {.tickets = 4, .timeout_ms = 1000}};
    struct session_offer offer;
    session_cache_report(cache, &to, &(struct session_report){.use = SESSION_USE_FULL});
    for (unsigned i = 0; i < times; i++)
        assert_null(session_cache_take(cache, &to, 0, &offer));
}

static const char *text(void)
{
    assert_true(buffer_append_byte(&out, '\0'));
    out.len--;
    return (const char *)out.at;
}

static unsigned num_lines(const char *of)
{
    unsigned num = 0;
    for (; *of; of++)
        num += *of == '\n';
    return num;
}

static void the_destinations_that_asked_most_come_first(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 25; i++) {
        char label[32];
        snprintf(label, sizeof label, "mx%02u.example", i);
        ask(label, i * 7 % 26); /* all numbers from 1 to 25, in disorder */
    }
    tls_cache_table(cache, &out);
    assert_int_equal(num_lines(text()), 1 + TLS_CACHE_TOP + 1);
    const char *line = text();
    for (unsigned lookups = 25; lookups > 25 - TLS_CACHE_TOP; lookups--) {
        unsigned shown[8];
        line = strchr(line, '\n') + 1;
        assert_int_equal(sscanf(line, "%*s %u %u %u %u %u %u %u %u", &shown[0], &shown[1],
                                &shown[2], &shown[3], &shown[4], &shown[5], &shown[6], &shown[7]),
                         8);
        assert_int_equal(shown[0], lookups); /* look-ups */
        assert_int_equal(shown[1], 0);       /* hits */
        assert_int_equal(shown[2], lookups); /* misses */
        assert_int_equal(shown[6], 1);       /* full */
    }
    assert_non_null(strstr(text(), "\nall 25 "));
    assert_non_null(
        strstr(text(), "       325         0       325         0        0       0        25"));
}

static void an_unused_cache_has_a_table_and_nothing_to_say(void **state)
{
    (void)state;
    tls_cache_table(cache, &out);
    assert_int_equal(num_lines(text()), 2);
    buffer_clear(&out);
    assert_false(tls_cache_summary(cache, &out));
    ask("mx.example", 3);
    buffer_clear(&out);
    assert_true(tls_cache_summary(cache, &out));
    assert_non_null(strstr(text(), "3 look-ups, 0 hits, 3 misses; 0 resumed, 0 refused, 0 failed, "
                                   "1 without a session; 1 destinations"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_destinations_that_asked_most_come_first),
        TEST(an_unused_cache_has_a_table_and_nothing_to_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
