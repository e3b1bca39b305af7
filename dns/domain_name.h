/* Names of hosts and domains in A-label form: the syntax that this router sends to a resolver.
 * Pure; any thread. */
#ifndef SLUICE_DNS_DOMAIN_NAME_H
#define SLUICE_DNS_DOMAIN_NAME_H

#include "base/bytes.h"

/* 253 characters of text is what 255 octets on the wire can hold (RFC 1035 2.3.4). */
enum { DOMAIN_NAME_MAX = 253, DOMAIN_LABEL_MAX = 63 };

/* Lower case, without a final dot. false: empty, too long, an empty or too long label, or anything
 * but letters, digits, hyphen and underscore (which receivers do use, against RFC 952). */
bool domain_name_normalise(struct bytes text, char out[DOMAIN_NAME_MAX + 1])
    __attribute__((warn_unused_result));
/* The last label is a number: an IPv4 address that someone wrote where a name belongs. */
bool domain_name_is_numeric(const char *name);
/* "localhost" and what is below it (RFC 6761 6.3). */
bool domain_name_is_localhost(const char *name);
/* Case and one final dot do not matter. */
bool domain_name_equal(const char *a, const char *b);

#endif
