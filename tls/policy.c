/* The sources combined, and the table "level x event": see the header and docs/tls.md.
 * It opens no connection, reads no certificate and remembers nothing (broken_hosts.c does). */
#include "tls/policy.h"

#include "base/check.h"

#include <string.h>

static const char *const level_names[] = {
    [TLS_LEVEL_NONE] = "none",          [TLS_LEVEL_MAY] = "may", [TLS_LEVEL_ENCRYPT] = "encrypt",
    [TLS_LEVEL_VERIFY] = "verify",      [TLS_LEVEL_STS] = "sts", [TLS_LEVEL_DANE] = "dane",
    [TLS_LEVEL_DANE_ONLY] = "dane-only"};
enum { NUM_LEVELS = sizeof level_names / sizeof *level_names };

static const char *const source_names[] = {[TLS_SOURCE_DEFAULT] = "default",
                                           [TLS_SOURCE_LOCAL] = "local",
                                           [TLS_SOURCE_MESSAGE] = "message",
                                           [TLS_SOURCE_DANE] = "dane",
                                           [TLS_SOURCE_STS] = "sts"};

/* Upward: none < may < encrypt < verify, sts, dane < dane-only. */
static const uint8_t level_ranks[NUM_LEVELS] = {
    [TLS_LEVEL_NONE] = 0, [TLS_LEVEL_MAY] = 1,  [TLS_LEVEL_ENCRYPT] = 2,  [TLS_LEVEL_VERIFY] = 3,
    [TLS_LEVEL_STS] = 3,  [TLS_LEVEL_DANE] = 3, [TLS_LEVEL_DANE_ONLY] = 4};

const char *tls_level_name(enum tls_level level)
{
    CHECK((unsigned)level < NUM_LEVELS);
    return level_names[level];
}

bool tls_level_parse(const char *name, enum tls_level *out)
{
    for (unsigned i = 0; i < NUM_LEVELS; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum tls_level)i;
            return true;
        }
    }
    return false;
}

const char *tls_source_name(enum tls_source source)
{
    CHECK((unsigned)source < sizeof source_names / sizeof *source_names);
    return source_names[source];
}

bool tls_tlsa_is_usable(const struct tlsa_record *record)
{
    static const uint8_t lens[] = {[TLSA_FULL] = 0, [TLSA_SHA256] = 32, [TLSA_SHA512] = 64};
    if ((record->usage != TLSA_DANE_TA && record->usage != TLSA_DANE_EE) ||
        record->selector > TLSA_SPKI || record->matching > TLSA_SHA512)
        return false;
    return record->matching == TLSA_FULL ? record->len > 0 : record->len == lens[record->matching];
}

static bool has_usable(const struct tlsa_set *tlsa)
{
    for (size_t i = 0; i < tlsa->num; i++)
        if (tls_tlsa_is_usable(&tlsa->records[i]))
            return true;
    return false;
}

static void raise(struct tls_requirement *out, enum tls_level level, enum tls_source source)
{
    if (level_ranks[level] > level_ranks[out->level]) {
        out->level = level;
        out->source = source;
    }
    out->mandatory |= level >= TLS_LEVEL_ENCRYPT;
}

static void heed_sts(const struct tls_policy_inputs *in, struct tls_requirement *out)
{
    out->sts = in->sts;
    out->sts_allows = sts_policy_allows(in->sts, in->host);
}

static void cannot_use(struct tls_requirement *out, const char *why)
{
    if (!out->unusable)
        out->unusable = why;
}

/* A level that somebody demands, as far as it does not depend on what is discovered. */
static void demand(const struct tls_policy_inputs *in, enum tls_level level, enum tls_source source,
                   struct tls_requirement *out)
{
    /* `dane` asks for the records; without any it is `may`. */
    raise(out, level == TLS_LEVEL_DANE ? TLS_LEVEL_MAY : level, source);
    switch (level) {
    case TLS_LEVEL_NONE:
    case TLS_LEVEL_MAY:
    case TLS_LEVEL_ENCRYPT:
    case TLS_LEVEL_DANE:
        break;
    case TLS_LEVEL_VERIFY:
        out->checks |= TLS_CHECK_PKIX;
        if (source != TLS_SOURCE_MESSAGE && in->local_names.num)
            out->names = in->local_names;
        else
            out->names_host |= out->names.num == 0;
        break;
    case TLS_LEVEL_STS:
        out->checks |= TLS_CHECK_PKIX;
        out->names_host = true;
        if (!in->sts || in->sts->mode == STS_NONE) {
            cannot_use(out, "the domain has no MTA-STS policy");
            break;
        }
        heed_sts(in, out);
        if (!out->sts_allows)
            cannot_use(out, "the domain's MTA-STS policy does not allow this host");
        break;
    case TLS_LEVEL_DANE_ONLY:
        if (!in->tlsa || in->tlsa->state != TLSA_FOUND || !has_usable(in->tlsa))
            cannot_use(out, "the host has no usable and secure TLSA records");
        break;
    }
}

/* True when DANE applies to the host, so that no other discovered source is asked. */
static bool discover_dane(const struct tls_policy_inputs *in, struct tls_requirement *out)
{
    if (!in->tlsa)
        return false;
    switch (in->tlsa->state) {
    case TLSA_NOT_ASKED:
    case TLSA_NONE:
        return false;
    case TLSA_FAILED:
        cannot_use(out, "the look-up of the host's TLSA records failed");
        return true;
    case TLSA_FOUND:
        break;
    }
    /* RFC 7672 2.2: without a usable record TLS is mandatory all the same. */
    bool usable = has_usable(in->tlsa);
    raise(out, usable ? TLS_LEVEL_DANE : TLS_LEVEL_ENCRYPT, TLS_SOURCE_DANE);
    if (usable) {
        out->checks |= TLS_CHECK_TLSA;
        out->tlsa = in->tlsa;
    }
    return true;
}

static void discover_sts(const struct tls_policy_inputs *in, struct tls_requirement *out)
{
    if (!in->sts || in->sts->mode == STS_NONE)
        return;
    heed_sts(in, out);
    if (in->sts->mode == STS_TESTING) {
        out->wishes |= TLS_CHECK_PKIX;
        return;
    }
    out->names_host = true;
    raise(out, TLS_LEVEL_STS, TLS_SOURCE_STS);
    out->checks |= TLS_CHECK_PKIX;
    if (!out->sts_allows)
        cannot_use(out, "the domain's MTA-STS policy does not allow this host");
}

/* RFC 8689 4.2.1: the way to the host and its certificate must both be vouched for. The RFC's
 * bounce is for hosts that cannot; where nobody knows yet whether a policy vouches for this one, a
 * later attempt may. */
static void require_tls(const struct tls_policy_inputs *in, struct tls_requirement *out)
{
    bool sts_vouches =
        in->sts && in->sts->mode == STS_ENFORCE && sts_policy_allows(in->sts, in->host);
    out->require_tls = true;
    out->mandatory = true;
    raise(out, TLS_LEVEL_ENCRYPT, TLS_SOURCE_MESSAGE);
    if (!out->checks) {
        out->checks |= TLS_CHECK_PKIX;
        /* The name of a next hop is what its operator says. */
        if (in->host_is_ours && in->local_names.num)
            out->names = in->local_names;
        else
            out->names_host = true;
    }
    if (!in->host_is_ours && !in->host_is_secure && !sts_vouches) {
        out->bounces = !out->unusable && !in->sts_is_uncertain;
        cannot_use(out, in->sts_is_uncertain
                            ? "REQUIRETLS needs a host that DNSSEC or MTA-STS vouches for, and the "
                              "MTA-STS policy could not be had"
                            : "REQUIRETLS needs a host that DNSSEC or MTA-STS vouches for");
    }
}

void tls_policy_combine(const struct tls_policy_inputs *in, struct tls_requirement *out)
{
    bool ignores_found = in->tls_optional && !in->require_tls;
    enum tls_level asked = ignores_found ? TLS_LEVEL_NONE : in->asked;
    *out = (struct tls_requirement){.level = TLS_LEVEL_NONE,
                                    .source = TLS_SOURCE_LOCAL,
                                    .wrapper = in->wrapper,
                                    .host = in->host,
                                    .host_is_literal = in->host_is_literal,
                                    .domain = in->domain};
    demand(in, in->local, in->local == TLS_LEVEL_MAY ? TLS_SOURCE_DEFAULT : TLS_SOURCE_LOCAL, out);
    if (in->wrapper)
        raise(out, TLS_LEVEL_ENCRYPT, TLS_SOURCE_LOCAL);
    demand(in, asked, TLS_SOURCE_MESSAGE, out);
    bool discovers = in->local != TLS_LEVEL_NONE && !ignores_found;
    if (discovers || in->local >= TLS_LEVEL_DANE || asked >= TLS_LEVEL_DANE)
        if (!discover_dane(in, out) && discovers)
            discover_sts(in, out);
    if (in->require_tls)
        require_tls(in, out);
}

static bool broken_long_enough(const struct tls_fallback *fallback, int64_t now_ms)
{
    if (fallback->broken_since_ms == 0)
        return false;
    switch (fallback->on_failure) {
    case TLS_ON_FAILURE_DEFER:
        return false;
    case TLS_ON_FAILURE_PLAINTEXT_NEXT:
        return now_ms - fallback->broken_since_ms >= fallback->plaintext_after_ms;
    case TLS_ON_FAILURE_PLAINTEXT_NOW:
        break;
    }
    return true;
}

enum tls_action tls_policy_decide(const struct tls_requirement *requirement, enum tls_event event,
                                  const struct tls_fallback *fallback, int64_t now_ms)
{
    if (requirement->mandatory)
        return TLS_ACTION_NEXT_HOST;
    if (requirement->level == TLS_LEVEL_NONE || event != TLS_HANDSHAKE_FAILED)
        return TLS_ACTION_PLAINTEXT;
    return broken_long_enough(fallback, now_ms) ? TLS_ACTION_PLAINTEXT : TLS_ACTION_NEXT_HOST;
}

bool tls_policy_wants_tls(const struct tls_requirement *requirement,
                          const struct tls_fallback *fallback, int64_t now_ms)
{
    if (requirement->mandatory)
        return true;
    return requirement->level != TLS_LEVEL_NONE && !broken_long_enough(fallback, now_ms);
}
