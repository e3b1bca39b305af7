/* The threads of the header, and the seam that counts locks: the linker puts
 * __wrap_pthread_mutex_lock in the place of pthread_mutex_lock() (CMakeLists.txt). It prints
 * nothing and judges nothing. */
#include "bench/session_cache/crowd.h"

#include "base/check.h"
#include "base/memory.h"
#include "bench/tls_cache/workload.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

enum { OWN_SESSIONS = 64, DRAWN = 64 * 1024, HOUR_MS = 3600 * 1000, LIFETIME_S = 7200 };

struct locks {
    uint64_t taken, waited;
};
static _Thread_local struct locks locks;

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    locks.taken++;
    if (pthread_mutex_trylock(mutex) == 0)
        return 0;
    locks.waited++;
    return __real_pthread_mutex_lock(mutex);
}

struct member {
    pthread_t thread;
    const struct crowd_options *options;            /* borrowed */
    struct session_cache *cache;                    /* borrowed */
    const struct session_destination *destinations; /* borrowed array */
    pthread_barrier_t *start;                       /* borrowed */
    uint64_t rounds;
    uint32_t *drawn;                     /* owned: destinations in turn, over and over */
    SSL_SESSION *sessions[OWN_SESSIONS]; /* owned references */
    double cpu_us;
    struct locks locks;
    uint64_t sleeps;
};

static double thread_cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static uint64_t thread_sleeps(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (uint64_t)usage.ru_nvcsw;
}

/* Every third looks up in vain now and then, and what was offered is nearly always accepted. */
static void do_round(struct member *member, uint64_t n)
{
    const struct session_destination *to = &member->destinations[member->drawn[n % DRAWN]];
    SSL_SESSION *fresh = member->sessions[n % OWN_SESSIONS];
    struct session_offer offer;
    SSL_SESSION *session = session_cache_take(member->cache, to, HOUR_MS, &offer);
    struct session_report report = {
        .session = session,
        .use = !session       ? SESSION_USE_FULL
               : n % 100 == 0 ? SESSION_USE_REFUSED
                              : SESSION_USE_RESUMED,
        .miss = offer.miss,
        .cpu_us = 100,
    };
    session_cache_report(member->cache, to, &report);
    SSL_SESSION_free(session);
    SSL_SESSION_up_ref(fresh);
    session_cache_put(member->cache, to, fresh, SESSION_UNVERIFIED, HOUR_MS);
}

/* Returns what it took. */
static double spend(double us)
{
    double begin_us = thread_cpu_us(), now_us = begin_us;
    while (now_us - begin_us < us)
        now_us = thread_cpu_us();
    return now_us - begin_us;
}

static void *run(void *arg)
{
    struct member *member = arg;
    unsigned between_us = member->options->between_us;
    double elsewhere_us = 0;
    pthread_barrier_wait(member->start);
    locks = (struct locks){0};
    uint64_t sleeps = thread_sleeps();
    double begin_us = thread_cpu_us();
    for (uint64_t n = 0; n < member->rounds; n++) {
        do_round(member, n);
        if (between_us)
            elsewhere_us += spend(between_us);
    }
    member->cpu_us = thread_cpu_us() - begin_us - elsewhere_us;
    member->sleeps = thread_sleeps() - sleeps;
    member->locks = locks;
    return NULL;
}

static SSL_SESSION *make_session(SSL_CTX *ctx, unsigned number)
{
    uint8_t ticket[160] = {0};
    SSL_SESSION *session = SSL_SESSION_new(ctx);
    memcpy(ticket, &number, sizeof number);
    CHECK(session && SSL_SESSION_set1_id(session, ticket, 32));
    CHECK(SSL_SESSION_set_ticket(session, ticket, sizeof ticket));
    CHECK(SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION));
    SSL_SESSION_set_timeout(session, LIFETIME_S);
    return session;
}

/* Each thread has its own sequence of destinations, all of the same popularity. */
static void draw(struct member *member, unsigned number)
{
    const struct crowd_options *options = member->options;
    const struct workload_options described = {.destinations = options->destinations,
                                               .zipf = options->zipf,
                                               .rate = 1000,
                                               .burst = 1,
                                               .duration_ms = INT64_MAX,
                                               .mix = {[SERVER_SEVERAL] = 1},
                                               .seed = number + 1};
    struct workload *workload = workload_new(&described);
    CHECK(workload);
    member->drawn = mem_zalloc(DRAWN, sizeof *member->drawn);
    for (unsigned i = 0; i < DRAWN; i++) {
        struct arrival arrival;
        CHECK(workload_next(workload, &arrival));
        member->drawn[i] = arrival.destination;
    }
    workload_free(workload);
}

static void member_init(struct member *member, SSL_CTX *ctx, unsigned number)
{
    draw(member, number);
    for (unsigned i = 0; i < OWN_SESSIONS; i++)
        member->sessions[i] = make_session(ctx, number * OWN_SESSIONS + i);
}

static void member_fini(struct member *member)
{
    for (unsigned i = 0; i < OWN_SESSIONS; i++)
        SSL_SESSION_free(member->sessions[i]);
    free(member->drawn);
}

static struct session_destination *make_destinations(size_t num)
{
    struct session_destination *all = mem_zalloc(num, sizeof *all);
    for (size_t i = 0; i < num; i++) {
        char address[32];
        snprintf(address, sizeof address, "%zu", i);
        struct session_key_parts parts = {.destination = bytes_of(address), .port = 25};
        all[i] = (struct session_destination){
            .key = session_key_make(&parts),
            .label = mem_printf("mx%zu.example.test [192.0.2.%zu]:25", i, i % 256),
            .limits = {.tickets = 4, .timeout_ms = HOUR_MS}};
    }
    return all;
}

static void free_destinations(struct session_destination *all, size_t num)
{
    for (size_t i = 0; i < num; i++)
        free((char *)(uintptr_t)all[i].label);
    free(all);
}

static void go(struct member *members, unsigned num, struct crowd_result *out)
{
    *out = (struct crowd_result){0};
    for (unsigned i = 0; i < num; i++)
        CHECK(pthread_create(&members[i].thread, NULL, run, &members[i]) == 0);
    for (unsigned i = 0; i < num; i++) {
        pthread_join(members[i].thread, NULL);
        out->rounds += members[i].rounds;
        out->cpu_us += members[i].cpu_us;
        out->locks += members[i].locks.taken;
        out->waits += members[i].locks.waited;
        out->sleeps += members[i].sleeps;
    }
}

void crowd_run(const struct crowd_options *options, struct crowd_result *out)
{
    unsigned num = options->threads;
    SSL_CTX *ctx = SSL_CTX_new(TLS_with_buffers_method());
    struct session_cache *cache = session_cache_new(
        &(struct session_cache_options){.entries = options->entries, .stripes = options->stripes});
    struct session_destination *destinations = make_destinations(options->destinations);
    struct member *members = mem_zalloc(num, sizeof *members);
    pthread_barrier_t start;
    CHECK(ctx && num <= CROWD_THREADS_MAX && pthread_barrier_init(&start, NULL, num) == 0);
    for (unsigned i = 0; i < num; i++) {
        members[i] = (struct member){.options = options,
                                     .cache = cache,
                                     .start = &start,
                                     .destinations = destinations,
                                     .rounds = options->rounds / num};
        member_init(&members[i], ctx, i);
    }
    go(members, num, out);
    session_cache_read_counters(cache, &out->counters);
    for (unsigned i = 0; i < num; i++)
        member_fini(&members[i]);
    pthread_barrier_destroy(&start);
    free(members);
    free_destinations(destinations, options->destinations);
    session_cache_free(cache);
    SSL_CTX_free(ctx);
}
