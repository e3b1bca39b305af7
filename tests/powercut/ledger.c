/* Accounts from events and from what is durable. It recovers nothing. */
#include "tests/powercut/ledger.h"

#include "base/memory.h"
#include "queue/spool.h"

#include <stdio.h>
#include <stdlib.h>

static int by_address(const void *a, const void *b)
{
    const struct ledger_row *x = a, *y = b;
    return strcmp(x->address, y->address);
}

static int is_address(const void *key, const void *row)
{
    return strcmp(key, ((const struct ledger_row *)row)->address);
}

void ledger_init(struct ledger *ledger, unsigned num_messages)
{
    *ledger = (struct ledger){
        .rows = mem_zalloc(num_messages * MESSAGE_RECIPIENTS_MAX, sizeof *ledger->rows),
        .promised = mem_zalloc(num_messages, sizeof *ledger->promised),
        .nodes = mem_zalloc(num_messages, sizeof *ledger->nodes),
        .num_messages = num_messages,
        .commit_at = 0};
    for (unsigned i = 0; i < num_messages; i++) {
        const struct script_message *message = message_get(i);
        for (unsigned r = 0; r < message->num_recipients; r++) {
            struct ledger_row *row = &ledger->rows[ledger->num_rows++];
            row->message = i;
            row->delivered_at = row->told_at = SIZE_MAX;
            snprintf(row->address, sizeof row->address, "%s", message->recipients[r]);
        }
    }
    qsort(ledger->rows, ledger->num_rows, sizeof *ledger->rows, by_address);
}

void ledger_fini(struct ledger *ledger)
{
    free(ledger->rows);
    free(ledger->promised);
    free(ledger->nodes);
    *ledger = (struct ledger){0};
}

struct ledger_row *ledger_find(const struct ledger *ledger, const char *address)
{
    return bsearch(address, ledger->rows, ledger->num_rows, sizeof *ledger->rows, is_address);
}

static void add_committed(struct ledger *ledger)
{
    for (unsigned i = 0; i < ledger->num_rows; i++) {
        struct ledger_row *row = &ledger->rows[i];
        row->delivered_durable |= row->delivered_at < ledger->commit_at;
        row->told_durable |= row->told_at < ledger->commit_at;
    }
}

static void add_delivered(struct ledger *ledger, const char *name, size_t index)
{
    bool told = strncmp(name, "told:", 5) == 0;
    struct ledger_row *row = ledger_find(ledger, told ? name + 5 : name);
    size_t *at = row ? (told ? &row->told_at : &row->delivered_at) : NULL;
    if (at && *at == SIZE_MAX)
        *at = index;
}

/* Only a message of the script is renamed from such a name to a queue id. */
static void add_rename(struct ledger *ledger, const struct event *event)
{
    unsigned number;
    if (sscanf(event->name, "m%4u.eml", &number) == 1 && number < ledger->num_messages &&
        strcmp(event->name, event->name2) != 0 && strchr(event->name2, '.') == NULL)
        ledger->nodes[number] = event->node;
}

/* What was stored and not durable may be gone, and may be stored again. */
static void forget_stored(struct ledger *ledger)
{
    for (unsigned i = 0; i < ledger->num_rows; i++) {
        struct ledger_row *row = &ledger->rows[i];
        if (!row->delivered_durable)
            row->delivered_at = SIZE_MAX;
        if (!row->told_durable)
            row->told_at = SIZE_MAX;
    }
}

void ledger_add(struct ledger *ledger, const struct event *event, size_t index)
{
    struct ledger_row *row;
    switch ((int)event->kind) {
    case EVENT_ACCEPTED:
        if ((row = ledger_find(ledger, event->name)))
            row->accepted++;
        break;
    case EVENT_TOLD:
        if ((row = ledger_find(ledger, event->name)))
            row->told++;
        break;
    case EVENT_DELIVERED:
        add_delivered(ledger, event->name, index);
        break;
    case EVENT_RENAME:
        add_rename(ledger, event);
        break;
    case EVENT_PROMISED:
        ledger->promised[event->size] = true;
        break;
    case EVENT_POWER_CUT:
        forget_stored(ledger);
        break;
    case EVENT_COMMIT:
        ledger->commit_at = index;
        break;
    case EVENT_COMMITTED:
        add_committed(ledger);
        break;
    default:
        break;
    }
}

static void each_in(const struct disk *disk, uint32_t number, const char *path, bool is_top,
                    void (*each)(void *ctx, const char *path, const struct disk_node *node,
                                 uint32_t number),
                    void *ctx)
{
    const struct disk_node *folder = disk_node(disk, number);
    for (size_t i = 0; i < folder->num_entries; i++) {
        const struct disk_entry *entry = &folder->entries[i];
        const struct disk_node *node = disk_node(disk, entry->node);
        char below[SPOOL_PATH_MAX];
        if (spool_name_is_ignored(entry->name))
            continue;
        snprintf(below, sizeof below, "%.300s/%s", path, entry->name);
        if (!node->is_folder)
            each(ctx, below, node, entry->node);
        else if (is_top)
            each_in(disk, entry->node, below, false, each, ctx);
    }
}

void disk_each_file(const struct disk *disk, const char *folder,
                    void (*each)(void *ctx, const char *path, const struct disk_node *node,
                                 uint32_t number),
                    void *ctx)
{
    uint32_t number = disk_find(disk, DISK_ROOT, folder);
    if (number)
        each_in(disk, number, folder, true, each, ctx);
}

static void promise(void *ctx, const char *path, const struct disk_node *node, uint32_t number)
{
    struct ledger *ledger = ctx;
    unsigned message;
    (void)path;
    if (message_recognise(bytes_make(node->pages, node->size), &message) == CONTENT_MESSAGE)
        ledger->promised[message] = true;
    for (unsigned i = 0; i < ledger->num_messages; i++)
        ledger->promised[i] |= ledger->nodes[i] == number;
}

void ledger_promise(struct ledger *ledger, const struct disk *durable)
{
    disk_each_file(durable, "new", promise, ledger);
    disk_each_file(durable, "deferred", promise, ledger);
    disk_each_file(durable, "hold", promise, ledger);
}
