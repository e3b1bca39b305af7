/* The table of fates: which reply or trouble, in which phase, leads to which outcome.
 * It does not decide what a session does next, nor when a deferred recipient is tried again. */
#include "router/outcome_table.h"

#include "base/check.h"

#include <errno.h>
#include <stdio.h>

struct phase_row {
    uint8_t success; /* the first digit hoped for; 0: no reply belongs to this phase */
    bool
        refusal_is_final; /* 5xx bounces; else it is the host's word and the next host may differ */
    const char *waiting;  /* for people: "connection lost ..." */
};

static const struct phase_row phases[] = {
    [PHASE_QUEUE] = {0, false, "in the queue"},
    [PHASE_ROUTE] = {0, false, "while looking up the route"},
    [PHASE_CONNECT] = {0, false, "while connecting"},
    [PHASE_BANNER] = {2, false, "while waiting for the greeting"},
    [PHASE_EHLO] = {2, false, "while waiting for the reply to EHLO"},
    [PHASE_STARTTLS] = {2, false, "while waiting for the reply to STARTTLS"},
    [PHASE_TLS] = {0, false, "in the TLS handshake"},
    [PHASE_AUTH] = {2, false, "while waiting for the reply to AUTH"},
    [PHASE_MAIL] = {2, true, "while waiting for the reply to MAIL"},
    [PHASE_RCPT] = {2, true, "while waiting for the reply to RCPT"},
    [PHASE_DATA] = {3, true, "while waiting for the reply to DATA"},
    [PHASE_CONTENT] = {0, true, "while sending the content"},
    [PHASE_FINAL] = {2, true, "after the final dot, before its reply"},
};

enum { ANY_PHASE = 255 };

/* RFC 3463 subject and detail where a reply brings none that agrees with it; the first match. */
static const struct {
    uint16_t code;
    uint8_t phase;
    uint8_t subject, detail;
} enhanced_defaults[] = {
    {421, ANY_PHASE, 3, 2},  {450, PHASE_RCPT, 2, 0},   {451, ANY_PHASE, 3, 0},
    {452, ANY_PHASE, 3, 1},  {455, ANY_PHASE, 5, 4},    {500, ANY_PHASE, 5, 2},
    {501, PHASE_MAIL, 1, 7}, {501, PHASE_RCPT, 1, 3},   {501, ANY_PHASE, 5, 4},
    {502, ANY_PHASE, 5, 1},  {503, ANY_PHASE, 5, 1},    {504, ANY_PHASE, 5, 4},
    {521, ANY_PHASE, 3, 2},  {530, ANY_PHASE, 7, 0},    {454, PHASE_AUTH, 7, 0},
    {534, ANY_PHASE, 7, 9},  {535, ANY_PHASE, 7, 8},    {538, ANY_PHASE, 7, 11},
    {550, PHASE_RCPT, 1, 1}, {550, ANY_PHASE, 7, 1},    {551, ANY_PHASE, 1, 6},
    {552, PHASE_RCPT, 2, 2}, {552, ANY_PHASE, 3, 4},    {553, PHASE_MAIL, 1, 7},
    {553, PHASE_RCPT, 1, 3}, {554, PHASE_BANNER, 3, 2}, {555, ANY_PHASE, 5, 4},
    {556, ANY_PHASE, 1, 10},
};

struct trouble_row {
    uint8_t kind;
    uint8_t blame;
    bool hides_reply; /* in PHASE_FINAL the peer may have accepted: in doubt */
    bool names_phase; /* the text says where it happened */
    uint8_t subject, detail;
    const char *text;
};

static const struct trouble_row troubles[NUM_TROUBLES] = {
    [TROUBLE_CONNECT_REFUSED] = {OUTCOME_DEFERRED, BLAME_HOST, true, false, 4, 1,
                                 "connection refused"},
    [TROUBLE_CONNECT_TIMEOUT] = {OUTCOME_DEFERRED, BLAME_HOST, true, false, 4, 1,
                                 "connection timed out"},
    [TROUBLE_CONNECT_FAILED] = {OUTCOME_DEFERRED, BLAME_HOST, true, false, 4, 1,
                                "connection failed"},
    [TROUBLE_TIMEOUT] = {OUTCOME_DEFERRED, BLAME_HOST, true, true, 4, 2, "timed out"},
    [TROUBLE_LOST] = {OUTCOME_DEFERRED, BLAME_HOST, true, true, 4, 2, "connection lost"},
    [TROUBLE_BROKEN_REPLY] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, true, 5, 0, "protocol error"},
    [TROUBLE_INJECTION] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 0,
                           "plaintext followed the reply to STARTTLS"},
    [TROUBLE_TLS_NOT_OFFERED] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 4,
                                 "TLS is required and STARTTLS is not offered"},
    [TROUBLE_TLS_FAILED] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 5,
                            "TLS handshake failed"},
    [TROUBLE_TLS_POLICY] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 5, "TLS policy"},
    [TROUBLE_NO_REQUIRETLS] = {OUTCOME_BOUNCED, BLAME_US, false, false, 7, 30,
                               "REQUIRETLS support required"},
    [TROUBLE_REQUIRETLS_FAILED] = {OUTCOME_BOUNCED, BLAME_US, false, false, 7, 10,
                                   "the message requires TLS"},
    [TROUBLE_AUTH_UNPROTECTED] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 11,
                                  "AUTH is not allowed here"},
    [TROUBLE_AUTH_NOT_OFFERED] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 4,
                                  "no mechanism for AUTH that is offered may be used"},
    [TROUBLE_AUTH_FAILED] = {OUTCOME_DEFERRED, BLAME_PROTOCOL, true, false, 7, 0, "AUTH failed"},
    [TROUBLE_NO_SMTPUTF8] = {OUTCOME_BOUNCED, BLAME_US, false, false, 6, 7,
                             "the message needs SMTPUTF8, which is not offered"},
    [TROUBLE_TOO_LARGE] = {OUTCOME_BOUNCED, BLAME_US, false, false, 3, 4,
                           "the message is larger than the receiver's limit"},
    [TROUBLE_FILE_GONE] = {OUTCOME_DEFERRED, BLAME_US, false, false, 3, 0,
                           "the message's file is gone"},
    [TROUBLE_FILE_CHANGED] = {OUTCOME_DEFERRED, BLAME_US, false, false, 3, 0,
                              "the message's file has changed"},
    [TROUBLE_FILE_READ] = {OUTCOME_DEFERRED, BLAME_US, false, false, 3, 0,
                           "the message's file cannot be read"},
    [TROUBLE_NOT_RECORDED] = {OUTCOME_RETURNED, BLAME_US, true, false, 3, 0,
                              "the attempt cannot be recorded in the journal"},
    [TROUBLE_SHUTDOWN] = {OUTCOME_RETURNED, BLAME_US, true, false, 3, 2, "shutting down"},
    [TROUBLE_LONG_LINES] = {OUTCOME_BOUNCED, BLAME_US, false, false, 6, 0,
                            "the content has lines of more than 998 octets"},
    [TROUBLE_LOOP] = {OUTCOME_BOUNCED, BLAME_US, false, false, 4, 6, "mail loop"},
    [TROUBLE_EXPIRED] = {OUTCOME_BOUNCED, BLAME_US, false, false, 4, 7, "delivery time expired"},
    [TROUBLE_NO_VIA] = {OUTCOME_DEFERRED, BLAME_US, false, false, 3, 5,
                        "no next hop is configured for X-Sluice-Via"},
    [TROUBLE_BAD_ADDRESS] = {OUTCOME_BOUNCED, BLAME_US, false, false, 1, 3,
                             "the address cannot be written in an SMTP command"},
};

static void append_text(struct outcome *outcome, const char *text)
{
    size_t len = strlen(outcome->text);
    (void)smtp_text_append(outcome->text, sizeof outcome->text, &len, bytes_of(text));
}

static void set_enhanced(struct outcome *outcome, uint8_t subject, uint8_t detail)
{
    outcome->enhanced[0] = outcome->kind == OUTCOME_DELIVERED ? 2
                           : outcome->kind == OUTCOME_BOUNCED ? 5
                                                              : 4;
    outcome->enhanced[1] = subject;
    outcome->enhanced[2] = detail;
}

static void set_default_enhanced(struct outcome *outcome)
{
    for (size_t i = 0; i < sizeof enhanced_defaults / sizeof *enhanced_defaults; i++) {
        if (enhanced_defaults[i].code != outcome->code)
            continue;
        if (enhanced_defaults[i].phase != ANY_PHASE && enhanced_defaults[i].phase != outcome->phase)
            continue;
        set_enhanced(outcome, enhanced_defaults[i].subject, enhanced_defaults[i].detail);
        return;
    }
    set_enhanced(outcome, 0, 0);
}

/* What a reply of the class that nobody hoped for makes of a recipient. */
static enum outcome_kind refusal_kind(enum outcome_phase phase, unsigned class)
{
    return class == 5 && phases[phase].refusal_is_final ? OUTCOME_BOUNCED : OUTCOME_DEFERRED;
}

struct outcome outcome_from_reply(enum outcome_phase phase, const struct smtp_reply *reply)
{
    CHECK((unsigned)phase < sizeof phases / sizeof *phases);
    unsigned class = reply->code / 100u;
    struct outcome outcome = {.phase = (uint8_t)phase, .code = reply->code};
    if (class != 4 && class != 5 && class != phases[phase].success) {
        outcome = outcome_from_trouble(phase, TROUBLE_BROKEN_REPLY, "unexpected reply");
        outcome.code = reply->code;
        append_text(&outcome, ": ");
        append_text(&outcome, reply->text);
        return outcome;
    }
    append_text(&outcome, reply->text);
    if (class == phases[phase].success) {
        if (phase != PHASE_FINAL)
            return outcome;
        outcome.kind = OUTCOME_DELIVERED;
    } else {
        outcome.kind = (uint8_t)refusal_kind(phase, class);
    }
    set_default_enhanced(&outcome);
    /* A 5.x.x that only defers keeps its subject and detail: RFC 3464 wants the class to agree with
     * the action, and people want the receiver's own words. */
    if (reply->enhanced[0] == class)
        set_enhanced(&outcome, reply->enhanced[1], reply->enhanced[2]);
    return outcome;
}

enum blame outcome_blame(enum trouble trouble)
{
    CHECK(trouble < NUM_TROUBLES);
    return (enum blame)troubles[trouble].blame;
}

struct outcome outcome_from_trouble(enum outcome_phase phase, enum trouble trouble,
                                    const char *detail)
{
    CHECK((unsigned)phase < sizeof phases / sizeof *phases && trouble < NUM_TROUBLES);
    const struct trouble_row *row = &troubles[trouble];
    struct outcome outcome = {.kind = row->kind, .phase = (uint8_t)phase};
    if (phase == PHASE_FINAL && row->hides_reply) {
        outcome.kind = OUTCOME_DEFERRED;
        outcome.in_doubt = true;
    }
    bool is_sender = trouble == TROUBLE_BAD_ADDRESS && phase == PHASE_MAIL;
    set_enhanced(&outcome, row->subject, is_sender ? 7 : row->detail);
    append_text(&outcome, row->text);
    if (row->names_phase || outcome.in_doubt) {
        append_text(&outcome, " ");
        append_text(&outcome, phases[phase].waiting);
    }
    if (detail && *detail) {
        append_text(&outcome, ": ");
        append_text(&outcome, detail);
    }
    return outcome;
}

enum trouble trouble_of_connect(int error)
{
    return error == ECONNREFUSED ? TROUBLE_CONNECT_REFUSED
           : error == ETIMEDOUT  ? TROUBLE_CONNECT_TIMEOUT
                                 : TROUBLE_CONNECT_FAILED;
}

struct outcome outcome_from_route(const struct route *route)
{
    CHECK(route->verdict != ROUTE_OK);
    bool bounces = route->verdict == ROUTE_BOUNCE;
    struct outcome outcome = {.kind = bounces ? OUTCOME_BOUNCED : OUTCOME_DEFERRED,
                              .phase = PHASE_ROUTE,
                              .code = bounces ? route->code : 0};
    memcpy(outcome.enhanced, route->enhanced, sizeof outcome.enhanced);
    append_text(&outcome, route->why);
    return outcome;
}

struct outcome outcome_expired(const struct outcome *last)
{
    struct outcome outcome = outcome_from_trouble(PHASE_QUEUE, TROUBLE_EXPIRED, NULL);
    if (last->kind == OUTCOME_NONE)
        return outcome;
    char codes[40] = "";
    int len = last->code ? snprintf(codes, sizeof codes, "%u ", last->code) : 0;
    if (last->enhanced[0])
        snprintf(codes + len, sizeof codes - (size_t)len, "%u.%u.%u ", last->enhanced[0],
                 last->enhanced[1], last->enhanced[2]);
    append_text(&outcome, "; the last attempt ended with: ");
    append_text(&outcome, codes);
    append_text(&outcome, last->text);
    return outcome;
}

bool outcome_is_for_requiretls(const struct outcome *outcome)
{
    const struct trouble_row *lacks = &troubles[TROUBLE_NO_REQUIRETLS];
    const struct trouble_row *fails = &troubles[TROUBLE_REQUIRETLS_FAILED];
    return outcome->kind == OUTCOME_BOUNCED && outcome->code == 0 &&
           outcome->enhanced[1] == lacks->subject &&
           (outcome->enhanced[2] == lacks->detail || outcome->enhanced[2] == fails->detail);
}

bool outcome_tries_next_host(const struct outcome *outcome)
{
    if (outcome->kind != OUTCOME_DEFERRED && outcome->kind != OUTCOME_BOUNCED)
        return false;
    if (outcome->phase < PHASE_CONNECT || outcome->phase > PHASE_DATA)
        return false;
    if (outcome->phase < PHASE_MAIL)
        return true;
    return outcome->kind == OUTCOME_DEFERRED && (outcome->code == 0 || outcome->code == 421);
}
