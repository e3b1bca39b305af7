/* Text in columns of a terminal: UTF-8, control characters masked, cut with an ellipsis.
 *
 * Pure; any thread. Widths are those of wcwidth() for what mail shows: combining marks take none,
 * East Asian wide characters two. */
#ifndef SLUICE_ROUTER_TEXT_COLUMNS_H
#define SLUICE_ROUTER_TEXT_COLUMNS_H

#include "base/bytes.h"

/* Exactly `columns` wide when pad, at most so otherwise. What is no printable character becomes
 * "?". */
void text_columns_put(struct buffer *out, struct bytes text, size_t columns, bool pad);

#endif
