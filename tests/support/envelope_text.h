/* Parses a file's text to its envelope, or expects it to be refused, for the tests of envelopes. */
#ifndef SLUICE_TESTS_SUPPORT_ENVELOPE_TEXT_H
#define SLUICE_TESTS_SUPPORT_ENVELOPE_TEXT_H

#include "queue/envelope.h"
#include "tests/unit/cmocka_prelude.h"

#include <cmocka.h>
#include <string.h>

#define BLOCK "X-Sender: s@a.example\nX-Receiver: r@b.example\n"
#define ROWS(rows) (sizeof(rows) / sizeof *(rows))

static const struct envelope_limits limits = {.max_recipients = 1000};

static inline struct envelope parse(const char *file)
{
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    if (!envelope_parse(bytes_of(file), &limits, &envelope, why))
        fail_msg("%s: %s", file, why);
    return envelope;
}

static inline void assert_refused(const char *file, const char *expected_why)
{
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    if (envelope_parse(bytes_of(file), &limits, &envelope, why))
        fail_msg("taken: %s", file);
    if (!strstr(why, expected_why))
        fail_msg("%s: %s", file, why);
    assert_null(strchr(why, '\n'));
}

#endif
