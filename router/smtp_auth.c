/* The exchange of AUTH step by step; a mechanism is one function that answers a challenge.
 * It decides neither whether a destination wants AUTH nor what a failure leads to. */
#include "router/smtp_auth.h"

#include "base/check.h"
#include "base/memory.h"
#include "tls/scram.h"

#include <openssl/base64.h>
#include <openssl/mem.h>

enum {
    ANSWER_MAX = 1600,  /* octets before base64: SCRAM's last, with a long nonce */
    STEPS_MAX = 3,      /* challenges that any mechanism has */
    AUTH_LINE_MAX = 510 /* RFC 4954 4: a longer first command leaves its initial response out */
};

struct smtp_auth {
    enum auth_mechanism mechanism;
    unsigned step;      /* challenges answered */
    bool proved;        /* SCRAM: the server knows the secret, too */
    const char *broken; /* static: why it was cancelled with "*"; NULL */
    struct scram scram; /* while has_scram */
    bool has_scram;
    char challenge[SMTP_CHALLENGE_MAX]; /* base64 of the last 334 */
    size_t challenge_len;
    bool challenge_odd; /* too long, or of several lines */
};

static const struct auth_settings *settings_of(const struct smtp_session *session)
{
    return session->params.auth;
}

void smtp_auth_fini(struct smtp_session *session)
{
    struct smtp_auth *auth = session->auth;
    if (!auth)
        return;
    if (auth->has_scram)
        scram_fini(&auth->scram);
    OPENSSL_cleanse(auth, sizeof *auth);
    free(auth);
    session->auth = NULL;
}

static void leave(struct smtp_session *session, enum trouble trouble, const char *detail,
                  struct smtp_turn *turn)
{
    struct outcome outcome = outcome_from_trouble(PHASE_AUTH, trouble, detail);
    smtp_auth_fini(session);
    smtp_leave_host(session, &outcome, turn);
}

void smtp_auth_hear(struct smtp_session *session, unsigned number, struct bytes text)
{
    struct smtp_auth *auth = session->auth;
    if (!auth)
        return;
    auth->challenge_odd = number > 0 || text.len > sizeof auth->challenge;
    auth->challenge_len = auth->challenge_odd ? 0 : text.len;
    if (auth->challenge_len)
        memcpy(auth->challenge, text.at, text.len);
}

/* RFC 4616 2: no other identity, ours, the secret, with NUL between them. */
static void answer_plain(const struct smtp_session *session, struct buffer *out)
{
    buffer_append_byte(out, '\0');
    buffer_append_str(out, settings_of(session)->user);
    buffer_append_byte(out, '\0');
    buffer_append_str(out, settings_of(session)->secret);
}

static const char *answer_scram(struct smtp_session *session, struct bytes challenge,
                                struct buffer *out)
{
    struct smtp_auth *auth = session->auth;
    const char *why = "SCRAM has no such step";
    if (!auth->has_scram) {
        scram_begin(&auth->scram, settings_of(session)->user, NULL, out);
        auth->has_scram = true;
        why = challenge.len ? "SCRAM does not begin with a challenge" : NULL;
    } else if (!auth->scram.answered) {
        why = scram_answer(&auth->scram, challenge, settings_of(session)->secret, out);
    } else if (!auth->proved) {
        why = scram_check(&auth->scram, challenge);
        auth->proved = !why;
    }
    return why;
}

/* Appends the answer to the challenge, not yet base64. NULL, or why there is none. */
static const char *answer(struct smtp_session *session, struct bytes challenge, struct buffer *out)
{
    struct smtp_auth *auth = session->auth;
    const struct auth_settings *settings = settings_of(session);
    switch (auth->mechanism) {
    case AUTH_PLAIN:
        answer_plain(session, out);
        return auth->step ? "PLAIN has one answer" : NULL;
    case AUTH_LOGIN:
        /* The prompts' words differ between servers; their order does not. */
        buffer_append_str(out, auth->step ? settings->secret : settings->user);
        return auth->step > 1 ? "LOGIN has two answers" : NULL;
    case AUTH_SCRAM_SHA_256:
        return answer_scram(session, challenge, out);
    }
    return "no such mechanism";
}

/* The answer as base64, a text in out. NULL, or why there is none. */
static const char *encoded_answer(struct smtp_session *session, struct bytes challenge,
                                  char out[SMTP_COMMAND_MAX])
{
    struct buffer plain;
    buffer_init(&plain, ANSWER_MAX);
    const char *why = answer(session, challenge, &plain);
    size_t len = plain.len;
    if (!why && (plain.overflow || len / 3 * 4 + 5 > SMTP_COMMAND_MAX - 64))
        why = "the answer is too long";
    if (!why)
        EVP_EncodeBlock((uint8_t *)out, plain.at ? plain.at : (const uint8_t *)"", len);
    if (plain.at)
        OPENSSL_cleanse(plain.at, plain.cap);
    buffer_fini(&plain);
    return why;
}

/* "AUTH PLAIN ...": with what would be the answer to an empty first challenge, where it fits.
 * LOGIN is not defined to take it. */
static void say_auth(struct smtp_session *session, struct smtp_turn *turn)
{
    struct smtp_auth *auth = session->auth;
    char text[SMTP_COMMAND_MAX] = "";
    const char *name = auth_mechanism_name(auth->mechanism);
    const char *why = NULL;
    if (auth->mechanism != AUTH_LOGIN)
        why = encoded_answer(session, (struct bytes){0}, text);
    CHECK(!why);
    size_t len = strlen("AUTH  ") + strlen(name) + strlen(text);
    bool is_first = *text && len <= AUTH_LINE_MAX;
    if (is_first)
        auth->step++;
    else if (auth->has_scram) /* begins again at the empty challenge */
        scram_fini(&auth->scram);
    auth->has_scram = auth->has_scram && is_first;
    smtp_send(session, turn, SMTP_AUTH, 0, "AUTH %s%s%s", name, is_first ? " " : "",
              is_first ? text : "");
    OPENSSL_cleanse(text, sizeof text);
}

static bool may_be_said(const struct smtp_session *session)
{
    switch (settings_of(session)->allow_unverified) {
    case AUTH_UNVERIFIED_FALSE:
        return session->tls_active && session->params.auth_verified;
    case AUTH_UNVERIFIED_TRUE:
        return session->tls_active;
    case AUTH_UNVERIFIED_PLAINTEXT:
        break;
    }
    return true;
}

void smtp_auth_begin(struct smtp_session *session, struct smtp_turn *turn)
{
    uint8_t shared = session->capabilities.auth & settings_of(session)->mechanisms;
    if (!may_be_said(session)) {
        leave(session, TROUBLE_AUTH_UNPROTECTED,
              session->tls_active ? "the certificate is not checked"
                                  : "the session is in plaintext",
              turn);
        return;
    }
    if (!shared) {
        leave(session, TROUBLE_AUTH_NOT_OFFERED, NULL, turn);
        return;
    }
    session->auth = mem_zalloc(1, sizeof *session->auth);
    session->auth->mechanism = auth_mechanism_best(shared);
    smtp_enter(session, SMTP_STATE_AUTH);
    say_auth(session, turn);
}

static const char *next_answer(struct smtp_session *session, char out[SMTP_COMMAND_MAX])
{
    struct smtp_auth *auth = session->auth;
    uint8_t challenge[SMTP_CHALLENGE_MAX];
    size_t len = 0;
    if (auth->challenge_odd)
        return "a challenge that is too long";
    if (auth->step >= STEPS_MAX)
        return "too many challenges";
    bool ok = auth->challenge_len == 0 ||
              EVP_DecodeBase64(challenge, &len, sizeof challenge, (const uint8_t *)auth->challenge,
                               auth->challenge_len);
    /* What LOGIN and PLAIN are asked is for people: some servers do not even encode it. */
    if (!ok && auth->mechanism == AUTH_SCRAM_SHA_256)
        return "a challenge that is no base64";
    return encoded_answer(session, bytes_make(challenge, ok ? len : 0), out);
}

static void take_challenge(struct smtp_session *session, struct smtp_turn *turn)
{
    struct smtp_auth *auth = session->auth;
    char text[SMTP_COMMAND_MAX] = "";
    if (auth->broken) {
        leave(session, TROUBLE_AUTH_FAILED, auth->broken, turn);
        return;
    }
    auth->broken = next_answer(session, text);
    auth->step++;
    /* RFC 4954 4: "*" cancels; the server answers it with 501. */
    smtp_send(session, turn, SMTP_AUTH, 0, "%s", auth->broken ? "*" : text);
    OPENSSL_cleanse(text, sizeof text);
}

/* Our words have left: their copy goes, too. */
static void wipe_spare(struct buffer *out)
{
    if (out->cap > out->len)
        OPENSSL_cleanse(out->at + out->len, out->cap - out->len);
}

void smtp_on_auth(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn)
{
    (void)expected;
    struct smtp_auth *auth = session->auth;
    uint16_t code = session->parser.reply.code;
    wipe_spare(turn->out);
    if (code == 334) {
        take_challenge(session, turn);
    } else if (auth->broken) {
        leave(session, TROUBLE_AUTH_FAILED, auth->broken, turn);
    } else if (code >= 400) {
        struct outcome outcome = outcome_from_reply(PHASE_AUTH, &session->parser.reply);
        smtp_auth_fini(session);
        smtp_leave_host(session, &outcome, turn);
    } else if (code != 235) {
        leave(session, TROUBLE_BROKEN_REPLY, "unexpected reply", turn);
    } else if (auth->mechanism == AUTH_SCRAM_SHA_256 && !auth->proved) {
        leave(session, TROUBLE_AUTH_FAILED, "the server did not show that it knows the secret",
              turn);
    } else {
        smtp_auth_fini(session);
        smtp_enter(session, SMTP_STATE_IDLE);
    }
}
