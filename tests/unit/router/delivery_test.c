/* Recording what became of a delivery: it comes back, and the allocator is not asked for anything.
 * Without jemalloc (sanitizers) the latter is not looked at. */
#include "router/delivery.h"

#include <stdio.h>
#include <stdlib.h>

/* cmocka.h wants these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
    __attribute__((weak));

enum { RECIPIENTS = 100, ROUNDS = 50 };

/* Octets that this thread has ever asked for. */
static uint64_t asked_for(void)
{
    uint64_t num = 0;
    size_t len = sizeof num;
    if (mallctl)
        assert_int_equal(mallctl("thread.allocated", &num, &len, NULL, 0), 0);
    return num;
}

static void count_delivered(void *ctx, const struct journal_message *message)
{
    for (uint32_t i = 0; i < message->num_recipients; i++)
        *(unsigned *)ctx += message->recipients[i].status == RECIPIENT_DELIVERED;
}

static struct journal *open_journal(const struct spool *spool, unsigned *delivered)
{
    const struct journal_options options = {.sync = false};
    char why[SPOOL_WHY_MAX];
    struct journal *journal = journal_open(spool, &options, count_delivered, delivered, why);
    assert_non_null(journal);
    return journal;
}

/* The outcomes of one reply to all recipients, as after the final dot. */
static struct delivery *make_delivery(struct message *message, uint32_t num_recipients)
{
    struct delivery *delivery = delivery_new(message, num_recipients);
    delivery->attempt = 1;
    snprintf(delivery->trace.mx, sizeof delivery->trace.mx, "mx1.receiver.example.net");
    for (uint32_t i = 0; i < num_recipients; i++) {
        struct delivery_recipient *recipient = &delivery->recipients[i];
        recipient->index = i;
        recipient->outcome = (struct outcome){.kind = OUTCOME_DELIVERED,
                                              .phase = PHASE_FINAL,
                                              .code = 250,
                                              .enhanced = {2, 0, 0},
                                              .text = "2.0.0 Ok: queued as 4bXk1y2Qz3z1234"};
    }
    return delivery;
}

static void recording_allocates_nothing(void **state)
{
    char root[] = "/tmp/delivery-test-XXXXXX", command[64], why[SPOOL_WHY_MAX];
    struct message message = {.path = (char *)"new/1732444800.M123456P4242.example"};
    struct spool spool;
    unsigned delivered = 0;
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_true(spool_open(&spool, root, true, why));
    struct journal *journal = open_journal(&spool, &delivered);
    struct delivery *one = make_delivery(&message, 1), *many = make_delivery(&message, RECIPIENTS);
    uint64_t before = asked_for();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        message.id = 2 * round + 1;
        assert_true(delivery_record(one, journal));
        message.id++;
        assert_true(delivery_record(many, journal));
    }
    assert_int_equal(asked_for(), before);
    delivery_free(one);
    delivery_free(many);
    journal_close(journal);
    journal_close(open_journal(&spool, &delivered));
    assert_int_equal(delivered, ROUNDS * (1 + RECIPIENTS));
    spool_close(&spool);
    snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
}

static bool keeps_content(bool is_only, enum outcome_kind second)
{
    struct message message = {.id = 1};
    struct delivery *delivery = make_delivery(&message, 2);
    message.content.file = bytes_make(malloc(10), 10);
    delivery->is_only = is_only;
    delivery->recipients[1].outcome.kind = (uint8_t)second;
    delivery_drop_content(delivery);
    bool keeps = message.content.file.at != NULL;
    delivery_free(delivery);
    content_fini(&message.content);
    return keeps;
}

static void content_is_kept_for_whoever_may_send_or_return_it(void **state)
{
    (void)state;
    assert_false(keeps_content(true, OUTCOME_DELIVERED));
    assert_true(keeps_content(false, OUTCOME_DELIVERED));
    assert_true(keeps_content(true, OUTCOME_BOUNCED));
    assert_true(keeps_content(true, OUTCOME_DEFERRED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recording_allocates_nothing),
        cmocka_unit_test(content_is_kept_for_whoever_may_send_or_return_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
