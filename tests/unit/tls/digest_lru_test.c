/* The table under the session cache and the memory of broken hosts. */
#include "tls/digest_lru.h"

#include <string.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { NUM = 100 };

static struct digest_lru_node nodes[NUM];

static void number(struct digest_lru_node *node, unsigned n)
{
    memset(node, 0, sizeof *node);
    memcpy(node->digest, &n, sizeof n);
}

static void finds_what_was_inserted_and_not_what_was_removed(void **state)
{
    (void)state;
    struct digest_lru lru;
    digest_lru_init(&lru, NUM);
    for (unsigned i = 0; i < NUM; i++) {
        number(&nodes[i], i);
        assert_null(digest_lru_find(&lru, nodes[i].digest));
        digest_lru_insert(&lru, &nodes[i]);
    }
    assert_true(digest_lru_is_full(&lru));
    for (unsigned i = 0; i < NUM; i += 2)
        digest_lru_remove(&lru, &nodes[i]);
    assert_int_equal(lru.num, NUM / 2);
    for (unsigned i = 0; i < NUM; i++)
        assert_ptr_equal(digest_lru_find(&lru, nodes[i].digest), i % 2 ? &nodes[i] : NULL);
    digest_lru_fini(&lru);
}

static void the_oldest_is_the_one_not_touched_for_longest(void **state)
{
    (void)state;
    struct digest_lru lru;
    digest_lru_init(&lru, 3);
    for (unsigned i = 0; i < 3; i++) {
        number(&nodes[i], i);
        digest_lru_insert(&lru, &nodes[i]);
    }
    assert_ptr_equal(lru.oldest, &nodes[0]);
    digest_lru_touch(&lru, &nodes[0]);
    assert_ptr_equal(lru.newest, &nodes[0]);
    assert_ptr_equal(lru.oldest, &nodes[1]);
    digest_lru_touch(&lru, &nodes[2]);
    digest_lru_remove(&lru, &nodes[1]);
    assert_ptr_equal(lru.oldest, &nodes[0]);
    assert_ptr_equal(lru.newest, &nodes[2]);
    digest_lru_remove(&lru, &nodes[2]);
    digest_lru_remove(&lru, &nodes[0]);
    assert_null(lru.oldest);
    assert_null(lru.newest);
    digest_lru_fini(&lru);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_inserted_and_not_what_was_removed),
        cmocka_unit_test(the_oldest_is_the_one_not_touched_for_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
