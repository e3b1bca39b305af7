/* The form that policy records in TXT share (RFC 8460 3, RFC 8461 3.1): a version, then fields
 * "name=value" with semicolons between them. Pure, allocates nothing; any thread. */
#ifndef SLUICE_TLS_TXT_RECORD_H
#define SLUICE_TLS_TXT_RECORD_H

#include "dns/answer.h"

/* *WSP ";" *WSP at the beginning of *text, which it consumes. */
bool txt_record_take_delimiter(struct bytes *text);
/* Whether text begins with the version and a delimiter; *rest is what stands behind the version. */
bool txt_record_has_version(struct bytes text, const char *version, struct bytes *rest);
/* A field's name and its "=", which it consumes. false: none of the form. */
bool txt_record_take_name(struct bytes *text, struct bytes *out_name);
/* The value of a field that is not known: one or more visible octets but "=" and ";". */
bool txt_record_take_value(struct bytes *text, struct bytes *out_value);
/* Of a name's TXT records only one may claim to be of a kind, as is_one() tells: that one, or NULL
 * with how many there are in *out_num. */
const struct answer_record *txt_record_only(const struct answer *answer,
                                            bool (*is_one)(struct bytes text), unsigned *out_num);

#endif
