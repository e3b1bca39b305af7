/* From the middle of a recording to the beginning of another one. */
#include "tests/powercut/resume.h"

#include "base/memory.h"
#include "tests/powercut/ledger.h"

#include <stdio.h>
#include <string.h>

static void copy_event(const struct event *event, struct events *out)
{
    struct event *copy = events_add(out, (enum event_kind)event->kind);
    *copy = *event;
    if (!event->data)
        return;
    copy->data = mem_alloc(DISK_PAGE);
    memcpy(copy->data, event->data, DISK_PAGE);
}

static bool is_of_disk(const struct event *event)
{
    return event->kind >= EVENT_CREATE && event->kind <= EVENT_FDATASYNC;
}

static void note_promises(const struct ledger *ledger, struct events *out)
{
    for (unsigned i = 0; i < ledger->num_messages; i++)
        if (ledger->promised[i])
            events_add(out, EVENT_PROMISED)->size = i;
}

static void make_content(uint32_t number, const struct disk_node *node, struct events *out)
{
    struct event *event = events_add(out, EVENT_ATTRIBUTES);
    event->node = number;
    event->size = node->size;
    event->time_ns = node->mtime_ns;
    for (size_t at = 0; at < node->cap; at += DISK_PAGE) {
        event = events_add(out, EVENT_PAGE);
        event->node = number;
        event->page = (uint32_t)(at / DISK_PAGE);
        event->data = mem_alloc(DISK_PAGE);
        memcpy(event->data, node->pages + at, DISK_PAGE);
    }
}

/* The events that make a folder and all that is in it, and sync it. */
static void make_folder(const struct disk *disk, uint32_t folder, bool *made, struct events *out)
{
    const struct disk_node *node = disk_node(disk, folder);
    for (size_t i = 0; i < node->num_entries; i++) {
        const struct disk_entry *entry = &node->entries[i];
        const struct disk_node *below = disk_node(disk, entry->node);
        struct event *event = events_add(out, made[entry->node] ? EVENT_LINK : EVENT_CREATE);
        event->node = entry->node;
        event->folder = folder;
        event->size = below->is_folder;
        event->time_ns = below->btime_ns;
        snprintf(event->name, sizeof event->name, "%s", entry->name);
        if (made[entry->node])
            continue;
        made[entry->node] = true;
        if (below->is_folder) {
            make_folder(disk, entry->node, made, out);
        } else {
            make_content(entry->node, below, out);
            events_add(out, EVENT_FSYNC)->node = entry->node;
        }
    }
    events_add(out, EVENT_FSYNC)->node = folder;
}

static void make_disk(const struct disk *disk, struct events *out)
{
    bool *made = mem_zalloc(disk->num, sizeof *made);
    make_folder(disk, DISK_ROOT, made, out);
    free(made);
}

void resume_begin(const struct events *events, size_t cut, const struct check_options *options,
                  unsigned num_messages, struct events *out, struct disk *out_disk)
{
    bool killed = options->only_subset == CHECK_ALL;
    struct model model;
    struct ledger ledger;
    model_init(&model, events, options->order);
    ledger_init(&ledger, num_messages);
    for (size_t i = 0; i < cut; i++) {
        if (killed || !is_of_disk(&events->items[i]))
            copy_event(&events->items[i], out);
        ledger_add(&ledger, &events->items[i], i);
        if (model_step(&model))
            ledger_promise(&ledger, &model.durable);
    }
    model_build(&model, killed ? MODEL_MOST : (unsigned)options->only_subset, options->seed,
                out_disk);
    if (killed) {
        events_add(out, EVENT_KILLED);
    } else {
        note_promises(&ledger, out);
        make_disk(out_disk, out);
        events_add(out, EVENT_POWER_CUT);
    }
    model_fini(&model);
    ledger_fini(&ledger);
}
