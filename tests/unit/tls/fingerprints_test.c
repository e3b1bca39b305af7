/* The memory of evicted destinations and known labels. */
#include "tests/unit/cmocka_prelude.h"
#include "tls/fingerprints.h"

#include <stdio.h>

static struct bytes name_of(unsigned n, char out[32])
{
    return bytes_make(out, (size_t)snprintf(out, 32, "mx%u.example", n));
}

static void has_what_was_added_and_not_what_was_removed(void **state)
{
    (void)state;
    struct fingerprints prints;
    char name[32];
    fingerprints_init(&prints, 1 << 16);
    for (unsigned n = 0; n < 10; n++)
        fingerprints_add(&prints, name_of(n, name));
    fingerprints_remove(&prints, name_of(3, name));
    fingerprints_remove(&prints, name_of(77, name));
    unsigned num = 0;
    for (unsigned n = 0; n < 1000; n++)
        num += fingerprints_have(&prints, name_of(n, name));
    assert_in_range(num, 7, 9); /* two of the ten may share a place */
    assert_false(fingerprints_have(&prints, name_of(3, name)));
    fingerprints_fini(&prints);
}

static void the_last_one_in_a_place_is_remembered(void **state)
{
    (void)state;
    struct fingerprints prints;
    fingerprints_init(&prints, 0);
    assert_false(fingerprints_have(&prints, bytes_of("")));
    fingerprints_add(&prints, bytes_of("a"));
    fingerprints_add(&prints, bytes_of("b"));
    assert_false(fingerprints_have(&prints, bytes_of("a")));
    assert_true(fingerprints_have(&prints, bytes_of("b")));
    fingerprints_remove(&prints, bytes_of("a"));
    assert_true(fingerprints_have(&prints, bytes_of("b")));
    fingerprints_fini(&prints);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_what_was_added_and_not_what_was_removed),
        cmocka_unit_test(the_last_one_in_a_place_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
