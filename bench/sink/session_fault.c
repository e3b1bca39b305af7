/* Faults at work: which one is due, and what it does to the replies and the connection.
 * A fault comes after what it disturbs has taken effect: with "final:close" the mail is accepted
 * and counted. Only "reply" comes instead. */
#include "bench/sink/session_internal.h"

#include <stdio.h>

static bool fits(const struct session *session, const struct fault *fault, struct bytes address)
{
    if (!fault->pattern)
        return true;
    if (fault->stage < FAULT_DATA)
        return fault_pattern_fits(fault->pattern, address);
    const char *recipient = (const char *)session->recipients.at;
    for (unsigned i = 0; i < session->num_recipients; i++, recipient += strlen(recipient) + 1) {
        if (fault_pattern_fits(fault->pattern, bytes_of(recipient)))
            return true;
    }
    return false;
}

const struct fault *session_fault_at(struct session *session, enum fault_stage stage,
                                     struct bytes address)
{
    const struct faults *faults = &session->listener->personality->faults;
    for (size_t i = 0; i < faults->num; i++) {
        const struct fault *fault = &faults->at[i];
        if (fault->stage != stage || !fits(session, fault, address))
            continue;
        unsigned before = atomic_fetch_add(&session->listener->faults_due[i], 1);
        if (before < fault->after || (fault->times && before - fault->after >= fault->times))
            continue;
        counters_add(session->counters, COUNT_FAULTS, 1);
        return fault;
    }
    return NULL;
}

const char *session_fault_reply(struct session *session, const struct fault *fault)
{
    if (!fault || fault->action != FAULT_REPLY)
        return NULL;
    snprintf(session->fault_line, sizeof session->fault_line, "%u %u.3.0 Fault by personality\r\n",
             fault->number, fault->number / 100);
    if (fault->number == 421)
        session->want = SESSION_CLOSE;
    return session->fault_line;
}

/* Octets that are no reply in any language, and a line end, so that the client looks at them. */
static void append_garbage(struct buffer *out, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        buffer_append_byte(out, (uint8_t)(0x80 + i % 0x80));
    buffer_append_str(out, "\r\n");
}

bool session_fault_hides_reply(const struct fault *fault)
{
    return fault && (fault->action == FAULT_STALL || fault->action == FAULT_CLOSE ||
                     fault->action == FAULT_RESET || fault->action == FAULT_GARBAGE);
}

void session_fault_apply(struct session *session, const struct fault *fault, size_t replies_at)
{
    if (!fault)
        return;
    /* What was said before, to commands of the same flight, still leaves. */
    if (session_fault_hides_reply(fault) && session->out->len > replies_at)
        session->out->len = replies_at;
    switch (fault->action) {
    case FAULT_DELAY:
        session->hold_ms = fault->number;
        break;
    case FAULT_SPLIT:
        session->split_ms = fault->number;
        break;
    case FAULT_STALL:
        session->want = SESSION_STALL;
        break;
    case FAULT_CLOSE:
        session->want = SESSION_CLOSE;
        break;
    case FAULT_RESET:
        session->want = SESSION_RESET;
        break;
    case FAULT_GARBAGE:
        append_garbage(session->out, fault->number);
        break;
    case FAULT_INJECT:
        session_reply(session, "250 2.0.0 Injected\r\n");
        break;
    case FAULT_REPLY:
        break;
    }
}
