/* Between session.c (framing), session_commands.c and session_content.c. */
#ifndef SLUICE_BENCH_SINK_SESSION_INTERNAL_H
#define SLUICE_BENCH_SINK_SESSION_INTERNAL_H

#include "bench/sink/session.h"

static inline void session_reply(struct session *session, const char *line)
{
    buffer_append_str(session->out, line);
}

/* line without its CRLF. */
void session_command(struct session *session, struct bytes line);
/* Forgets the transaction. */
void session_reset(struct session *session);

void session_content_begin(struct session *session);
/* A piece of content as it came over the wire: stuffed when phase is PHASE_DATA, and then never cut
 * between CRLF and a dot. */
void session_content(struct session *session, struct bytes piece);
/* The whole content is there: accepts or refuses it and ends the transaction. */
void session_content_end(struct session *session);
/* A BDAT chunk is complete. */
void session_chunk_end(struct session *session);

#endif
