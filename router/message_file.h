/* A message's file as subcommands see it: identity and envelope, without its content.
 * One thread; reads only. */
#ifndef SLUICE_ROUTER_MESSAGE_FILE_H
#define SLUICE_ROUTER_MESSAGE_FILE_H

#include "queue/envelope.h"
#include "queue/spool.h"
#include "router/config.h"

struct message_file {
    struct file_identity identity;
    bool has_envelope;        /* false: none can be read from it, why says the reason */
    struct envelope envelope; /* owned, if has_envelope */
    char why[ENVELOPE_WHY_MAX];
};

/* 0 or -errno, as spool_open_message(). */
int message_file_read(const struct spool *spool, const struct config *config, const char *path,
                      struct message_file *out) __attribute__((warn_unused_result));
void message_file_fini(struct message_file *file);

#endif
