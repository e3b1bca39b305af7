/* Octets as a gzip file (RFC 1952). Pure: the same content always gives the same file. */
#ifndef SLUICE_ROUTER_GZIP_H
#define SLUICE_ROUTER_GZIP_H

#include "base/bytes.h"

/* Appends to out. false: it would exceed out->max. */
bool gzip_pack(struct bytes content, struct buffer *out) __attribute__((warn_unused_result));

#endif
