/* UTF-8 as RFC 3629 defines it. Pure; any thread. */
#ifndef SLUICE_QUEUE_UTF8_H
#define SLUICE_QUEUE_UTF8_H

#include "base/bytes.h"

/* Some octet has its high bit set. */
bool utf8_has_high_bit(struct bytes text);
/* No overlong form, no surrogate, nothing above U+10FFFF, nothing cut short. */
bool utf8_is_valid(struct bytes text);

#endif
