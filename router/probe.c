/* From a domain to a finding. Sessions are probe_session.c's; which level holds and whether a
 * certificate satisfies it is tls/'s to say, as for a delivery. */
#include "router/probe.h"

#include "base/clock.h"
#include "base/mailbox.h"
#include "router/delivery_tls.h"
#include "router/outcome_table.h"
#include "router/policy_text.h"
#include "router/probe_certificate.h"
#include "router/probe_session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 400 };

struct probe {
    const struct probe_options *options;
    struct destination_settings settings; /* of the domain, with the host to be probed */
    struct route *route;                  /* one reference */
    struct tls_context *context;          /* owned */
    bool asks_sts;                        /* whether MTA-STS counts for this mail */
    struct sts_query sts;                 /* with asks_sts: answered; its policy is one reference */
    char sts_why[STS_WHY_MAX];
};

const char *probe_fate_name(enum probe_fate fate)
{
    static const char *const names[] = {"authenticated", "encrypted", "plaintext", "refused",
                                        "bounced"};
    return names[fate];
}

static json_t *milliseconds(int64_t us)
{
    return us ? json_real((double)us / 1000) : json_null();
}

static void say(char out[TEXT_MAX], const struct outcome *outcome)
{
    if (outcome->code)
        snprintf(out, TEXT_MAX, "%s: %u %s", outcome_phase_name(outcome->phase), outcome->code,
                 outcome->text);
    else
        snprintf(out, TEXT_MAX, "%s: %s", outcome_phase_name(outcome->phase), outcome->text);
}

enum { CACHE_ENTRIES = 16 };

/* What a delivery without wishes of its own would demand there. */
static void requirement_of(const struct probe *probe, const struct route_host *host,
                           struct tls_requirement *out)
{
    struct message message = {.id = 0};
    struct delivery delivery = {.message = &message,
                                .settings = &probe->settings,
                                .domain = probe->options->domain,
                                .sts = probe->sts.policy};
    delivery_tls_requirement(&delivery, host, out);
}

static enum probe_fate after_event(const struct probe *probe,
                                   const struct tls_requirement *requirement, enum tls_event event)
{
    /* As for a first failure, now. */
    enum { NOW_MS = 1 };
    struct tls_fallback fallback = {.on_failure = probe->settings.tls.on_failure,
                                    .broken_since_ms = NOW_MS,
                                    .plaintext_after_ms = probe->options->config->retry.minimum_ms};
    return tls_policy_decide(requirement, event, &fallback, NOW_MS) == TLS_ACTION_PLAINTEXT
               ? PROBE_PLAINTEXT
               : PROBE_REFUSED;
}

/* False with what is wrong in why. */
static bool passes(const struct probe *probe, const struct tls_requirement *requirement,
                   const struct probe_session *session, char why[TEXT_MAX])
{
    struct tls_verdict verdict;
    if (tls_verify(session->chain, requirement, probe->context->trust.store, clock_wall_ms() / 1000,
                   &verdict))
        return true;
    snprintf(why, TEXT_MAX, "%s: %s", tls_fault_name(verdict.fault), verdict.why);
    return false;
}

static enum probe_fate judge(const struct probe *probe, const struct tls_requirement *requirement,
                             const struct probe_session *session, char why[TEXT_MAX])
{
    if (session->failure.kind != OUTCOME_NONE)
        say(why, &session->failure);
    if (session->handshake_failed)
        return after_event(probe, requirement, TLS_HANDSHAKE_FAILED);
    if (session->failure.kind != OUTCOME_NONE)
        return PROBE_REFUSED;
    if (requirement->level == TLS_LEVEL_NONE)
        return PROBE_PLAINTEXT;
    if (session->has_tls && !passes(probe, requirement, session, why))
        return PROBE_REFUSED;
    if (session->has_tls)
        return requirement->checks ? PROBE_AUTHENTICATED : PROBE_ENCRYPTED;
    enum probe_fate fate =
        after_event(probe, requirement, session->starttls_refused ? TLS_REFUSED : TLS_NOT_OFFERED);
    snprintf(why, TEXT_MAX, "STARTTLS is %s",
             session->starttls_refused ? "refused" : "not offered");
    return fate;
}

/* "ok", or what is wrong with the certificate under that policy alone. */
static json_t *verification(const struct probe *probe, const struct tls_requirement *requirement,
                            const struct probe_session *session)
{
    char why[TEXT_MAX];
    return json_string(passes(probe, requirement, session, why) ? "ok" : why);
}

static json_t *verifications(const struct probe *probe, const struct route_host *host,
                             const struct probe_session *session)
{
    struct tls_requirement verify = {.level = TLS_LEVEL_VERIFY,
                                     .checks = TLS_CHECK_PKIX,
                                     .names = probe->settings.tls.names,
                                     .names_host = probe->settings.tls.names.num == 0,
                                     .host = host->name,
                                     .host_is_literal = host->is_literal,
                                     .domain = probe->options->domain};
    json_t *out = json_object();
    json_object_set_new(out, "verify", verification(probe, &verify, session));
    if (host->tlsa.state == TLSA_FOUND) {
        struct tls_requirement dane = verify;
        dane.level = TLS_LEVEL_DANE;
        dane.checks = TLS_CHECK_TLSA;
        dane.tlsa = &host->tlsa;
        json_object_set_new(out, "dane", verification(probe, &dane, session));
    }
    if (probe->sts.policy) {
        struct tls_requirement sts = verify;
        sts.level = TLS_LEVEL_STS;
        sts.names = (struct tls_names){.num = 0};
        sts.names_host = true;
        json_object_set_new(out, "sts", verification(probe, &sts, session));
    }
    return out;
}

static json_t *lines(const struct probe_lines *from)
{
    json_t *out = json_array();
    for (size_t i = 0; i < from->num; i++)
        json_array_append_new(out, json_string(from->items[i]));
    return out;
}

static json_t *tls_finding(const struct probe *probe, const struct route_host *host,
                           const struct probe_session *session, const struct probe_session *again)
{
    json_t *resumed = json_null();
    if (again->has_tls)
        resumed = json_boolean(again->tls.resumed);
    return json_pack("{s:s, s:s, s:s?, s:o, s:o, s:o, s:I, s:o, s:o}", "version",
                     session->tls.version, "cipher", session->tls.cipher, "group", session->group,
                     "handshake_ms", milliseconds(session->handshake_us), "certificates",
                     probe_certificates(session->chain), "verification",
                     verifications(probe, host, session), "tickets", (json_int_t)session->tickets,
                     "second_resumed", resumed, "second_handshake_ms",
                     milliseconds(again->handshake_us));
}

struct host_finding {
    struct tls_requirement requirement;
    enum probe_fate fate;
    bool answered;
    json_t *sessions;
};

/* Two sessions with one address, the second to see whether it resumes. */
static void probe_address(const struct probe *probe, const struct route_host *host,
                          const struct host_address *address, struct host_finding *finding)
{
    const struct tls_requirement *requirement = &finding->requirement;
    struct session_cache_options cache_options = {.entries = CACHE_ENTRIES};
    struct probe_target target = {
        .config = probe->options->config,
        .route = probe->route,
        .address = address,
        .wrapper = requirement->wrapper,
        .context = probe->context,
        .cache = session_cache_new(&cache_options),
        .sni = delivery_tls_sni(requirement, host),
        .patience_ms = probe->options->patience_ms,
        .on_line = probe->options->on_line,
        .on_line_ctx = probe->options->on_line_ctx,
    };
    struct probe_session session, again = {.connected = false};
    char why[TEXT_MAX] = "", address_text[46];
    probe_session_run(&target, &session);
    if (session.has_tls)
        probe_session_run(&target, &again);
    enum probe_fate fate = judge(probe, requirement, &session, why);
    host_address_format(address, address_text);
    json_t *row = json_pack(
        "{s:s, s:s, s:s?, s:o, s:o, s:o, s:o, s:o, s:o}", "address", address_text, "fate",
        probe_fate_name(fate), "why", *why ? why : NULL, "connect_ms",
        milliseconds(session.connected_us), "greeting_ms", milliseconds(session.greeted_us),
        "ready_ms", milliseconds(session.ready_us), "extensions_before_tls",
        lines(&session.before_tls), "extensions", lines(&session.last), "tls",
        session.has_tls ? tls_finding(probe, host, &session, &again) : json_null());
    json_array_append_new(finding->sessions, row);
    finding->answered = finding->answered || session.connected;
    if (fate < finding->fate)
        finding->fate = fate;
    probe_session_fini(&session);
    probe_session_fini(&again);
    session_cache_free(target.cache);
}

static json_t *tlsa_record_finding(const struct tlsa_record *record)
{
    struct buffer text;
    buffer_init(&text, TEXT_MAX);
    policy_text_tlsa(&text, record);
    buffer_append_str(&text, record->len > POLICY_TEXT_TLSA_MAX ? "..." : "");
    json_t *row = json_pack("{s:s, s:b}", "record", policy_text_string(&text), "usable",
                            tls_tlsa_is_usable(record));
    buffer_fini(&text);
    return row;
}

static json_t *tlsa_finding(const struct tlsa_set *set)
{
    static const char *const states[] = {"not asked", "none", "found", "failed"};
    json_t *records = json_array();
    for (size_t i = 0; i < set->num; i++)
        json_array_append_new(records, tlsa_record_finding(&set->records[i]));
    return json_pack("{s:s, s:s?, s:o}", "state", states[set->state], "base", set->base, "records",
                     records);
}

static json_t *policy_finding(const struct tls_requirement *requirement)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:s?}", "level", tls_level_name(requirement->level),
                     "source", tls_source_name(requirement->source), "mandatory",
                     requirement->mandatory, "wrapper", requirement->wrapper, "unusable",
                     requirement->unusable);
}

/* What the domain publishes now, whatever a running router keeps of it. */
static json_t *sts_finding(const struct probe *probe)
{
    static const char *const lookups[] = {"none", "failed", "invalid", "found"};
    const struct sts_policy *policy = probe->sts.policy;
    bool has_failed = probe->sts.failure != STS_FAILURE_NONE;
    if (!probe->asks_sts)
        return json_null();
    json_t *finding = json_pack("{s:s, s:s?, s:s?}", "record", lookups[probe->sts.lookup],
                                "failure", has_failed ? sts_failure_name(probe->sts.failure) : NULL,
                                "why", has_failed ? probe->sts_why : NULL);
    json_object_set_new(finding, "mode",
                        policy ? json_string(sts_mode_name(policy->mode)) : json_null());
    json_object_set_new(finding, "id", policy ? json_string(policy->id) : json_null());
    json_object_set_new(finding, "max_age", policy ? json_integer(policy->max_age_s) : json_null());
    json_t *patterns = json_array();
    for (size_t i = 0; policy && i < policy->num_mx; i++)
        json_array_append_new(patterns, json_string(policy->mx[i]));
    json_object_set_new(finding, "mx", patterns);
    return finding;
}

/* Null where there is no policy that names hosts. */
static json_t *sts_allows(const struct probe *probe, const struct route_host *host)
{
    const struct sts_policy *policy = probe->sts.policy;
    return policy && policy->mode != STS_NONE ? json_boolean(sts_policy_allows(policy, host->name))
                                              : json_null();
}

static json_t *addresses_of(const struct route_host *host)
{
    json_t *out = json_array();
    for (size_t i = 0; i < host->num_addresses; i++) {
        char text[46];
        host_address_format(&host->addresses[i], text);
        json_array_append_new(out, json_string(text));
    }
    return out;
}

static enum probe_fate probe_host(const struct probe *probe, const struct route_host *host,
                                  json_t *hosts)
{
    struct host_finding finding = {.fate = PROBE_REFUSED, .sessions = json_array()};
    requirement_of(probe, host, &finding.requirement);
    for (size_t i = 0; i < host->num_addresses; i++)
        if (!finding.answered || probe->options->every_address)
            probe_address(probe, host, &host->addresses[i], &finding);
    if (finding.requirement.unusable)
        finding.fate = PROBE_REFUSED;
    json_array_append_new(
        hosts, json_pack("{s:s, s:i, s:b, s:o, s:o, s:o, s:o, s:s, s:o}", "name", host->name,
                         "preference", (int)host->preference, "secure", host->secure, "addresses",
                         addresses_of(host), "tlsa", tlsa_finding(&host->tlsa), "sts_allows",
                         sts_allows(probe, host), "policy", policy_finding(&finding.requirement),
                         "fate", probe_fate_name(finding.fate), "sessions", finding.sessions));
    return finding.fate;
}

static json_t *route_finding(const struct route *route)
{
    static const char *const verdicts[] = {"ok", "bounce", "defer"};
    return json_pack("{s:s, s:s?, s:s, s:i, s:b}", "verdict", verdicts[route->verdict], "why",
                     route->verdict == ROUTE_OK ? NULL : route->why, "transport",
                     route->transport == TRANSPORT_LMTP ? "lmtp" : "smtp", "port", (int)route->port,
                     "secure", route->secure);
}

static json_t *try_all(const struct probe *probe, enum probe_fate *out_fate)
{
    json_t *hosts = json_array();
    *out_fate = probe->route->verdict == ROUTE_BOUNCE ? PROBE_BOUNCED : PROBE_REFUSED;
    for (size_t i = 0; probe->route->verdict == ROUTE_OK && i < probe->route->num_hosts; i++) {
        enum probe_fate fate = probe_host(probe, &probe->route->hosts[i], hosts);
        if (*out_fate == PROBE_REFUSED)
            *out_fate = fate;
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s}", "domain", probe->options->domain,
                     "destination", probe->settings.pattern, "local_level",
                     tls_level_name(probe->settings.tls.level), "route",
                     route_finding(probe->route), "sts", sts_finding(probe), "hosts", hosts, "fate",
                     probe_fate_name(*out_fate));
}

struct look_up {
    struct probe *probe;
    struct loop loop;
    struct mailbox mailbox;
    struct resolver *resolver;       /* owned */
    struct sts_service *sts;         /* owned; NULL: nobody asks it */
    struct tls_context *sts_context; /* owned: the anchors for policy hosts */
    unsigned num_awaited;
};

static void on_answer(void *ctx, struct mailbox_item *item)
{
    struct look_up *look_up = ctx;
    (void)item;
    if (--look_up->num_awaited == 0)
        loop_stop(&look_up->loop);
}

/* Nothing is kept: what a running router has in its file is its own. */
static bool start_sts(struct look_up *look_up, char why[CONFIG_WHY_MAX])
{
    const struct probe_options *options = look_up->probe->options;
    struct sts_service_options sts_options;
    char tls_why[TLS_WHY_MAX];
    if (!look_up->probe->asks_sts)
        return true;
    if (config_sts_options(options->config, &sts_options, &look_up->sts_context, tls_why)) {
        sts_options.resolver = look_up->resolver;
        if (sts_options.timeout_ms > options->patience_ms)
            sts_options.timeout_ms = options->patience_ms;
        look_up->sts = sts_service_start(&sts_options, tls_why);
    }
    if (!look_up->sts)
        snprintf(why, CONFIG_WHY_MAX, "%s", tls_why);
    return look_up->sts != NULL;
}

static void ask(struct look_up *look_up, struct route_query *query)
{
    struct probe *probe = look_up->probe;
    *query = (struct route_query){
        .item.kind = RESOLVER_ANSWER,
        .reply_to = &look_up->mailbox,
        .domain = probe->settings.next_hop ? NULL : probe->options->domain,
        .next_hop = probe->settings.next_hop,
        .port = probe->settings.port,
        .wants_tlsa = true,
    };
    look_up->num_awaited = 1 + probe->asks_sts;
    resolver_ask(look_up->resolver, query);
    if (!probe->asks_sts)
        return;
    probe->sts = (struct sts_query){
        .reply_to = &look_up->mailbox, .domain = probe->options->domain, .why = probe->sts_why};
    sts_service_ask(look_up->sts, &probe->sts);
}

/* False with a line in why. */
static bool ask_all(struct look_up *look_up, char why[CONFIG_WHY_MAX])
{
    char route_why[ROUTE_WHY_MAX];
    struct resolver_options options = config_resolver_options(look_up->probe->options->config);
    struct route_query query;
    look_up->resolver = resolver_start(&options, route_why);
    if (!look_up->resolver) {
        snprintf(why, CONFIG_WHY_MAX, "%s", route_why);
        return false;
    }
    bool can = start_sts(look_up, why);
    if (can) {
        ask(look_up, &query);
        loop_run(&look_up->loop);
        look_up->probe->route = query.route;
    }
    if (look_up->sts)
        sts_service_stop(look_up->sts);
    resolver_stop(look_up->resolver);
    sts_service_free(look_up->sts);
    tls_context_free(look_up->sts_context);
    return can;
}

/* False with a line in why. */
static bool look_up(struct probe *probe, char why[CONFIG_WHY_MAX])
{
    struct look_up look_up = {.probe = probe};
    if (!loop_init(&look_up.loop) ||
        !mailbox_init(&look_up.mailbox, &look_up.loop, on_answer, &look_up)) {
        snprintf(why, CONFIG_WHY_MAX, "%s", strerror(errno));
        return false;
    }
    bool can = ask_all(&look_up, why);
    mailbox_fini(&look_up.mailbox);
    loop_fini(&look_up.loop);
    return can;
}

json_t *probe_run(const struct probe_options *options, enum probe_fate *out_fate,
                  char why[CONFIG_WHY_MAX])
{
    struct probe probe = {.options = options,
                          .settings = *config_for_domain(options->config, options->domain)};
    struct tls_context_options context_options;
    char tls_why[TLS_WHY_MAX];
    json_t *finding = NULL;
    if (options->host)
        probe.settings.next_hop = options->host;
    probe.asks_sts =
        options->config->tls.sts.enabled && delivery_wants_sts(&probe.settings, options->domain);
    config_tls_identity(options->config, probe.settings.tls.identity, &context_options);
    probe.context = tls_context_new(&context_options, tls_why);
    if (!probe.context)
        snprintf(why, CONFIG_WHY_MAX, "%s", tls_why);
    else if (look_up(&probe, why))
        finding = try_all(&probe, out_fate);
    route_unref(probe.route);
    sts_policy_unref(probe.sts.policy);
    tls_context_free(probe.context);
    return finding;
}
