/* What becomes of each recipient after a cut; see the header for what is asked. */
#include "tests/powercut/judge.h"

#include "base/memory.h"
#include "router/recovery.h"
#include "tests/powercut/simulated_calls.h"

#include <stdio.h>
#include <unistd.h>

enum { DEVICE_AFTER_CUT = 3 /* a reboot may number devices anew */ };

/* What would happen to one recipient, by row of the ledger. */
struct fate {
    bool sent;   /* an attempt will be made */
    bool held;   /* an operator decides */
    bool told;   /* a DSN about it is in the spool, or will be written */
    bool is_bad; /* the file is in bad/, for an operator */
};

struct view {
    const struct disk *disk;
    const struct ledger *ledger;
    const struct run_options *options;
    struct fate *fates;           /* owned */
    struct file_identity *claims; /* owned */
    size_t num_claims, cap_claims;
};

static void on_claim(void *ctx, const struct file_identity *identity)
{
    struct view *view = ctx;
    if (view->num_claims == view->cap_claims) {
        view->cap_claims = view->cap_claims ? view->cap_claims * 2 : 64;
        view->claims = mem_realloc(view->claims, view->cap_claims, sizeof *view->claims);
    }
    view->claims[view->num_claims++] = *identity;
}

static struct fate *fate_of(const struct view *view, const char *address)
{
    const struct ledger_row *row = ledger_find(view->ledger, address);
    return row ? &view->fates[row - view->ledger->rows] : NULL;
}

static void see_told(void *ctx, const char *address)
{
    struct fate *fate = fate_of(ctx, address);
    if (fate)
        fate->told = true;
}

static void see_told_held(void *ctx, const char *address)
{
    struct fate *fate = fate_of(ctx, address);
    if (fate)
        fate->held = true;
}

static bool holds_in_doubt(const struct view *view)
{
    return strcmp(view->options->in_doubt, "hold") == 0;
}

/* A DSN is a message of one recipient. */
static void see_dsn(struct view *view, struct bytes content, enum recipient_status status,
                    bool holds)
{
    if (holds || (status == RECIPIENT_IN_DOUBT && holds_in_doubt(view)))
        message_each_reported(content, see_told_held, view);
    else if (status != RECIPIENT_DELIVERED)
        message_each_reported(content, see_told, view);
}

static void see_status(struct fate *fate, const struct script_message *message,
                       enum recipient_status status, bool holds, bool holds_doubt)
{
    switch (status) {
    case RECIPIENT_PENDING:
        *(holds ? &fate->held : &fate->sent) = true;
        break;
    case RECIPIENT_IN_DOUBT:
        *(holds || holds_doubt ? &fate->held : &fate->sent) = true;
        break;
    case RECIPIENT_BOUNCED:
        if (message->null_sender)
            fate->is_bad = true; /* that is where its file goes */
        else
            fate->told = true;
        break;
    case RECIPIENT_DELIVERED:
    case RECIPIENT_NOTIFIED:
        break;
    }
}

/* A file that the router will look at, with what it knows of its recipients (NULL: nothing). */
static void see_file(struct view *view, const struct disk_node *node, const struct waiting *waiting)
{
    struct recipient_state states[MESSAGE_RECIPIENTS_MAX] = {0};
    struct bytes content = bytes_make(node->pages, node->size);
    unsigned number;
    enum content_kind kind = message_recognise(content, &number);
    bool knows = waiting && waiting->states && waiting->num_recipients <= MESSAGE_RECIPIENTS_MAX;
    if (knows)
        waiting_states(waiting, states);
    bool holds = waiting && table_holds(waiting);
    if (kind == CONTENT_DSN)
        see_dsn(view, content, (enum recipient_status)states[0].status, holds);
    if (kind != CONTENT_MESSAGE)
        return;
    const struct script_message *message = message_get(number);
    for (unsigned i = 0; i < message->num_recipients; i++) {
        see_status(fate_of(view, message->recipients[i]), message,
                   (enum recipient_status)states[i].status, holds, holds_in_doubt(view));
    }
}

static void see_waiting(struct view *view, const struct spool *spool, struct table *table,
                        struct waiting *waiting)
{
    struct spool_file file;
    if (spool_open_message(spool, waiting->path, false, &file) != 0)
        return;
    close(file.fd);
    /* pickup_load_waiting() leaves another file in new/ to a scan, and adopts one elsewhere. */
    if (waiting->identity.ino != 0 && !file_identity_equal(&file.identity, &waiting->identity) &&
        (strncmp(waiting->path, "new/", 4) == 0 ||
         recovery_look_closer(spool, table, waiting) != 0))
        return;
    see_file(view, disk_node(view->disk, (uint32_t)(file.identity.ino - SIMULATED_FIRST_INODE)),
             waiting);
}

static void see_new(void *ctx, const char *path, const struct disk_node *node, uint32_t number)
{
    struct view *view = ctx;
    (void)path;
    for (size_t i = 0; i < view->num_claims; i++)
        if (view->claims[i].ino == number + SIMULATED_FIRST_INODE)
            return;
    see_file(view, node, NULL);
}

static void see_bad(void *ctx, const char *path, const struct disk_node *node, uint32_t number)
{
    struct view *view = ctx;
    unsigned of;
    struct bytes content = bytes_make(node->pages, node->size);
    enum content_kind kind = message_recognise(content, &of);
    (void)path;
    (void)number;
    if (kind == CONTENT_DSN)
        message_each_reported(content, see_told, view);
    if (kind != CONTENT_MESSAGE)
        return;
    const struct script_message *message = message_get(of);
    for (unsigned i = 0; i < message->num_recipients; i++) {
        fate_of(view, message->recipients[i])->is_bad = true;
    }
}

/* One start up to the point where threads would run. */
static bool recover(struct disk *disk, struct view *view, char why[JUDGE_WHY_MAX])
{
    struct spool spool;
    struct table table;
    struct waiting_set known = {0};
    struct journal_options options = {.sync = true};
    char line[SPOOL_WHY_MAX] = "";
    simulated_mount(disk, NULL, DEVICE_AFTER_CUT);
    if (!spool_open(&spool, SIMULATED_ROOT, true, line)) {
        snprintf(why, JUDGE_WHY_MAX, "the spool cannot be opened: %s", line);
        return false;
    }
    struct journal *journal = journal_open(&spool, &options, waiting_set_on_live, &known, line);
    if (!journal) {
        snprintf(why, JUDGE_WHY_MAX, "the journal cannot be opened: %s", line);
        spool_close(&spool);
        return false;
    }
    table_init(&table);
    bool ok = recovery_finish(&known, &spool, &table, journal, on_claim, view, line);
    if (!ok)
        snprintf(why, JUDGE_WHY_MAX, "recovery refuses: %s", line);
    for (size_t i = 0; i < table.num_buckets; i++)
        for (struct waiting *waiting = table.buckets[i]; waiting; waiting = waiting->id_next)
            see_waiting(view, &spool, &table, waiting);
    disk_each_file(disk, "new", see_new, view);
    disk_each_file(disk, "bad", see_bad, view);
    table_fini(&table);
    journal_close(journal);
    spool_close(&spool);
    unsigned open = simulated_num_open();
    simulated_mount(NULL, NULL, 0);
    if (ok && open)
        snprintf(why, JUDGE_WHY_MAX, "recovery left %u files open", open);
    return ok && open == 0;
}

static bool look(struct disk *disk, const struct ledger *ledger, const struct run_options *options,
                 struct fate *fates, char why[JUDGE_WHY_MAX])
{
    struct view view = {.disk = disk, .ledger = ledger, .options = options, .fates = fates};
    bool ok = recover(disk, &view, why);
    free(view.claims);
    return ok;
}

static bool may_double(const struct run_options *options, bool durable)
{
    if (strcmp(options->durability, "strict") == 0 && strcmp(options->in_doubt, "hold") == 0)
        return false;
    return !durable;
}

static bool settle(const struct ledger_row *row, const struct fate *fate, bool promised,
                   const struct run_options *options, char why[JUDGE_WHY_MAX])
{
    bool known =
        row->accepted || row->told || fate->sent || fate->held || fate->told || fate->is_bad;
    if (promised && !known) {
        snprintf(why, JUDGE_WHY_MAX, "%s is lost", row->address);
        return false;
    }
    if (row->accepted && fate->sent && !may_double(options, row->delivered_durable)) {
        snprintf(why, JUDGE_WHY_MAX, "%s is sent again, although its outcome is durable",
                 row->address);
        return false;
    }
    if (row->told && fate->told && !may_double(options, row->told_durable)) {
        snprintf(why, JUDGE_WHY_MAX, "the sender is told of %s again, although that is durable",
                 row->address);
        return false;
    }
    return true;
}

bool judge_recovery(struct disk *disk, const struct ledger *ledger,
                    const struct run_options *options, char why[JUDGE_WHY_MAX])
{
    struct fate *first = mem_zalloc(ledger->num_rows + 1, sizeof *first);
    struct fate *second = mem_zalloc(ledger->num_rows + 1, sizeof *second);
    bool ok = look(disk, ledger, options, first, why) && look(disk, ledger, options, second, why);
    for (unsigned i = 0; ok && i < ledger->num_rows; i++) {
        const struct ledger_row *row = &ledger->rows[i];
        ok = settle(row, &first[i], ledger->promised[row->message], options, why);
        if (ok && memcmp(&first[i], &second[i], sizeof first[i]) != 0) {
            snprintf(why, JUDGE_WHY_MAX, "a second start sees another fate of %s", row->address);
            ok = false;
        }
    }
    free(first);
    free(second);
    return ok;
}

/* After the drain nothing is left to be sent: what was is counted. */
static bool settle_drained(const struct ledger_row *before, const struct ledger_row *after,
                           const struct fate *left, bool promised,
                           const struct run_options *options, char why[JUDGE_WHY_MAX])
{
    struct fate fate = *left;
    if (left->sent) {
        snprintf(why, JUDGE_WHY_MAX, "%s is still to be sent after the drain", before->address);
        return false;
    }
    fate.sent = after->accepted > 0;
    fate.told |= after->told > 0;
    return settle(before, &fate, promised, options, why);
}

static void see_whole(void *ctx, const char *path, const struct disk_node *node, uint32_t number)
{
    unsigned of;
    (void)path;
    (void)number;
    if (message_recognise(bytes_make(node->pages, node->size), &of) == CONTENT_MESSAGE)
        ((bool *)ctx)[of] = true;
}

/* By message: whether the disk has all of its file. */
static bool *list_whole(const struct disk *disk, unsigned num_messages)
{
    static const char *const folders[] = {"new", "deferred", "hold"};
    bool *whole = mem_zalloc(num_messages, sizeof *whole);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        disk_each_file(disk, folders[i], see_whole, whole);
    return whole;
}

bool judge_drain(struct disk *disk, const struct ledger *ledger, const struct run_options *options,
                 char why[JUDGE_WHY_MAX])
{
    struct events events = {0};
    struct ledger after;
    struct fate *left = mem_zalloc(ledger->num_rows + 1, sizeof *left);
    ledger_init(&after, ledger->num_messages);
    bool *whole = list_whole(disk, ledger->num_messages);
    bool ok = record_drain(options, disk, &events, DEVICE_AFTER_CUT);
    if (!ok)
        snprintf(why, JUDGE_WHY_MAX, "the router does not drain");
    for (size_t i = 0; i < events.num; i++)
        ledger_add(&after, &events.items[i], i);
    ok = ok && look(disk, ledger, options, left, why);
    for (unsigned i = 0; ok && i < ledger->num_rows; i++) {
        const struct ledger_row *row = &ledger->rows[i];
        /* What a cut left of a file that its writer did not sync is another file. */
        if (!ledger->promised[row->message] && !whole[row->message])
            continue;
        ok = settle_drained(row, &after.rows[i], &left[i], ledger->promised[row->message], options,
                            why);
    }
    ledger_fini(&after);
    events_fini(&events);
    free(whole);
    free(left);
    return ok;
}
