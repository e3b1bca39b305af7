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
/* The fault that is due at this stage, or NULL; it is counted as done. address: of MAIL and RCPT.
 */
const struct fault *session_fault_at(struct session *session, enum fault_stage stage,
                                     struct bytes address);
/* The line that a fault puts in the place of what would happen, or NULL. */
const char *session_fault_reply(struct session *session, const struct fault *fault);
/* Whether the client never sees the reply. */
bool session_fault_hides_reply(const struct fault *fault);
/* fault may be NULL. replies_at: length of the replies before those that it concerns. */
void session_fault_apply(struct session *session, const struct fault *fault, size_t replies_at);

/* A BDAT chunk is complete. */
void session_chunk_end(struct session *session);

#endif
