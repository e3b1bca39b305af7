/* The memory of hosts whose TLS is broken. */
#include "tls/broken_hosts.h"

#include <stdio.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { LIFETIME = 10000 };

static void a_series_keeps_its_first_instant_until_a_success(void **state)
{
    (void)state;
    struct tls_broken_hosts *hosts = tls_broken_hosts_new(8, LIFETIME);
    assert_int_equal(tls_broken_hosts_since(hosts, "192.0.2.1:25", 5), 0);
    tls_broken_hosts_failed(hosts, "192.0.2.1:25", 100);
    tls_broken_hosts_failed(hosts, "192.0.2.1:25", 200);
    assert_int_equal(tls_broken_hosts_since(hosts, "192.0.2.1:25", 300), 100);
    assert_int_equal(tls_broken_hosts_since(hosts, "192.0.2.1:26", 300), 0);
    tls_broken_hosts_succeeded(hosts, "192.0.2.1:25");
    assert_int_equal(tls_broken_hosts_since(hosts, "192.0.2.1:25", 300), 0);
    tls_broken_hosts_succeeded(hosts, "192.0.2.1:25");
    tls_broken_hosts_failed(hosts, "192.0.2.1:25", 400);
    assert_int_equal(tls_broken_hosts_since(hosts, "192.0.2.1:25", 401), 400);
    tls_broken_hosts_free(hosts);
}

static void a_failure_at_instant_zero_is_still_one(void **state)
{
    (void)state;
    struct tls_broken_hosts *hosts = tls_broken_hosts_new(8, LIFETIME);
    tls_broken_hosts_failed(hosts, "a", 0);
    assert_true(tls_broken_hosts_since(hosts, "a", 1) != 0);
    tls_broken_hosts_free(hosts);
}

static void is_forgotten_a_lifetime_after_the_last_failure(void **state)
{
    (void)state;
    struct tls_broken_hosts *hosts = tls_broken_hosts_new(8, LIFETIME);
    tls_broken_hosts_failed(hosts, "a", 100);
    tls_broken_hosts_failed(hosts, "a", 5000);
    assert_int_equal(tls_broken_hosts_since(hosts, "a", 5000 + LIFETIME - 1), 100);
    assert_int_equal(tls_broken_hosts_since(hosts, "a", 5000 + LIFETIME), 0);
    tls_broken_hosts_failed(hosts, "a", 20000);
    assert_int_equal(tls_broken_hosts_since(hosts, "a", 20001), 20000);
    tls_broken_hosts_free(hosts);
}

static void when_full_the_host_that_failed_longest_ago_goes(void **state)
{
    (void)state;
    struct tls_broken_hosts *hosts = tls_broken_hosts_new(2, LIFETIME);
    tls_broken_hosts_failed(hosts, "a", 1);
    tls_broken_hosts_failed(hosts, "b", 2);
    tls_broken_hosts_failed(hosts, "a", 3);
    tls_broken_hosts_failed(hosts, "c", 4);
    assert_int_equal(tls_broken_hosts_since(hosts, "a", 5), 1);
    assert_int_equal(tls_broken_hosts_since(hosts, "b", 5), 0);
    assert_int_equal(tls_broken_hosts_since(hosts, "c", 5), 4);
    char key[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "host%d", i);
        tls_broken_hosts_failed(hosts, key, 10 + i);
        if (i % 3 == 0)
            tls_broken_hosts_succeeded(hosts, key);
    }
    assert_int_equal(tls_broken_hosts_since(hosts, "a", 1010), 0);
    tls_broken_hosts_free(hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_series_keeps_its_first_instant_until_a_success),
        cmocka_unit_test(a_failure_at_instant_zero_is_still_one),
        cmocka_unit_test(is_forgotten_a_lifetime_after_the_last_failure),
        cmocka_unit_test(when_full_the_host_that_failed_longest_ago_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
