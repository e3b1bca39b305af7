/* The form that policy records in TXT share (RFC 8460 3, RFC 8461 3.1): a version, then fields
 * "name=value" with semicolons between them. Pure, allocates nothing; any thread. */
#ifndef SLUICE_TLS_TXT_RECORD_H
#define SLUICE_TLS_TXT_RECORD_H

#include "base/bytes.h"

/* *WSP ";" *WSP at the beginning of *text, which it consumes. */
bool txt_record_take_delimiter(struct bytes *text);
/* Whether text begins with the version and a delimiter; *rest is what stands behind the version. */
bool txt_record_has_version(struct bytes text, const char *version, struct bytes *rest);
/* A field's name and its "=", which it consumes. false: none of the form. */
bool txt_record_take_name(struct bytes *text, struct bytes *out_name);
/* The value of a field that is not known: one or more visible octets but "=" and ";". */
bool txt_record_take_value(struct bytes *text, struct bytes *out_value);

#endif
