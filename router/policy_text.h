/* TLS policies in the words in which their owners published them: for reports and for people.
 * Pure; any thread. */
#ifndef SLUICE_ROUTER_POLICY_TEXT_H
#define SLUICE_ROUTER_POLICY_TEXT_H

#include "base/bytes.h"
#include "dns/tlsa.h"
#include "tls/sts_policy.h"

enum { POLICY_TEXT_TLSA_MAX = 64 /* octets of data shown: a full certificate is cut */ };

/* "3 1 1 HEX", by RFC 6698 2.2. */
void policy_text_tlsa(struct buffer *out, const struct tlsa_record *record);
/* The lines of the policy (RFC 8460 4.4), and into patterns its mx hosts; newlines between. */
void policy_text_sts(struct buffer *out, struct buffer *patterns, const struct sts_policy *sts);
/* What is in text as a string, also when not all of it fitted; borrowed until text changes. */
const char *policy_text_string(struct buffer *text);

#endif
