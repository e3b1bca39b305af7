/* What cmocka.h needs to be included first, in an order that no formatter may change. */
#ifndef SLUICE_TESTS_CMOCKA_PRELUDE_H
#define SLUICE_TESTS_CMOCKA_PRELUDE_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
