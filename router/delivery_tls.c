/* From a delivery and a host to a TLS requirement. The policy itself is tls/policy.c's. */
#include "router/delivery_tls.h"

#include "router/outcome_table.h"

#include <string.h>

static const enum tls_level asked_levels[] = {
    [ENVELOPE_TLS_NONE] = TLS_LEVEL_NONE,     [ENVELOPE_TLS_ENCRYPT] = TLS_LEVEL_ENCRYPT,
    [ENVELOPE_TLS_VERIFY] = TLS_LEVEL_VERIFY, [ENVELOPE_TLS_STS] = TLS_LEVEL_STS,
    [ENVELOPE_TLS_DANE] = TLS_LEVEL_DANE,     [ENVELOPE_TLS_DANE_ONLY] = TLS_LEVEL_DANE_ONLY,
};

static enum tls_level asked_level(const struct delivery *delivery)
{
    enum tls_level asked = asked_levels[delivery->message->envelope.tls];
    return delivery->requiretls_waived && asked == TLS_LEVEL_NONE ? TLS_LEVEL_ENCRYPT : asked;
}

bool delivery_wants_sts(const struct destination_settings *settings, const char *domain)
{
    return !settings->next_hop && domain[0] != '[' && settings->tls.level != TLS_LEVEL_NONE;
}

void delivery_tls_requirement(const struct delivery *delivery, const struct route_host *host,
                              struct tls_requirement *out)
{
    const struct tls_settings *settings = &delivery->settings->tls;
    struct tls_policy_inputs inputs = {
        .local = settings->level,
        .local_names = settings->names,
        .wrapper = settings->wrapper,
        .asked = asked_level(delivery),
        .require_tls = delivery_requires_tls(delivery),
        .tls_optional =
            delivery->message->envelope.tls_optional && !delivery->message->envelope.require_tls,
        .host = host->name,
        .host_is_literal = host->is_literal,
        .host_is_secure = host->secure,
        .host_is_ours = delivery->settings->next_hop != NULL,
        .domain = delivery->domain,
        .tlsa = &host->tlsa,
        .sts = delivery->sts,
        .sts_is_uncertain = delivery->sts_is_uncertain,
    };
    tls_policy_combine(&inputs, out);
}

struct outcome delivery_tls_unusable(const struct tls_requirement *requirement)
{
    /* RFC 8689 4.2.1: 5.7.30 says of servers that they lack the extension; this one was not asked.
     */
    enum trouble trouble = requirement->bounces ? TROUBLE_REQUIRETLS_FAILED : TROUBLE_TLS_POLICY;
    return outcome_from_trouble(PHASE_TLS, trouble, requirement->unusable);
}

struct outcome delivery_tls_fits(const struct tls_requirement *requirement, bool has_tls,
                                 const uint8_t proof[TLS_PROOF_LEN])
{
    if (requirement->unusable)
        return delivery_tls_unusable(requirement);
    if (requirement->mandatory && !has_tls)
        return outcome_from_trouble(PHASE_STARTTLS, TROUBLE_TLS_NOT_OFFERED, NULL);
    /* What is only wished for keeps no mail from a host without TLS. */
    if (has_tls && !tls_proof_satisfies(proof, requirement))
        return outcome_from_trouble(PHASE_TLS, TROUBLE_TLS_POLICY,
                                    "the session's certificate was not checked for this");
    return (struct outcome){.kind = OUTCOME_NONE};
}

const char *delivery_tls_sni(const struct tls_requirement *requirement,
                             const struct route_host *host)
{
    if (requirement->checks & TLS_CHECK_TLSA)
        return requirement->tlsa->base;
    return host->is_literal ? NULL : host->name;
}

const char *delivery_tls_failure(enum tls_fault fault)
{
    return fault == TLS_FAULT_NONE ? "validation-failure" : tls_fault_name(fault);
}

const char *delivery_sts_result(const struct tls_requirement *requirement,
                                const struct delivery_tls_state *state)
{
    if (!requirement->sts_allows)
        return "mx-mismatch";
    if (state->has_session && state->has_tls)
        return state->wish == TLS_FAULT_NONE ? "ok" : tls_fault_name(state->wish);
    if (state->has_session || state->failed_in == PHASE_STARTTLS)
        return "starttls-not-supported";
    if (state->failed_in != PHASE_TLS)
        return NULL;
    return delivery_tls_failure(state->fault);
}

bool delivery_is_refused_by_sts(const struct delivery *delivery)
{
    const struct delivery_trace *trace = &delivery->trace;
    return trace->sts_mode && trace->sts_result &&
           strcmp(trace->sts_mode, sts_mode_name(STS_ENFORCE)) == 0 &&
           strcmp(trace->sts_result, "ok") != 0;
}
