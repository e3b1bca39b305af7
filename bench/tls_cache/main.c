/* sluice-tls-cache-model: the two halves of `sluice-bench tls-cache`, which runs it and draws
 * conclusions: what handshakes cost here, and which of them a setting of the cache would resume.
 * This file is the JSON that it answers with. */
#include "base/memory.h"
#include "bench/tls_cache/arguments.h"
#include "bench/tls_cache/costs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SESSION_LEN_MAX = 64 * 1024 };

static void print_handshake(const char *name, const struct handshake_costs *costs)
{
    printf("\"%s\": {\"num\": %u, \"handshake_us\": %.1f, \"with_tickets_us\": %.1f}, ", name,
           costs->num, costs->handshake_us, costs->with_tickets_us);
}

static bool write_file(const char *path, struct bytes content)
{
    FILE *file = fopen(path, "we");
    bool ok = file && fwrite(content.at, 1, content.len, file) == content.len;
    if (file && fclose(file) != 0)
        ok = false;
    if (!ok)
        perror(path);
    return ok;
}

static int do_costs(const struct arguments *arguments)
{
    struct costs costs;
    char why[COSTS_WHY_MAX];
    if (!arguments->session || arguments->server.sin_port == 0)
        arguments_fail("costs: --connect and --session are needed");
    if (!costs_measure(&arguments->server, arguments->num, &costs, why)) {
        fprintf(stderr, "sluice-tls-cache-model: %s\n", why);
        buffer_fini(&costs.session);
        return EXIT_FAILURE;
    }
    printf("{");
    print_handshake("full", &costs.full);
    print_handshake("resumed", &costs.resumed);
    print_handshake("refused", &costs.refused);
    printf("\"destination_octets\": {\"1\": %llu, \"2\": %llu}, \"session_octets\": %zu}\n",
           (unsigned long long)costs.destination_len.one,
           (unsigned long long)costs.destination_len.two, costs.session.len);
    bool ok = write_file(arguments->session, buffer_bytes(&costs.session));
    buffer_fini(&costs.session);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The caller's to free. */
static struct bytes read_session(const char *path)
{
    FILE *file = path ? fopen(path, "re") : NULL;
    uint8_t *at = mem_alloc(SESSION_LEN_MAX);
    size_t len = file ? fread(at, 1, SESSION_LEN_MAX, file) : 0;
    if (file)
        fclose(file);
    if (len == 0)
        arguments_fail("run: --session-1.3 and --session-1.2 name files that `costs` wrote");
    return bytes_make(at, len);
}

static void print_counters(const struct session_cache_counters *counters)
{
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
        {"lookups", counters->lookups},
        {"hits", counters->hits},
        {"first", counters->missed_first},
        {"no_ticket", counters->missed_no_ticket},
        {"used_up", counters->missed_used_up},
        {"expired", counters->missed_expired},
        {"evicted", counters->missed_evicted},
        {"key_changed", counters->missed_key_changed},
        {"resumed", counters->resumed},
        {"refused", counters->refused},
        {"relent", counters->relent},
        {"evictions", counters->evicted},
        {"never_resumes", counters->never_resume},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf("%s\"%s\": %llu", i ? ", " : "", rows[i].name, (unsigned long long)rows[i].number);
}

static void print_result(const struct model_result *result)
{
    bool first = true;
    printf("{\"kinds\": {");
    for (unsigned kind = 0; kind < SERVER_KIND_NUM; kind++) {
        const struct model_tally *tally = &result->kinds[kind];
        if (tally->connections == 0)
            continue;
        printf("%s\"%s\": {\"connections\": %llu, \"resumed\": %llu, \"full\": %llu, \"refused\": "
               "%llu, \"tls12\": %s}",
               first ? "" : ", ", server_behaviour_of(kind)->name,
               (unsigned long long)tally->connections, (unsigned long long)tally->resumed,
               (unsigned long long)tally->full, (unsigned long long)tally->refused,
               server_behaviour_of(kind)->is_tls12 ? "true" : "false");
        first = false;
    }
    printf("}, \"counters\": {");
    print_counters(&result->counters);
    printf("}, \"octets_max\": %llu, \"destinations_max\": %llu, \"sessions_max\": %llu}\n",
           (unsigned long long)result->bytes_max, (unsigned long long)result->entries_max,
           (unsigned long long)result->sessions_max);
}

static int do_run(struct arguments *arguments)
{
    struct model_result result;
    arguments->model.session_1_3 = read_session(arguments->session_1_3);
    arguments->model.session_1_2 = read_session(arguments->session_1_2);
    bool ok = model_run(&arguments->workload, &arguments->model, &result);
    if (ok)
        print_result(&result);
    else
        fputs("sluice-tls-cache-model: sessions or arrivals cannot be read\n", stderr);
    free((void *)(uintptr_t)arguments->model.session_1_3.at);
    free((void *)(uintptr_t)arguments->model.session_1_2.at);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    arguments_parse(&arguments, argc, argv);
    if (strcmp(arguments.command, "costs") == 0)
        return do_costs(&arguments);
    if (strcmp(arguments.command, "run") == 0)
        return do_run(&arguments);
    arguments_fail(arguments.command);
}
