/* Values as people write them in the configuration: durations, sizes, numbers, truth.
 *
 * Pure; any thread. Each parser takes the whole text or refuses it, and never overflows. */
#ifndef SLUICE_ROUTER_CONFIG_UNITS_H
#define SLUICE_ROUTER_CONFIG_UNITS_H

#include "base/bytes.h"

/* "250ms" "30s" "5m" "1h" "5d" "2w"; "0" needs no unit. */
bool config_parse_duration(struct bytes text, int64_t *out_ms) __attribute__((warn_unused_result));
/* Octets: "4096" "64K" "100M" "2G" "1T"; K is 1024. */
bool config_parse_size(struct bytes text, uint64_t *out_len) __attribute__((warn_unused_result));
/* true, yes, on; false, no, off. */
bool config_parse_truth(struct bytes text, bool *out) __attribute__((warn_unused_result));

/* In the largest unit that needs no fraction; the parsers read it back to the same value. */
void config_format_duration(int64_t duration_ms, struct buffer *out);
void config_format_size(uint64_t len, struct buffer *out);

#endif
