/* The words for operations on messages and for how they ended, in commands, requests and answers.
 * Pure; any thread. */
#ifndef SLUICE_ROUTER_QUEUE_WORDS_H
#define SLUICE_ROUTER_QUEUE_WORDS_H

#include "router/dispatcher.h"

enum { QUEUE_IDS_MAX = 256 /* in one request */ };

/* "hold", "release", "retry", "remove"; QUEUE_NO_OPERATION for anything else and for NULL. */
enum queue_operation queue_operation_of(const char *word);
/* "done", "unknown", "busy", "held already", "not held", "ended", "replaced",
 * "failed". */
const char *queue_answer_name(enum queue_answer answer);

#endif
