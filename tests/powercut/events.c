/* The recording in memory and in a file. */
#include "tests/powercut/events.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

struct event *events_add(struct events *events, enum event_kind kind)
{
    if (events->num == events->cap) {
        events->cap = events->cap ? events->cap * 2 : 1024;
        events->items = mem_realloc(events->items, events->cap, sizeof *events->items);
    }
    struct event *event = &events->items[events->num++];
    memset(event, 0, sizeof *event);
    event->kind = (uint8_t)kind;
    return event;
}

void events_truncate(struct events *events, size_t num)
{
    for (size_t i = num; i < events->num; i++)
        free(events->items[i].data);
    if (num < events->num)
        events->num = num;
}

void events_fini(struct events *events)
{
    events_truncate(events, 0);
    free(events->items);
    *events = (struct events){0};
}

bool events_save(const struct events *events, const char *path)
{
    FILE *file = fopen(path, "w");
    bool ok = file != NULL;
    for (size_t i = 0; ok && i < events->num; i++) {
        const struct event *event = &events->items[i];
        ok = fwrite(event, sizeof *event, 1, file) == 1 &&
             (!event->data || fwrite(event->data, DISK_PAGE, 1, file) == 1);
    }
    return file && fclose(file) == 0 && ok;
}

bool events_load(struct events *events, const char *path)
{
    FILE *file = fopen(path, "r");
    struct event event;
    bool ok = file != NULL;
    while (ok && fread(&event, sizeof event, 1, file) == 1) {
        struct event *added = events_add(events, event.kind);
        bool has_data = event.data != NULL; /* the pointer itself is of another process */
        *added = event;
        added->data = NULL;
        if (!has_data)
            continue;
        added->data = mem_alloc(DISK_PAGE);
        ok = fread(added->data, DISK_PAGE, 1, file) == 1;
    }
    if (file)
        fclose(file);
    return ok && events->num > 0;
}

const char *event_kind_name(enum event_kind kind)
{
    static const char *const names[] = {
        "?",          "create", "link",      "unlink",   "rename", "page",
        "attributes", "fsync",  "fdatasync", "accepted", "told",   "delivered",
        "stored",     "commit", "committed", "promised", "killed", "power cut"};
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "?";
}

void event_describe(const struct event *event, char out[700])
{
    snprintf(out, 700, "%s node %u folder %u %s -> %u %s page %u size %llu",
             event_kind_name(event->kind), event->node, event->folder, event->name, event->folder2,
             event->name2, event->page, (unsigned long long)event->size);
}
