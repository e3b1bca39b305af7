/* What the files share that make one DSN. Private to queue/dsn*.c. */
#ifndef SLUICE_QUEUE_DSN_COMPOSER_H
#define SLUICE_QUEUE_DSN_COMPOSER_H

#include "queue/dsn.h"
#include "queue/queue_id.h"

struct composer {
    const struct dsn_request *request; /* borrowed */
    struct buffer *out;                /* borrowed */
    bool global;                       /* RFC 6533 */
    bool is_8bit;                      /* some part of it */
    size_t num_of[NUM_DSN_ACTIONS];
    char id[QUEUE_ID_LEN + 1];
    char boundary[64];
};

/* dsn.c */
/* A stranger's text within one line, cut at a character boundary. */
void dsn_put_text(struct composer *c, const char *text);
/* "550 5.1.1 text", as far as there is a code, an enhanced code, a text. */
void dsn_put_reply(struct composer *c, const struct outcome *outcome);
void dsn_begin_part(struct composer *c, const char *description, const char *type,
                    const char *encoding);
/* dsn_text.c: the part for people, and the subject. */
const char *dsn_subject(const struct composer *c);
void dsn_put_human_part(struct composer *c);
/* dsn_quote.c: the original. */
void dsn_put_original_part(struct composer *c);

#endif
