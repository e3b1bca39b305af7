/* The TXT record _mta-sts.DOMAIN, which says that a domain has an MTA-STS policy and which edition
 * of it (RFC 8461 3.1). Pure, allocates nothing; any thread. */
#ifndef SLUICE_TLS_STS_RECORD_H
#define SLUICE_TLS_STS_RECORD_H

#include "base/bytes.h"

enum { STS_ID_MAX = 32 };

struct sts_record {
    char id[STS_ID_MAX + 1];
};

/* Whether a TXT record claims to be one: others at the same name do not count. */
bool sts_record_is_one(struct bytes text);
/* One record, its strings joined. false: not in the form that RFC 8461 3.1 gives it, and out is
 * untouched. */
bool sts_record_parse(struct bytes text, struct sts_record *out)
    __attribute__((warn_unused_result));

#endif
