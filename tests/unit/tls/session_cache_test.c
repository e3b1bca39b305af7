/* The rules of the session cache: which session is offered, for how long, and to whom none is. */
#include "tests/support/made_sessions.h"

static void takes_the_newest_tls13_ticket_once_and_lends_the_last_again(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    put(cache, &to, a, 0);
    put(cache, &to, b, 1);
    put(cache, &to, c, 2);
    expect_take(cache, &to, 3, c, SESSION_HIT);
    expect_take(cache, &to, 3, b, SESSION_HIT);
    expect_take(cache, &to, 3, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 0);
    expect_take(cache, &to, 3, a, SESSION_HIT);
    expect_take(cache, &to, 3, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 2);
    assert_int_equal(counters_of(cache).sessions, 1);
    session_cache_free(cache);
}

static void a_fresh_ticket_replaces_a_spent_one(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13(), *b = tls13();
    put(cache, &to, a, 0);
    expect_take(cache, &to, 1, a, SESSION_HIT);
    put(cache, &to, b, 2);
    assert_int_equal(counters_of(cache).sessions, 1);
    expect_take(cache, &to, 3, b, SESSION_HIT);
    expect_take(cache, &to, 3, b, SESSION_HIT);
    session_cache_free(cache);
}

static void a_full_ring_drops_its_oldest(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    to.limits.tickets = 2;
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    put(cache, &to, a, 0);
    put(cache, &to, b, 0);
    put(cache, &to, c, 0);
    assert_int_equal(counters_of(cache).sessions, 2);
    assert_int_equal(counters_of(cache).stored, 3);
    expect_take(cache, &to, 1, c, SESSION_HIT);
    expect_take(cache, &to, 1, b, SESSION_HIT);
    session_cache_free(cache);
}

static void tls12_sessions_are_lent_until_refused_and_only_the_newest_is_kept(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls12(), *b = tls12();
    put(cache, &to, a, 0);
    for (int i = 0; i < 10; i++)
        expect_take(cache, &to, 1, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 0);
    put(cache, &to, b, 0);
    assert_int_equal(counters_of(cache).sessions, 1);
    expect_take(cache, &to, 1, b, SESSION_HIT);
    report(cache, &to, b, SESSION_USE_RESUMED);
    expect_take(cache, &to, 1, b, SESSION_HIT);
    report(cache, &to, b, SESSION_USE_REFUSED);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    session_cache_free(cache);
}

static void a_failed_handshake_drops_the_session_that_was_offered(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13();
    put(cache, &to, a, 0);
    struct session_offer offer;
    SSL_SESSION *lent = session_cache_take(cache, &to, 1, &offer);
    report(cache, &to, lent, SESSION_USE_FAILED);
    SSL_SESSION_free(lent);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    assert_int_equal(counters_of(cache).failed, 1);
    session_cache_free(cache);
}

static void expires_by_the_shorter_of_timeout_and_lifetime(void **state)
{
    (void)state;
    static const struct {
        uint32_t lifetime_s;
        int64_t expires_ms;
    } rows[] = {{LIFETIME_S, HOUR}, {60, 60000}, {3600, HOUR}, {1, 1000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_cache *cache = make_cache(16, 1);
        struct session_destination to = destination_of(1, "one");
        SSL_SESSION *a = make_session(TLS1_2_VERSION, rows[i].lifetime_s);
        put(cache, &to, a, 500);
        expect_take(cache, &to, 500 + rows[i].expires_ms - 1, a, SESSION_HIT);
        expect_take(cache, &to, 500 + rows[i].expires_ms, NULL, SESSION_MISS_EXPIRED);
        expect_take(cache, &to, 500 + rows[i].expires_ms, NULL, SESSION_MISS_USED_UP);
        assert_int_equal(counters_of(cache).expired, 1);
        assert_int_equal(counters_of(cache).sessions, 0);
        session_cache_free(cache);
    }
}

static void a_session_without_lifetime_or_ticket_is_not_stored(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    put(cache, &to, make_session(TLS1_2_VERSION, 0), 0);
    SSL_SESSION *no_ticket = SSL_SESSION_new(ctx);
    SSL_SESSION_set_timeout(no_ticket, 100);
    put(cache, &to, no_ticket, 0);
    assert_int_equal(counters_of(cache).stored, 0);
    expect_take(cache, &to, 0, NULL, SESSION_MISS_FIRST);
    session_cache_free(cache);
}

static void a_session_ends_with_what_it_was_verified_by(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    struct session_offer offer;
    SSL_SESSION *a = tls12();
    session_cache_put(cache, &to, a, 5000, 0);
    SSL_SESSION *lent = session_cache_take(cache, &to, 4999, &offer);
    assert_ptr_equal(lent, a);
    SSL_SESSION_free(lent);
    assert_int_equal(offer.verified_until_ms, 5000);
    /* What the resumed connection is given ends then, too. */
    session_cache_put(cache, &to, tls12(), offer.verified_until_ms, 4999);
    expect_take(cache, &to, 5000, NULL, SESSION_MISS_EXPIRED);
    session_cache_put(cache, &to, tls12(), 5000, 5000);
    assert_int_equal(counters_of(cache).sessions, 0);
    session_cache_free(cache);
}

static void a_destination_may_have_limits_of_its_own(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    put(cache, &to, a, 0);
    put(cache, &to, b, 0);
    /* Fewer from now on, as after a reload: the newest fit. */
    to.limits = (struct session_limits){.tickets = 2, .timeout_ms = 1000};
    put(cache, &to, c, 500);
    assert_int_equal(counters_of(cache).sessions, 2);
    expect_take(cache, &to, 999, c, SESSION_HIT);
    expect_take(cache, &to, 999, b, SESSION_HIT);
    expect_take(cache, &to, 1000, NULL, SESSION_MISS_EXPIRED);
    to.limits.timeout_ms = HOUR;
    SSL_SESSION *d = tls13();
    put(cache, &to, d, 1000);
    expect_take(cache, &to, 3000, d, SESSION_HIT);
    session_cache_free(cache);
}

/* Offers what there is and is refused. */
static void refuse_once(struct session_cache *cache, const struct session_destination *to,
                        enum session_use use)
{
    struct session_offer offer;
    SSL_SESSION *session = session_cache_take(cache, to, 1, &offer);
    assert_non_null(session);
    report(cache, to, session, use);
    SSL_SESSION_free(session);
}

static void a_destination_that_never_resumes_is_learned_and_retried(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    for (int i = 0; i < SESSION_REFUSALS_MAX; i++) {
        assert_int_equal(counters_of(cache).never_resume, 0);
        put(cache, &to, tls13(), 0);
        put(cache, &to, tls13(), 0);
        refuse_once(cache, &to, SESSION_USE_REFUSED);
    }
    assert_int_equal(counters_of(cache).never_resume, 1);
    assert_int_equal(counters_of(cache).sessions, 0);
    uint64_t stored = counters_of(cache).stored;
    for (int i = 0; i < SESSION_RETRY_EVERY - 1; i++)
        put(cache, &to, tls13(), 0);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    assert_int_equal(counters_of(cache).unwanted, SESSION_RETRY_EVERY - 1);
    assert_int_equal(counters_of(cache).stored, stored);
    put(cache, &to, tls13(), 0);
    refuse_once(cache, &to, SESSION_USE_REFUSED);
    assert_int_equal(counters_of(cache).never_resume, 1);
    for (int i = 0; i < SESSION_RETRY_EVERY; i++)
        put(cache, &to, tls13(), 0);
    refuse_once(cache, &to, SESSION_USE_RESUMED);
    assert_int_equal(counters_of(cache).never_resume, 0);
    put(cache, &to, tls13(), 0);
    assert_int_equal(counters_of(cache).sessions, 1);
    session_cache_free(cache);
}

static void handshakes_broken_by_a_session_are_learned_sooner(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    for (int i = 0; i < SESSION_REFUSALS_MAX / SESSION_FAILURE_WEIGHT; i++) {
        assert_int_equal(counters_of(cache).never_resume, 0);
        put(cache, &to, tls13(), 0);
        refuse_once(cache, &to, SESSION_USE_FAILED);
    }
    assert_int_equal(counters_of(cache).never_resume, 1);
    session_cache_free(cache);
}

static void a_resumption_forgives_earlier_refusals(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    for (int i = 0; i < 3 * SESSION_REFUSALS_MAX; i++) {
        put(cache, &to, tls13(), 0);
        refuse_once(cache, &to, i % 10 == 9 ? SESSION_USE_RESUMED : SESSION_USE_REFUSED);
    }
    assert_int_equal(counters_of(cache).never_resume, 0);
    session_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_newest_tls13_ticket_once_and_lends_the_last_again),
        cmocka_unit_test(a_fresh_ticket_replaces_a_spent_one),
        cmocka_unit_test(a_full_ring_drops_its_oldest),
        cmocka_unit_test(tls12_sessions_are_lent_until_refused_and_only_the_newest_is_kept),
        cmocka_unit_test(a_failed_handshake_drops_the_session_that_was_offered),
        cmocka_unit_test(expires_by_the_shorter_of_timeout_and_lifetime),
        cmocka_unit_test(a_session_without_lifetime_or_ticket_is_not_stored),
        cmocka_unit_test(a_session_ends_with_what_it_was_verified_by),
        cmocka_unit_test(a_destination_may_have_limits_of_its_own),
        cmocka_unit_test(a_destination_that_never_resumes_is_learned_and_retried),
        cmocka_unit_test(handshakes_broken_by_a_session_are_learned_sooner),
        cmocka_unit_test(a_resumption_forgives_earlier_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
