/* Any peer against the session machine: it must come to an end, keep its bounds, and leave each
 * recipient with at most one outcome, or without one and something to say why.
 *
 * Input: an octet of options, an octet of recipients, then chunks: a length octet (0: a trouble,
 * its kind in the next octet) and what the peer says. The peer is lost at the end of the input. */
#include "base/check.h"
#include "tests/unit/router/smtp_fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DELIVERIES_MAX = 8 };

enum { OPTION_LMTP = 1, OPTION_TLS = 2, OPTION_REQUIRE_TLS = 4, OPTION_UTF8 = 8, OPTION_MANY = 16 };

struct world {
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
    enum smtp_want want;
    unsigned num_begun;
    uint8_t kinds[512]; /* outcomes seen: none may change */
    unsigned num_content_sent;
    bool has_unsent_dot; /* handed out, but it has not left yet */
};

static void check_bounds(struct world *world)
{
    const struct smtp_session *session = &world->session;
    const struct delivery *delivery = world->fixture.delivery;
    CHECK(session->num_expected <= SMTP_EXPECTED_MAX);
    CHECK(!world->out.overflow && world->out.len <= SMTP_OUT_MAX);
    CHECK(world->want != SMTP_WANT_CLOSE || !session->delivery);
    CHECK(world->want != SMTP_WANT_IDLE || !session->delivery);
    CHECK(world->want != SMTP_WANT_BODY || session->num_accepted > 0 || session->one_flight);
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        const struct outcome *outcome = &delivery->recipients[i].outcome;
        if (world->kinds[i] != OUTCOME_NONE)
            CHECK(outcome->kind == world->kinds[i]);
        if (outcome->kind == OUTCOME_DELIVERED)
            CHECK(world->num_content_sent > 0);
        if (outcome->in_doubt)
            CHECK(outcome->kind == OUTCOME_DEFERRED && world->num_content_sent > 0);
        world->kinds[i] = outcome->kind;
    }
}

static void begin(struct world *world)
{
    struct delivery *delivery = world->fixture.delivery;
    if (!smtp_delivery_wants_more(delivery)) {
        for (uint32_t i = 0; i < delivery->num_recipients; i++)
            delivery->recipients[i].outcome = (struct outcome){.kind = OUTCOME_NONE};
        memset(world->kinds, OUTCOME_NONE, sizeof world->kinds);
        world->num_content_sent = 0;
    }
    world->num_begun++;
    world->want = smtp_session_begin(&world->session, delivery, -1, &world->out, 0);
}

static void send_content(struct world *world)
{
    unsigned runs = 0;
    while (world->want == SMTP_WANT_BODY) {
        struct bytes run = smtp_session_next_body(&world->session, &world->want);
        CHECK((run.len > 0 || world->session.one_flight) && runs++ < 16);
        smtp_session_body_progress(&world->session, 0);
    }
    world->has_unsent_dot = world->want == SMTP_WANT_READ;
    if (world->has_unsent_dot)
        world->want = SMTP_WANT_BODY;
}

static void send_dot(struct world *world)
{
    world->has_unsent_dot = false;
    world->want = smtp_session_body_sent(&world->session, 0);
    world->num_content_sent++;
}

/* What a connection does when the machine wants something else than to read. */
static void answer_want(struct world *world)
{
    for (unsigned turns = 0; turns < 4; turns++) {
        buffer_clear(&world->out);
        if (world->want == SMTP_WANT_TLS)
            world->want = smtp_session_tls_done(&world->session, &world->out, 0);
        else if (world->want == SMTP_WANT_BODY && world->has_unsent_dot)
            send_dot(world);
        else if (world->want == SMTP_WANT_BODY) {
            send_content(world);
            return; /* the peer may speak before the dot has left */
        } else if (world->want == SMTP_WANT_IDLE && world->num_begun < DELIVERIES_MAX)
            begin(world);
        else if (world->want == SMTP_WANT_IDLE)
            world->want = smtp_session_quit(&world->session, &world->out);
        check_bounds(world);
    }
}

static void make_trouble(struct world *world, uint8_t kind)
{
    smtp_session_trouble(&world->session, (enum trouble)(kind % NUM_TROUBLES), "trouble");
    world->want = SMTP_WANT_CLOSE;
}

static struct bytes next_chunk(struct world *world, struct bytes in)
{
    size_t len = in.at[0];
    in = bytes_from(in, 1);
    if (len == 0) {
        if (in.len && in.at[0] & 0x80)
            make_trouble(world, in.at[0]);
        else
            answer_want(world);
        return bytes_from(in, 1);
    }
    struct bytes chunk = bytes_first(in, len);
    /* Half of the time the peer is ahead of what was answered. */
    if (len & 1)
        answer_want(world);
    if (world->want != SMTP_WANT_CLOSE)
        world->want = smtp_session_step(&world->session, chunk, &world->out, 0);
    return bytes_from(in, chunk.len);
}

static void check_end(struct world *world)
{
    const struct smtp_session *session = &world->session;
    check_bounds(world);
    CHECK(!session->delivery);
    /* A fresh connection that ends with somebody left open has to say why, unless we ended it. */
    if (!session->used && world->num_begun < DELIVERIES_MAX && !world->num_content_sent &&
        smtp_delivery_wants_more(world->fixture.delivery))
        CHECK(session->failure.kind != OUTCOME_NONE);
    if (world->num_begun == 0)
        CHECK(session->failure.kind != OUTCOME_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t options = data[0];
    uint32_t num_recipients = 1u + data[1] % (options & OPTION_MANY ? 300u : 6u);
    struct world *world = mem_zalloc(1, sizeof *world);
    fixture_init(&world->fixture, num_recipients);
    world->fixture.message.envelope.needs_utf8 = options & OPTION_UTF8;
    buffer_init(&world->out, SMTP_OUT_MAX);
    struct smtp_session_params params = {
        .helo_name = "me.test",
        .transport = options & OPTION_LMTP ? TRANSPORT_LMTP : TRANSPORT_SMTP,
        .want_tls = options & OPTION_TLS,
        .require_tls = options & OPTION_REQUIRE_TLS,
        .config = &world->fixture.config,
    };
    smtp_session_init(&world->session, &params, 0);
    world->want = SMTP_WANT_READ;
    struct bytes in = bytes_make(data + 2, size - 2);
    while (in.len && world->want != SMTP_WANT_CLOSE) {
        in = next_chunk(world, in);
        check_bounds(world);
    }
    if (world->want != SMTP_WANT_CLOSE)
        make_trouble(world, TROUBLE_LOST);
    check_end(world);
    smtp_session_fini(&world->session);
    buffer_fini(&world->out);
    fixture_fini(&world->fixture);
    free(world);
    return 0;
}
