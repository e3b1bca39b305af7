/* dns/answer.c on any octets: the first picks what was asked, the rest is the message. What it
 * makes of them goes on to the judgement of routes, which must cope with it as well. */
#include "base/check.h"
#include "dns/route_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t draw(void *ctx)
{
    uint32_t *state = ctx;
    return *state = *state * 1664525u + 1013904223u;
}

static void check_answer(const struct answer *answer)
{
    CHECK(answer->text && answer->num_records <= ANSWER_RECORDS_MAX);
    CHECK(answer->status == ANSWER_RECORDS || answer->num_records == 0);
    for (size_t i = 0; i < answer->num_records; i++) {
        const struct answer_record *record = &answer->records[i];
        CHECK(record->data.at && record->data.at[record->data.len] == '\0');
    }
}

/* The answer as MX list, and again as the addresses of each host. */
static void check_route(struct answer *answer, uint16_t type)
{
    static const struct route_rules rules = {.own_name = "us.test", .max_hosts = ROUTE_HOSTS_MAX};
    struct route_target target = {.name = "a.test", .port = 25};
    struct route_plan plan;
    struct host_answers hosts[ROUTE_HOSTS_MAX];
    uint32_t state = 1;
    struct answer_found found = {.answer = answer};
    bool is_mx = type == TYPE_MX;
    struct route *route = route_plan(&target, &rules, is_mx ? &found : NULL, &plan);
    for (size_t i = 0; !route && i < plan.num_hosts; i++)
        hosts[i] = is_mx ? (struct host_answers){0} : (struct host_answers){.a = found};
    if (!route)
        route = route_build(&target, &rules, is_mx ? &found : NULL, &plan, hosts,
                            (struct route_random){draw, &state});
    CHECK((route->verdict == ROUTE_OK) == (route->num_hosts > 0));
    route_unref(route);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t types[] = {TYPE_MX, TYPE_A, TYPE_AAAA, TYPE_TXT, TYPE_TLSA};
    static struct answer_scratch scratch;
    if (size == 0)
        return 0;
    uint16_t type = types[data[0] % (sizeof types / sizeof *types)];
    answer_parse(bytes_make(data + 1, size - 1), "a.test", type, &scratch);
    check_answer(&scratch.answer);
    struct answer *copy = answer_copy(&scratch.answer);
    check_answer(copy);
    check_route(copy, type);
    answer_unref(copy);
    return 0;
}
