/* Cuts the stream into command lines, content up to the final dot, and BDAT chunks.
 * What the commands mean is in session_commands.c. */
#include "bench/sink/session.h"

#include "base/memory.h"
#include "bench/sink/session_internal.h"

enum { RECIPIENTS_BUFFER_MAX = SESSION_RCPT_MAX * (SESSION_PATH_MAX + 1) };

void session_init(struct session *session, struct sink *sink, struct listener *listener,
                  struct counters *counters, const struct sockaddr *peer)
{
    *session = (struct session){
        .sink = sink, .listener = listener, .counters = counters, .peer = peer, .file = {.fd = -1}};
    buffer_init(&session->recipients, RECIPIENTS_BUFFER_MAX);
    buffer_init(&session->unreplied, SIZE_MAX);
    buffer_init(&session->rcpt_lines, RECIPIENTS_BUFFER_MAX);
}

void session_fini(struct session *session)
{
    session_reset(session);
    buffer_fini(&session->recipients);
    buffer_fini(&session->unreplied);
    buffer_fini(&session->rcpt_lines);
}

void session_greet(struct session *session, struct buffer *out)
{
    const struct personality *p = session->listener->personality;
    unsigned open = atomic_load(&session->listener->open_connections);
    session->out = out;
    if (p->connections && open > p->connections) {
        counters_add(session->counters, COUNT_TURNED_AWAY, 1);
        session_reply(session, "421 4.7.0 Too many connections\r\n");
        session->want = SESSION_CLOSE;
    } else {
        const struct fault *fault = session_fault_at(session, FAULT_BANNER, bytes_of(""));
        const char *line = session_fault_reply(session, fault);
        if (line)
            session_reply(session, line);
        else
            buffer_printf(out, "220 %s %s sluice-sink\r\n", p->name, p->lmtp ? "LMTP" : "ESMTP");
        session_fault_apply(session, fault, 0);
    }
    session->out = NULL;
}

void session_tls_started(struct session *session, bool resumed, const char *version,
                         const char *cipher)
{
    session_reset(session);
    session->want = SESSION_READ;
    session->greeted = false;
    session->helo[0] = '\0';
    session->security = resumed ? SESSION_TLS_RESUMED : SESSION_TLS_FULL;
    session->tls_version = version;
    session->tls_cipher = cipher;
}

static size_t step_command(struct session *session, struct bytes in)
{
    size_t end = bytes_find(in, '\n');
    if (end == in.len) {
        if (in.len < SESSION_LINE_MAX && !session->skipping)
            return 0;
        session->skipping = true;
        return in.len;
    }
    session->more_follows = end + 1 < in.len;
    if (session->skipping || end >= SESSION_LINE_MAX) {
        session->skipping = false;
        session_reply(session, "500 5.5.2 Line too long\r\n");
    } else if (end == 0 || in.at[end - 1] != '\r') {
        /* A bare LF ends no line (RFC 5321 2.3.8); to take it for one invites smuggling. */
        session_reply(session, "500 5.5.2 Lines end with CRLF\r\n");
    } else {
        session_command(session, bytes_first(in, end - 1));
    }
    return end + 1;
}

/* How many octets at the end may be the beginning of CRLF.CRLF and must wait for more. */
static size_t held_back(struct bytes in)
{
    static const char terminator[] = "\r\n.\r\n";
    size_t most = in.len < 4 ? in.len : 4;
    for (size_t len = most; len > 0; len--) {
        if (memcmp(in.at + in.len - len, terminator, len) == 0)
            return len;
    }
    return 0;
}

/* An empty content: the dot is the first line (RFC 5321 4.1.1.4). */
static bool begins_with_final_dot(struct bytes in, bool *out_undecided)
{
    size_t len = in.len < 3 ? in.len : 3;
    bool matches = memcmp(in.at, ".\r\n", len) == 0;
    *out_undecided = matches && len < 3;
    return matches && len == 3;
}

static size_t step_data(struct session *session, struct bytes in)
{
    if (session->at_line_start) {
        bool undecided;
        if (begins_with_final_dot(in, &undecided)) {
            session_content_end(session);
            return 3;
        }
        if (undecided)
            return 0;
    }
    const uint8_t *end = memmem(in.at, in.len, "\r\n.\r\n", 5);
    size_t len = end ? (size_t)(end - in.at) + 2 : in.len - held_back(in);
    if (len > 0) {
        session_content(session, bytes_first(in, len));
        session->at_line_start = false;
    }
    if (!end || session->want != SESSION_READ)
        return len;
    session_content_end(session);
    return len + 3;
}

void session_chunk_end(struct session *session)
{
    session->phase = PHASE_COMMAND;
    if (session->chunk_refused) {
        session_reply(session, "503 5.5.1 No transaction for this chunk\r\n");
    } else if (session->chunk_last) {
        session_content_end(session);
    } else if (session->too_big) {
        session_reply(session, "552 5.3.4 Message too big\r\n");
        session_reset(session);
    } else {
        session_reply(session, "250 2.0.0 Ok\r\n");
    }
}

static size_t step_chunk(struct session *session, struct bytes in)
{
    size_t len = in.len < session->chunk_left ? in.len : (size_t)session->chunk_left;
    if (!session->chunk_refused)
        session_content(session, bytes_first(in, len));
    session->chunk_left -= len;
    if (session->chunk_left == 0 && session->want == SESSION_READ)
        session_chunk_end(session);
    return len;
}

static size_t step(struct session *session, struct bytes in)
{
    switch (session->phase) {
    case PHASE_COMMAND:
        return step_command(session, in);
    case PHASE_DATA:
        return step_data(session, in);
    case PHASE_CHUNK:
        break;
    }
    return step_chunk(session, in);
}

size_t session_input(struct session *session, struct bytes in, struct buffer *out)
{
    size_t pos = 0;
    session->out = out;
    while (pos < in.len && session->want == SESSION_READ) {
        size_t used = step(session, bytes_from(in, pos));
        if (used == 0)
            break;
        pos += used;
    }
    session->out = NULL;
    return pos;
}
