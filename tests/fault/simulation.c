/* The wiring of router.c without its threads, sockets and signals.
 * It judges nothing: fault_test.c does, by the ledger and the spool's files. */
#include "tests/fault/simulation.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/dispatcher.h"
#include "router/outcome_table.h"
#include "router/recovery.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { SEGMENT_LEN = 16 * 1024, LATER_ATTEMPTS = 2, TURNS_MAX = 2000000 };

static int64_t made_up_us; /* on top of the time at which the process started */

static int64_t read_us(clockid_t id)
{
    static int64_t started_us[2];
    struct timespec t;
    int64_t *started = &started_us[id == CLOCK_REALTIME];
    if (!*started) {
        clock_gettime(id, &t);
        *started = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
    }
    return *started + made_up_us;
}

int64_t simulation_time_us(void)
{
    return made_up_us;
}

void simulation_set_time_us(int64_t us)
{
    made_up_us = us;
}

/* In the place of base/clock.c. */
int64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

/* In the place of dns/resolver.c: one site for everybody. */
void resolver_ask(struct resolver *resolver, struct route_query *query)
{
    (void)resolver;
    struct route *route = mem_zalloc(1, sizeof *route);
    route->refs = 1;
    route->verdict = ROUTE_OK;
    route->host_set = route->site_name = "simulated";
    route->expires_ms = INT64_MAX;
    query->route = route;
    mailbox_post(query->reply_to, &query->item);
}

/* In the place of tls/sts_service.c, which the simulation does without: services.sts is NULL. */
void sts_service_ask(struct sts_service *service, struct sts_query *query)
{
    (void)service;
    (void)query;
    CHECK(false);
}

struct ledger_row *ledger_find(struct ledger *ledger, const char *address)
{
    for (unsigned i = 0; i < ledger->num; i++)
        if (strcmp(ledger->rows[i].address, address) == 0)
            return &ledger->rows[i];
    CHECK(ledger->num < LEDGER_MAX);
    struct ledger_row *row = &ledger->rows[ledger->num++];
    snprintf(row->address, sizeof row->address, "%s", address);
    return row;
}

struct simulation {
    const struct simulation_options *options;
    struct config *config;
    struct config_snapshot *snapshot; /* owns config */
    struct spool spool;
    struct journal *journal;
    struct pauses pauses;
    struct commit_gate commit_gate; /* durability group: deliveries do not wait */
    struct site_pool *site_pool;
    struct pickup *pickup;
    struct dispatcher *dispatcher;
    struct journal_thread journal_thread;
    struct loop worker_loop;
    struct mailbox worker_mailbox;
    bool done;
};

static void return_delivery(struct simulation *simulation, struct delivery *delivery)
{
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        delivery->recipients[i].outcome = (struct outcome){.kind = OUTCOME_RETURNED};
    delivery->item.kind = DELIVERY_RETURNED;
    mailbox_post(&simulation->dispatcher->mailbox, &delivery->item);
}

/* As a transaction does: all octets, from memory or the file. */
static bool read_content(struct simulation *simulation, const struct message *message)
{
    struct spool_file file = {.fd = -1};
    struct content_reader reader;
    struct bytes run;
    enum content_status status;
    if (!message->content.file.at &&
        (spool_open_message(&simulation->spool, message->path, false, &file) != 0 ||
         !file_identity_equal(&file.identity, &message->identity))) {
        if (file.fd >= 0)
            close(file.fd);
        return false;
    }
    content_reader_init(&reader, &message->content, CONTENT_DATA, file.fd);
    do
        status = content_reader_next(&reader, &run);
    while (status == CONTENT_MORE);
    content_reader_fini(&reader);
    if (file.fd >= 0)
        close(file.fd);
    return status == CONTENT_END;
}

static struct outcome answer(struct simulation *simulation, const struct message *message,
                             const char *mailbox, uint32_t attempt)
{
    const struct simulation_options *options = simulation->options;
    if (options->answer)
        return options->answer(message, mailbox, attempt, options->ctx);
    struct outcome outcome = {.phase = PHASE_FINAL};
    if (strncmp(mailbox, "no", 2) == 0) {
        outcome.kind = OUTCOME_BOUNCED;
        outcome.code = 550;
    } else if (strncmp(mailbox, "later", 5) == 0 && attempt <= LATER_ATTEMPTS) {
        outcome.kind = OUTCOME_DEFERRED;
        outcome.code = 450;
    } else {
        outcome.kind = OUTCOME_DELIVERED;
        outcome.code = 250;
        ledger_find(simulation->options->ledger, mailbox)->accepted++;
    }
    return outcome;
}

static void transmit(struct simulation *simulation, struct delivery *delivery)
{
    const struct message *message = delivery->message;
    uint32_t *indexes = mem_zalloc(delivery->num_recipients, sizeof *indexes);
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        indexes[i] = delivery->recipients[i].index;
    struct outcome outcome = {.kind = OUTCOME_NONE};
    if (!read_content(simulation, message))
        outcome = outcome_from_trouble(PHASE_QUEUE, TROUBLE_FILE_READ, NULL);
    else if (!journal_append_intent(simulation->journal, message->id, message->path,
                                    &message->identity, delivery->attempt, indexes,
                                    delivery->num_recipients))
        outcome = outcome_from_trouble(PHASE_CONTENT, TROUBLE_NOT_RECORDED, NULL);
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        delivery->recipients[i].outcome =
            outcome.kind != OUTCOME_NONE
                ? outcome
                : answer(simulation, message, delivery_recipient_address(delivery, i)->mailbox,
                         delivery->attempt);
    free(indexes);
    delivery->recorded = delivery_record(delivery, simulation->journal);
    delivery->item.kind = DELIVERY_ATTEMPTED;
    mailbox_post(&simulation->journal_thread.mailbox, &delivery->item);
}

/* The worker: each connection takes what there is and closes. */
static void on_wake(void *ctx, struct mailbox_item *item)
{
    struct simulation *simulation = ctx;
    struct site_wake *wake = container_of(item, struct site_wake, item);
    struct site *site = wake->site;
    unsigned serve = 0, open = 0;
    site_pool_read_wake(wake, &serve, &open);
    CHECK(serve == 0);
    while (open--) {
        enum site_taker taker = SITE_TAKER_NEW;
        struct delivery *delivery;
        while ((delivery = site_pool_take(simulation->site_pool, site, taker))) {
            taker = SITE_TAKER_BUSY;
            if (pauses_allow_deliveries(&simulation->pauses))
                transmit(simulation, delivery);
            else
                return_delivery(simulation, delivery);
        }
        site_pool_close_connection(simulation->site_pool, site, false,
                                   simulation->worker_loop.now_ms);
    }
}

struct replay {
    struct simulation *simulation;
    struct waiting_set *known;
};

/* The address of recipient `index` in the envelope block of a spool file. */
static bool read_receiver(const char *spool, const char *path, uint32_t index, char out[64])
{
    char *name = mem_printf("%s/%s", spool, path);
    FILE *file = fopen(name, "r");
    char line[512];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file))
        found = sscanf(line, "X-Receiver: <%63[^>]>", out) == 1 && index-- == 0;
    if (file)
        fclose(file);
    free(name);
    return found;
}

static void note_doubt(const struct simulation_options *options, const char *address,
                       uint32_t attempts)
{
    if (options->on_doubt)
        options->on_doubt(address, attempts, options->ctx);
    else
        ledger_find(options->ledger, address)->doubts++;
}

static void on_live(void *ctx, const struct journal_message *message)
{
    struct replay *replay = ctx;
    const struct simulation_options *options = replay->simulation->options;
    for (uint32_t i = 0; i < message->num_recipients; i++) {
        char address[64];
        if (message->recipients[i].status == RECIPIENT_IN_DOUBT &&
            read_receiver(options->spool, message->path, i, address))
            note_doubt(options, address, message->recipients[i].attempts);
    }
    waiting_set_on_live(replay->known, message);
}

static void claim(void *ctx, const struct file_identity *identity)
{
    pickup_claim(ctx, identity);
}

static void on_done(void *ctx)
{
    ((struct simulation *)ctx)->done = true;
}

static void no_workers_to_stop(void *ctx)
{
    (void)ctx;
}

static bool open_spool(struct simulation *simulation, struct waiting_set *known)
{
    char why[SPOOL_WHY_MAX];
    struct replay replay = {.simulation = simulation, .known = known};
    struct journal_options options = {.sync = true, .segment_len = SEGMENT_LEN};
    if (!spool_open(&simulation->spool, simulation->options->spool, true, why)) {
        log_error("%s", why);
        return false;
    }
    simulation->journal = journal_open(&simulation->spool, &options, on_live, &replay, why);
    if (simulation->journal)
        return true;
    log_error("%s", why);
    spool_close(&simulation->spool);
    return false;
}

static void wire(struct simulation *simulation)
{
    static atomic_size_t num_ahead;
    struct dispatcher_services dispatcher = {
        .config = simulation->config,
        .snapshot = simulation->snapshot,
        .journal = simulation->journal,
        .site_pool = simulation->site_pool,
        .pickup = &simulation->pickup->mailbox,
        .journal_thread = &simulation->journal_thread.mailbox,
        .until_empty = true,
        .on_done = on_done,
        .stop_workers = no_workers_to_stop,
        .ctx = simulation,
    };
    struct journal_thread_services journal_thread = {
        .config = simulation->config,
        .spool = &simulation->spool,
        .journal = simulation->journal,
        .dispatcher = &simulation->dispatcher->mailbox,
        .commit_gate = &simulation->commit_gate,
        .pauses = &simulation->pauses,
    };
    struct pickup_services pickup = {
        .config = simulation->config,
        .spool = &simulation->spool,
        .journal = simulation->journal,
        .dispatcher = &simulation->dispatcher->mailbox,
        .pauses = &simulation->pauses,
        .num_ahead = &num_ahead,
        .drain = true,
    };
    CHECK(loop_init(&simulation->worker_loop));
    CHECK(mailbox_init(&simulation->worker_mailbox, &simulation->worker_loop, on_wake, simulation));
    site_pool_set_worker(simulation->site_pool, 0, &simulation->worker_mailbox);
    CHECK(journal_thread_init(&simulation->journal_thread, &journal_thread));
    CHECK(pickup_init(simulation->pickup, &pickup));
    CHECK(dispatcher_init(simulation->dispatcher, &dispatcher));
}

enum { NUM_LOOPS = 4 };

static void list_loops(struct simulation *simulation, struct loop *loops[NUM_LOOPS])
{
    loops[0] = &simulation->pickup->loop;
    loops[1] = &simulation->dispatcher->loop;
    loops[2] = &simulation->worker_loop;
    loops[3] = &simulation->journal_thread.loop;
}

/* The two looks that come all the time and mostly find nothing: at the spool, and for what is
 * stale. While nothing is paused the clock does not stop for them; they come with the timer after
 * them, as on a machine that was asleep. Hours of made-up time take dozens of turns then, not
 * thousands. */
static int64_t next_event_ms(struct simulation *simulation, struct loop *const loops[NUM_LOOPS])
{
    struct timer *looks[] = {&simulation->pickup->pause_timer,
                             &simulation->dispatcher->sweep_timer};
    int64_t due_ms[2], next_ms = INT64_MAX;
    bool skips = !pauses_any(&simulation->pauses);
    for (int i = 0; i < 2; i++) {
        due_ms[i] = timer_is_armed(looks[i]) ? looks[i]->due_ms : INT64_MAX;
        if (skips)
            timer_cancel(&loops[i]->timers, looks[i]);
    }
    for (int i = 0; i < NUM_LOOPS; i++) {
        int64_t ms = timer_queue_next_ms(&loops[i]->timers);
        next_ms = ms < next_ms ? ms : next_ms;
    }
    for (int i = 0; i < 2; i++)
        if (skips && due_ms[i] != INT64_MAX)
            timer_arm(&loops[i]->timers, looks[i], due_ms[i]);
    return next_ms;
}

/* When nothing is ready the clock goes on to the next timer. */
static void advance(struct simulation *simulation, struct loop *const loops[NUM_LOOPS])
{
    struct pollfd fds[NUM_LOOPS];
    for (int i = 0; i < NUM_LOOPS; i++)
        fds[i] = (struct pollfd){.fd = loops[i]->epoll_fd, .events = POLLIN};
    int64_t now_us = clock_mono_us(), next_ms = next_event_ms(simulation, loops);
    if (poll(fds, NUM_LOOPS, 0) == 0 && next_ms != INT64_MAX && next_ms * 1000 > now_us)
        made_up_us += next_ms * 1000 - now_us;
}

static enum simulation_end work(struct simulation *simulation)
{
    const struct simulation_options *options = simulation->options;
    struct loop *loops[NUM_LOOPS];
    int64_t began_us = clock_mono_us();
    list_loops(simulation, loops);
    for (unsigned turn = 0; turn < TURNS_MAX && !simulation->done; turn++) {
        for (int i = 0; i < NUM_LOOPS; i++)
            loop_turn(loops[i], 0);
        advance(simulation, loops);
        int64_t passed_ms = (clock_mono_us() - began_us) / 1000;
        if (options->on_turn)
            options->on_turn(passed_ms, options->ctx);
        if (passed_ms > options->most_ms)
            return SIMULATION_TIME_UP;
    }
    return simulation->done ? SIMULATION_EMPTY : SIMULATION_TIME_UP;
}

static void turn_until_stopped(struct simulation *simulation, struct loop *const loops[NUM_LOOPS],
                               const struct loop *stops)
{
    while (!stops->stopped) {
        for (int i = 0; i < NUM_LOOPS; i++)
            loop_turn(loops[i], 0);
        advance(simulation, loops);
    }
}

/* As router.c: downstream last. */
static void end(struct simulation *simulation)
{
    struct loop *loops[NUM_LOOPS];
    list_loops(simulation, loops);
    dispatcher_stop(simulation->dispatcher);
    turn_until_stopped(simulation, loops, &simulation->dispatcher->loop);
    journal_thread_stop(&simulation->journal_thread);
    turn_until_stopped(simulation, loops, &simulation->journal_thread.loop);
    dispatcher_fini(simulation->dispatcher);
    pickup_fini(simulation->pickup);
    site_pool_free(simulation->site_pool);
    mailbox_fini(&simulation->worker_mailbox);
    loop_fini(&simulation->worker_loop);
    journal_thread_fini(&simulation->journal_thread);
    journal_close(simulation->journal);
    spool_close(&simulation->spool);
}

enum simulation_end simulation_run(const struct simulation_options *options)
{
    struct simulation simulation = {.options = options};
    struct waiting_set known = {0};
    enum simulation_end result = SIMULATION_REFUSED;
    char why[CONFIG_WHY_MAX];
    simulation.config = config_parse(options->config, "simulation", why);
    if (!simulation.config)
        log_error("%s", why);
    CHECK(simulation.config);
    simulation.snapshot = config_snapshot_new(simulation.config, why);
    CHECK(simulation.snapshot);
    pauses_init(&simulation.pauses);
    commit_gate_init(&simulation.commit_gate, simulation.config);
    if (open_spool(&simulation, &known)) {
        simulation.site_pool = site_pool_new(simulation.config, 1);
        simulation.pickup = mem_zalloc(1, sizeof *simulation.pickup);
        simulation.dispatcher = mem_zalloc(1, sizeof *simulation.dispatcher);
        wire(&simulation);
        if (recovery_finish(&known, &simulation.spool, &simulation.dispatcher->table,
                            simulation.journal, claim, simulation.pickup, why)) {
            pickup_set_highest_id(simulation.pickup, journal_highest_id(simulation.journal));
            result = work(&simulation);
        } else
            log_error("%s", why);
        end(&simulation);
        free(simulation.pickup);
        free(simulation.dispatcher);
    }
    waiting_set_fini(&known);
    pauses_fini(&simulation.pauses);
    config_snapshot_unref(simulation.snapshot);
    return result;
}

void simulation_print_log(const char *folder)
{
    char path[400], line[400];
    snprintf(path, sizeof path, "%s/log", folder);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        printf("    %s", line);
    if (file)
        fclose(file);
}
