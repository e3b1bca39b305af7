/* Answers to routes. Top down: the plan (which hosts), the verdicts, the hosts' addresses; the
 * memory of a route is laid out in route.c.
 * It asks nobody, and no state survives a call. */
#include "dns/route_build.h"

#include "base/check.h"
#include "dns/route_draft.h"

#include <stdio.h>
#include <stdlib.h>

/* What the answers so far say about the whole, whatever the verdict will be. */
struct evidence {
    int64_t expires_ms;
    bool is_stale;
};

static struct evidence evidence_of(const struct answer_found *mx)
{
    struct evidence evidence = {.expires_ms = INT64_MAX};
    if (mx)
        evidence = (struct evidence){.expires_ms = mx->expires_ms, .is_stale = mx->is_stale};
    return evidence;
}

static void add_evidence(struct evidence *evidence, const struct answer_found *found)
{
    if (!found->answer)
        return;
    if (found->expires_ms < evidence->expires_ms)
        evidence->expires_ms = found->expires_ms;
    evidence->is_stale |= found->is_stale;
}

/* Every bounce passes here: it has to rest on fresh answers, and a next hop is the operator's. */
static struct route *bounce(const struct route_target *target, struct evidence evidence,
                            uint16_t code, uint32_t enhanced, const char *why)
{
    if (target->is_next_hop)
        return route_new_verdict(target, ROUTE_DEFER, 0, ENHANCED(4, 3, 5), evidence.expires_ms,
                                 "next hop %.100s: %s", target->name, why);
    if (evidence.is_stale)
        return route_new_verdict(target, ROUTE_DEFER, 0, ENHANCED(4, 4, 3), evidence.expires_ms,
                                 "%.100s: the DNS servers fail (an old answer said: %s)",
                                 target->name, why);
    return route_new_verdict(target, ROUTE_BOUNCE, code, enhanced, evidence.expires_ms,
                             "%.100s: %s", target->name, why);
}

static struct route *defer(const struct route_target *target, struct evidence evidence,
                           const char *what, const char *why)
{
    return route_new_verdict(target, ROUTE_DEFER, 0, ENHANCED(4, 4, 3), evidence.expires_ms,
                             "%.100s: DNS look-up of %s: %s", target->name, what, why);
}

static int compare_hosts(const void *a, const void *b)
{
    const struct route_plan_host *x = a;
    const struct route_plan_host *y = b;
    return x->preference != y->preference ? x->preference - y->preference
                                          : strcmp(x->name, y->name);
}

static bool is_own_name(const struct route_rules *rules, const char *name)
{
    return rules->own_name && *rules->own_name && domain_name_equal(rules->own_name, name);
}

/* "MX 0 ." alone: the domain accepts no mail (RFC 7505 3). */
static bool is_null_mx(const struct answer *mx)
{
    return mx->num_records == 1 && mx->records[0].data.len == 0;
}

/* Usable names of the MX answer; what is not a host name is skipped: the root beside others,
 * addresses, garbage. */
static size_t collect(const struct answer *mx, const struct route_rules *rules,
                      struct route_plan_host out[ANSWER_RECORDS_MAX], struct route_plan *plan)
{
    size_t num = 0;
    for (size_t i = 0; i < mx->num_records && num < ANSWER_RECORDS_MAX; i++) {
        struct route_plan_host *host = &out[num];
        host->preference = mx->records[i].preference;
        if (!domain_name_normalise(mx->records[i].data, host->name) ||
            domain_name_is_numeric(host->name))
            continue;
        if (domain_name_is_localhost(host->name) && !rules->allow_local)
            plan->has_local = true;
        else
            num++;
    }
    return num;
}

/* RFC 5321 5.1: where we are in the list ourselves, hosts that are not better than us would send
 * the message back. */
static size_t cut_own(const struct route_plan_host *sorted, size_t num,
                      const struct route_rules *rules, struct route_plan *plan)
{
    for (size_t i = 0; i < num; i++) {
        if (!is_own_name(rules, sorted[i].name))
            continue;
        plan->has_local = true;
        size_t keep = i;
        while (keep > 0 && sorted[keep - 1].preference == sorted[i].preference)
            keep--;
        return keep;
    }
    return num;
}

static bool is_planned(const struct route_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->num_hosts; i++)
        if (strcmp(plan->hosts[i].name, name) == 0)
            return true;
    return false;
}

static void plan_mx(const struct route_target *target, const struct route_rules *rules,
                    const struct answer *mx, struct route_plan *plan)
{
    struct route_plan_host found[ANSWER_RECORDS_MAX];
    size_t num = collect(mx, rules, found, plan);
    qsort(found, num, sizeof *found, compare_hosts);
    if (!target->is_next_hop)
        num = cut_own(found, num, rules, plan);
    for (size_t i = 0; i < num; i++) {
        if (is_planned(plan, found[i].name))
            continue;
        if (plan->num_hosts == rules->max_hosts) {
            plan->is_cut = true;
            return;
        }
        plan->hosts[plan->num_hosts++] = found[i];
    }
}

static struct route *plan_domain_itself(const struct route_target *target,
                                        const struct route_rules *rules, struct evidence evidence,
                                        struct route_plan *plan)
{
    struct route_plan_host *host = &plan->hosts[0];
    plan->is_implicit = true;
    host->preference = 0; /* RFC 5321 5.1 */
    if (!domain_name_normalise(bytes_of(target->name), host->name))
        return bounce(target, evidence, 550, ENHANCED(5, 1, 2), "not a domain name");
    if (!target->is_next_hop && is_own_name(rules, host->name))
        return bounce(target, evidence, 550, ENHANCED(5, 4, 6),
                      "mail for it loops back: it is this host");
    if (!target->is_next_hop && !rules->allow_local && domain_name_is_localhost(host->name))
        return bounce(target, evidence, 550, ENHANCED(5, 4, 6), "it is this machine");
    plan->num_hosts = 1;
    return NULL;
}

struct route *route_plan(const struct route_target *target, const struct route_rules *rules,
                         const struct answer_found *mx, struct route_plan *plan)
{
    CHECK(rules->max_hosts >= 1 && rules->max_hosts <= ROUTE_HOSTS_MAX);
    struct evidence evidence = evidence_of(mx);
    plan->num_hosts = 0;
    plan->is_implicit = plan->is_cut = plan->has_local = false;
    if (!mx)
        return plan_domain_itself(target, rules, evidence, plan);
    switch (mx->answer->status) {
    case ANSWER_FAILED:
    case ANSWER_ALIAS:
        return defer(target, evidence, "MX", mx->answer->text);
    case ANSWER_NXDOMAIN:
        return bounce(target, evidence, 550, ENHANCED(5, 1, 2), "the domain does not exist");
    case ANSWER_NODATA:
        return plan_domain_itself(target, rules, evidence, plan);
    case ANSWER_RECORDS:
        break;
    }
    if (is_null_mx(mx->answer))
        return bounce(target, evidence, 556, ENHANCED(5, 1, 10),
                      "the domain accepts no mail (null MX)");
    plan_mx(target, rules, mx->answer, plan);
    if (plan->num_hosts > 0)
        return NULL;
    if (plan->has_local)
        return bounce(target, evidence, 550, ENHANCED(5, 4, 6),
                      "mail for it loops back: its MX hosts are this host or not better");
    return bounce(target, evidence, 550, ENHANCED(5, 4, 4), "no MX record names a usable host");
}

static bool is_own_address(const struct route_rules *rules, const struct host_address *address)
{
    for (size_t i = 0; i < rules->num_own_addresses; i++)
        if (host_address_equal(&rules->own_addresses[i], address))
            return true;
    return false;
}

/* What became of one host while its addresses were looked at. */
struct host_state {
    bool is_uncertain; /* an answer is missing: it may have addresses all the same */
    bool is_own;       /* it has an address of one of our interfaces */
    bool has_local;
    const char *why; /* of the uncertainty */
};

static bool is_usable(const struct route_target *target, const struct route_rules *rules,
                      const struct host_address *address, struct host_state *state)
{
    if (target->is_next_hop || rules->allow_local)
        return true;
    if (host_address_is_local(address)) {
        state->has_local = true;
        return false;
    }
    if (is_own_address(rules, address))
        state->has_local = state->is_own = true;
    return !state->is_own;
}

static void shuffle_addresses(struct host_address *at, size_t num, struct route_random random)
{
    for (size_t i = num; i > 1; i--) {
        size_t j = random.draw(random.ctx) % i;
        struct host_address swapped = at[i - 1];
        at[i - 1] = at[j];
        at[j] = swapped;
    }
}

/* Usable addresses of one family, each once, shuffled: a cached answer keeps the order in which it
 * came, so that the server's own rotation is lost. */
static size_t take_family(const struct route_target *target, const struct route_rules *rules,
                          const struct answer *answer, struct route_random random,
                          struct host_state *state, struct host_address out[ANSWER_RECORDS_MAX])
{
    size_t num = 0;
    if (!answer)
        return 0;
    if (answer->status == ANSWER_FAILED || answer->status == ANSWER_ALIAS) {
        state->is_uncertain = true;
        state->why = answer->text;
    }
    for (size_t i = 0; i < answer->num_records; i++) {
        const struct host_address *address = &answer->records[i].address;
        bool is_known = false;
        for (size_t k = 0; k < num && !is_known; k++)
            is_known = host_address_equal(&out[k], address);
        if (!is_known && is_usable(target, rules, address, state))
            out[num++] = *address;
    }
    shuffle_addresses(out, num, random);
    return num;
}

/* IPv6 first, then the families in turn (RFC 8305 4), so that the limit never costs one family. */
static void interleave(struct draft_host *host, const struct host_address *v6, size_t num_v6,
                       const struct host_address *v4, size_t num_v4)
{
    size_t i6 = 0;
    size_t i4 = 0;
    while ((i6 < num_v6 || i4 < num_v4) && host->num_addresses < ROUTE_ADDRESSES_MAX) {
        if (i6 < num_v6)
            host->addresses[host->num_addresses++] = v6[i6++];
        if (i4 < num_v4 && host->num_addresses < ROUTE_ADDRESSES_MAX)
            host->addresses[host->num_addresses++] = v4[i4++];
    }
}

/* A failed answer brings no address, so it takes nothing from the security of those that came;
 * otherwise whoever blocks one family could switch DANE off (RFC 7672 2.1.2). */
static bool are_secure(const struct host_answers *answers)
{
    const struct answer *both[] = {answers->a.answer, answers->aaaa.answer};
    bool any = false;
    for (size_t i = 0; i < 2; i++) {
        if (!both[i] || both[i]->status == ANSWER_FAILED)
            continue;
        if (!both[i]->secure)
            return false;
        any = true;
    }
    return any;
}

bool route_host_wants_tlsa(const struct route_target *target, const struct answer_found *mx,
                           const struct host_answers *answers)
{
    return target->transport == TRANSPORT_SMTP && (!mx || mx->answer->secure) &&
           are_secure(answers);
}

const char *route_host_alias(const struct host_answers *answers)
{
    const struct answer *both[] = {answers->a.answer, answers->aaaa.answer};
    for (size_t i = 0; i < 2; i++)
        if (both[i] && both[i]->status == ANSWER_RECORDS && *both[i]->text)
            return both[i]->text;
    return NULL;
}

/* Of a set that was cut, those left out may be the ones that can be used: without them the host
 * would pass unchecked. */
static bool is_whole(const struct answer *answer)
{
    return !answer->limit_hit && answer->num_records <= TLSA_RECORDS_MAX;
}

/* One answer for TLSA records. What is not secure does not count (RFC 7672 2.1.1); a failure, and
 * an old denial while the servers fail, could be an attacker's doing (2.1.2). */
static enum tlsa_state judge_tlsa(const struct answer_found *found)
{
    if (!found->answer)
        return TLSA_NOT_ASKED;
    switch (found->answer->status) {
    case ANSWER_RECORDS:
        if (!found->answer->secure)
            return TLSA_NONE;
        return is_whole(found->answer) ? TLSA_FOUND : TLSA_FAILED;
    case ANSWER_NODATA:
    case ANSWER_NXDOMAIN:
        return found->is_stale ? TLSA_FAILED : TLSA_NONE;
    case ANSWER_ALIAS:
    case ANSWER_FAILED:
        break;
    }
    return TLSA_FAILED;
}

/* The end of the host's CNAMEs goes before its own name (RFC 7672 2.2.2). */
static void take_tlsa(const struct host_answers *answers, struct draft_host *host)
{
    const struct answer_found *found = &answers->tlsa_alias;
    host->tlsa.base = route_host_alias(answers);
    host->tlsa.state = judge_tlsa(found);
    if (host->tlsa.state == TLSA_NOT_ASKED || host->tlsa.state == TLSA_NONE) {
        found = &answers->tlsa;
        host->tlsa.base = host->name;
        host->tlsa.state = judge_tlsa(found);
    }
    host->tlsa.num = 0;
    if (host->tlsa.state != TLSA_FOUND)
        return;
    for (size_t i = 0; i < found->answer->num_records && host->tlsa.num < TLSA_RECORDS_MAX; i++) {
        const struct answer_record *record = &found->answer->records[i];
        host->records[host->tlsa.num++] = (struct tlsa_record){.usage = record->usage,
                                                               .selector = record->selector,
                                                               .matching = record->matching,
                                                               .len = (uint16_t)record->data.len,
                                                               .data = record->data.at};
    }
}

static struct host_state judge_host(const struct route_target *target,
                                    const struct route_rules *rules,
                                    const struct host_answers *answers, struct route_random random,
                                    struct draft_host *host)
{
    struct host_address v6[ANSWER_RECORDS_MAX];
    struct host_address v4[ANSWER_RECORDS_MAX];
    struct host_state state = {0};
    size_t num_v6 = take_family(target, rules, answers->aaaa.answer, random, &state, v6);
    size_t num_v4 = take_family(target, rules, answers->a.answer, random, &state, v4);
    host->num_addresses = 0;
    if (!state.is_own)
        interleave(host, v6, num_v6, v4, num_v4);
    return state;
}

/* Nothing to connect to. Only when every answer is in can that be final. */
static struct route *judge_no_host(const struct route_target *target, const struct route_plan *plan,
                                   struct evidence evidence, const struct host_state *sum)
{
    if (sum->is_uncertain)
        return defer(target, evidence, "the MX hosts' addresses", sum->why);
    if (plan->is_cut)
        return defer(target, evidence, "the MX hosts' addresses",
                     "none of the first hosts has one, and there are more hosts than the limit");
    if (sum->has_local || plan->has_local)
        return bounce(target, evidence, 550, ENHANCED(5, 4, 6),
                      "mail for it loops back: its hosts have only addresses of this machine");
    if (plan->is_implicit)
        return bounce(target, evidence, 550, ENHANCED(5, 1, 2),
                      "the domain has neither MX nor address");
    return bounce(target, evidence, 550, ENHANCED(5, 4, 4), "no MX host has an address");
}

/* Equal preferences in random order (RFC 5321 5.1). */
static void shuffle_equals(struct route_draft *draft, struct route_random random)
{
    for (size_t start = 0; start < draft->num_hosts;) {
        size_t end = start + 1;
        while (end < draft->num_hosts &&
               draft->hosts[end].preference == draft->hosts[start].preference)
            end++;
        for (size_t i = end; i > start + 1; i--) {
            size_t j = start + random.draw(random.ctx) % (i - start);
            struct draft_host swapped = draft->hosts[i - 1];
            draft->hosts[i - 1] = draft->hosts[j];
            draft->hosts[j] = swapped;
        }
        start = end;
    }
}

/* The sum of what was learned; hosts with addresses go into the draft. */
static struct host_state judge_hosts(const struct route_target *target,
                                     const struct route_rules *rules, const struct route_plan *plan,
                                     const struct host_answers *answers, struct route_random random,
                                     struct route_draft *draft)
{
    struct host_state sum = {0};
    for (size_t i = 0; i < plan->num_hosts; i++) {
        struct draft_host *host = &draft->hosts[draft->num_hosts];
        struct host_state state = judge_host(target, rules, &answers[i], random, host);
        sum.has_local |= state.has_local;
        if (state.is_own) {
            /* We are this host, so it ends the list like our name does, its equals included. */
            while (draft->num_hosts > 0 &&
                   draft->hosts[draft->num_hosts - 1].preference == plan->hosts[i].preference)
                draft->num_hosts--;
            break;
        }
        if (state.is_uncertain) {
            sum.is_uncertain = true;
            sum.why = state.why;
        }
        if (host->num_addresses == 0)
            continue;
        host->name = plan->hosts[i].name;
        host->preference = plan->hosts[i].preference;
        host->is_literal = false;
        host->secure = are_secure(&answers[i]);
        take_tlsa(&answers[i], host);
        draft->num_hosts++;
    }
    return sum;
}

/* Of all planned hosts, with or without addresses just now: a site must not change its identity
 * because a look-up fails for a while. The order of the plan is that of the text. */
static void write_host_set(const struct route_target *target, const struct route_plan *plan,
                           bool is_by_mx, struct buffer *out)
{
    buffer_printf(out, "%s:%u", target->transport == TRANSPORT_LMTP ? "lmtp" : "smtp",
                  target->port);
    for (size_t i = 0; i < plan->num_hosts; i++)
        if (is_by_mx)
            buffer_printf(out, " %u:%s", plan->hosts[i].preference, plan->hosts[i].name);
        else
            buffer_printf(out, " [%s]", plan->hosts[i].name);
}

struct route *route_build(const struct route_target *target, const struct route_rules *rules,
                          const struct answer_found *mx, const struct route_plan *plan,
                          const struct host_answers *answers, struct route_random random)
{
    struct route_draft draft = {.target = target};
    struct evidence evidence = evidence_of(mx);
    for (size_t i = 0; i < plan->num_hosts; i++) {
        add_evidence(&evidence, &answers[i].a);
        add_evidence(&evidence, &answers[i].aaaa);
        add_evidence(&evidence, &answers[i].tlsa);
        add_evidence(&evidence, &answers[i].tlsa_alias);
    }
    struct host_state sum = judge_hosts(target, rules, plan, answers, random, &draft);
    if (draft.num_hosts == 0)
        return judge_no_host(target, plan, evidence, &sum);
    draft.expires_ms = evidence.expires_ms;
    draft.is_stale = evidence.is_stale;
    draft.secure = true;
    for (size_t i = 0; i < draft.num_hosts; i++) {
        draft.hosts[i].secure &= !mx || mx->answer->secure;
        draft.secure &= draft.hosts[i].secure;
    }
    draft.site_name = target->site_name ? target->site_name : plan->hosts[0].name;
    shuffle_equals(&draft, random);
    buffer_init(&draft.host_set, HOST_SET_MAX);
    write_host_set(target, plan, mx != NULL, &draft.host_set);
    struct route *route = route_draft_finish(&draft);
    buffer_fini(&draft.host_set);
    return route;
}

struct route *route_build_literal(const struct route_target *target,
                                  const struct route_rules *rules,
                                  const struct host_address *address)
{
    struct evidence evidence = {.expires_ms = INT64_MAX};
    struct host_state state = {0};
    if (!is_usable(target, rules, address, &state))
        return bounce(target, evidence, 550, ENHANCED(5, 4, 6),
                      "the address is one of this machine");
    char text[46];
    host_address_format(address, text);
    struct route_draft draft = {.target = target, .num_hosts = 1, .expires_ms = INT64_MAX};
    draft.hosts[0] = (struct draft_host){
        .name = text, .is_literal = true, .num_addresses = 1, .addresses = {*address}};
    draft.site_name = target->site_name ? target->site_name : target->name;
    buffer_init(&draft.host_set, HOST_SET_MAX);
    buffer_printf(&draft.host_set, "%s:%u [%s]",
                  target->transport == TRANSPORT_LMTP ? "lmtp" : "smtp", target->port, text);
    struct route *route = route_draft_finish(&draft);
    buffer_fini(&draft.host_set);
    return route;
}
