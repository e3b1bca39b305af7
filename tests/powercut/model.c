/* Durable state, what may be lost, and disks built from them.
 * It does not know what the files mean. */
#include "tests/powercut/model.h"

#include "base/check.h"
#include "base/memory.h"

#include <string.h>

enum { SECTOR = 512, TEAR_ONE_IN = 8 };

void model_init(struct model *model, const struct events *events, enum model_order order)
{
    *model = (struct model){.events = events, .order = order};
    disk_init(&model->durable);
}

void model_fini(struct model *model)
{
    disk_fini(&model->durable);
    free(model->names);
    free(model->contents);
    *model = (struct model){0};
}

static const struct event *event_at(const struct model *model, size_t index)
{
    return &model->events->items[index];
}

static void apply_name(struct disk *disk, const struct event *event)
{
    switch ((int)event->kind) {
    case EVENT_CREATE:
    case EVENT_LINK:
        disk_link(disk, event->folder, event->name, event->node);
        return;
    case EVENT_RENAME:
        disk_unlink(disk, event->folder, event->name);
        disk_link(disk, event->folder2, event->name2, event->node);
        return;
    default:
        disk_unlink(disk, event->folder, event->name);
        return;
    }
}

static void apply_content(struct disk *disk, const struct event *event)
{
    struct disk_node *node = disk_node(disk, event->node);
    if (event->kind == EVENT_ATTRIBUTES) {
        disk_reserve(node, event->size);
        node->size = event->size;
        node->mtime_ns = event->time_ns;
        return;
    }
    disk_reserve(node, ((uint64_t)event->page + 1) * DISK_PAGE);
    memcpy(node->pages + (size_t)event->page * DISK_PAGE, event->data, DISK_PAGE);
}

static void remember(size_t **list, size_t *num, size_t *cap, size_t index)
{
    if (*num == *cap) {
        *cap = *cap ? *cap * 2 : 64;
        *list = mem_realloc(*list, *cap, sizeof **list);
    }
    (*list)[(*num)++] = index;
}

static bool touches(const struct event *event, uint32_t folder)
{
    return event->folder == folder || (event->kind == EVENT_RENAME && event->folder2 == folder);
}

static bool share_a_folder(const struct event *a, const struct event *b)
{
    return touches(a, b->folder) || (b->kind == EVENT_RENAME && touches(a, b->folder2));
}

static bool has_name(const struct model *model, uint32_t node)
{
    bool named = disk_node(&model->durable, node)->num_links > 0;
    for (size_t i = 0; i < model->num_names && !named; i++)
        named = event_at(model, model->names[i])->node == node;
    return named;
}

/* What a file without a name holds nobody will see. */
static void forget_nameless(struct model *model)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->num_contents; i++)
        if (has_name(model, event_at(model, model->contents[i])->node))
            model->contents[kept++] = model->contents[i];
    model->num_contents = kept;
    for (uint32_t i = DISK_ROOT; i < model->durable.num; i++)
        if (disk_node(&model->durable, i) && disk_node(&model->durable, i)->cap &&
            !has_name(model, i))
            disk_forget_pages(disk_node(&model->durable, i));
}

/* Makes the marked ones durable. */
static void force_names(struct model *model, const bool *marked)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->num_names; i++)
        if (marked[i])
            apply_name(&model->durable, event_at(model, model->names[i]));
        else
            model->names[kept++] = model->names[i];
    model->num_names = kept;
    forget_nameless(model);
}

/* All up to the last change of the node itself or in the folder. */
static void mark_ordered(const struct model *model, uint32_t node, bool *marked)
{
    size_t until = 0;
    for (size_t i = 0; i < model->num_names; i++) {
        const struct event *event = event_at(model, model->names[i]);
        if (event->node == node || touches(event, node))
            until = i + 1;
    }
    memset(marked, true, until);
}

/* The folder's changes, and what must come before them in other folders that a rename touches. */
static void mark_folder(const struct model *model, uint32_t folder, bool *marked)
{
    for (size_t i = model->num_names; i-- > 0;) {
        const struct event *event = event_at(model, model->names[i]);
        marked[i] = touches(event, folder);
        for (size_t j = i + 1; j < model->num_names && !marked[i]; j++)
            marked[i] = marked[j] && share_a_folder(event, event_at(model, model->names[j]));
    }
}

static void sync_content(struct model *model, uint32_t node)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->num_contents; i++) {
        const struct event *event = event_at(model, model->contents[i]);
        if (event->node == node)
            apply_content(&model->durable, event);
        else
            model->contents[kept++] = model->contents[i];
    }
    model->num_contents = kept;
}

static void sync_names(struct model *model, uint32_t node)
{
    bool *marked = mem_zalloc(model->num_names + 1, sizeof *marked);
    if (model->order == MODEL_ORDERED)
        mark_ordered(model, node, marked);
    else if (disk_node(&model->durable, node)->is_folder)
        mark_folder(model, node, marked);
    force_names(model, marked);
    free(marked);
}

bool model_step(struct model *model)
{
    size_t index = model->at++;
    const struct event *event = event_at(model, index);
    switch ((enum event_kind)event->kind) {
    case EVENT_CREATE:
        disk_add_node(&model->durable, event->node, event->size == 1, event->time_ns);
        remember(&model->names, &model->num_names, &model->cap_names, index);
        return false;
    case EVENT_LINK:
    case EVENT_UNLINK:
    case EVENT_RENAME:
        remember(&model->names, &model->num_names, &model->cap_names, index);
        return false;
    case EVENT_PAGE:
    case EVENT_ATTRIBUTES:
        remember(&model->contents, &model->num_contents, &model->cap_contents, index);
        return false;
    case EVENT_FSYNC:
        sync_content(model, event->node);
        sync_names(model, event->node);
        return true;
    case EVENT_FDATASYNC:
        sync_content(model, event->node);
        return true;
    case EVENT_ACCEPTED:
    case EVENT_TOLD:
    case EVENT_DELIVERED:
    case EVENT_STORED:
    case EVENT_COMMIT:
    case EVENT_COMMITTED:
    case EVENT_PROMISED:
    case EVENT_KILLED:
    case EVENT_POWER_CUT:
    case EVENT_KINDS:
        return false;
    }
    return false;
}

/* splitmix64: small, and the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* All versions of one page, or of one file's attributes, that a disk may hold. */
struct versions {
    uint32_t node, page; /* page UINT32_MAX: the attributes */
    size_t num;
    size_t chosen; /* 0: as at the last sync; else the n-th since */
    bool torn;
};

struct versions_list {
    struct versions *items; /* owned */
    size_t num;
};

static struct versions *versions_of(struct versions_list *list, const struct event *event)
{
    uint32_t page = event->kind == EVENT_PAGE ? event->page : UINT32_MAX;
    for (size_t i = 0; i < list->num; i++)
        if (list->items[i].node == event->node && list->items[i].page == page)
            return &list->items[i];
    list->items[list->num] = (struct versions){.node = event->node, .page = page};
    return &list->items[list->num++];
}

static struct versions_list list_versions(const struct model *model)
{
    struct versions_list list = {.items = mem_zalloc(model->num_contents + 1, sizeof *list.items)};
    for (size_t i = 0; i < model->num_contents; i++)
        versions_of(&list, event_at(model, model->contents[i]))->num++;
    return list;
}

unsigned model_num_fixed(const struct model *model)
{
    struct versions_list list = list_versions(model);
    unsigned num = MODEL_CORNERS + (unsigned)list.num;
    free(list.items);
    return model->num_names || model->num_contents ? num : MODEL_MOST;
}

static void choose_at_random(struct versions_list *list, uint64_t *random)
{
    for (size_t i = 0; i < list->num; i++) {
        struct versions *versions = &list->items[i];
        uint64_t bits = next_random(random);
        switch (bits % 3) {
        case 0:
            versions->chosen = 0;
            break;
        case 1:
            versions->chosen = versions->num;
            break;
        default:
            versions->chosen = (bits >> 8) % (versions->num + 1);
            break;
        }
        versions->torn = versions->page != UINT32_MAX && (bits >> 40) % TEAR_ONE_IN == 0;
    }
}

static void build_content(const struct model *model, struct versions_list *list, uint64_t *random,
                          struct disk *out)
{
    for (size_t i = 0; i < list->num; i++)
        list->items[i].num = 0;
    for (size_t i = 0; i < model->num_contents; i++) {
        const struct event *event = event_at(model, model->contents[i]);
        struct versions *versions = versions_of(list, event);
        bool is_chosen = ++versions->num == versions->chosen;
        if (!versions->torn) {
            if (is_chosen)
                apply_content(out, event);
            continue;
        }
        /* Sector by sector: each new version reaches some of them. */
        struct disk_node *node = disk_node(out, event->node);
        disk_reserve(node, ((uint64_t)event->page + 1) * DISK_PAGE);
        for (size_t at = 0; at < DISK_PAGE; at += SECTOR)
            if (next_random(random) % 2)
                memcpy(node->pages + (size_t)event->page * DISK_PAGE + at, event->data + at,
                       SECTOR);
    }
}

/* A change that is lost takes those after it in its folders along. */
static void build_names(const struct model *model, unsigned subset, uint64_t *random,
                        struct disk *out)
{
    bool *lost = mem_zalloc(model->num_names + 1, sizeof *lost);
    size_t until = model->num_names;
    if (subset == MODEL_LEAST || subset == MODEL_CONTENT_ONLY)
        until = 0;
    else if (subset >= model_num_fixed(model) && model->order == MODEL_ORDERED)
        until = next_random(random) % (model->num_names + 1);
    for (size_t i = 0; i < model->num_names; i++) {
        const struct event *event = event_at(model, model->names[i]);
        lost[i] = i >= until;
        if (model->order == MODEL_FOLDERS) {
            if (subset >= model_num_fixed(model))
                lost[i] |= next_random(random) % 4 == 0;
            for (size_t j = 0; j < i && !lost[i]; j++)
                lost[i] = lost[j] && share_a_folder(event, event_at(model, model->names[j]));
        }
        if (!lost[i])
            apply_name(out, event);
    }
    free(lost);
}

void model_build(const struct model *model, unsigned subset, uint64_t seed, struct disk *out)
{
    struct versions_list list = list_versions(model);
    uint64_t random = seed ^ (uint64_t)model->at << 32 ^ subset;
    bool content_is_lost = subset == MODEL_LEAST || subset == MODEL_NAMES_ONLY;
    for (size_t i = 0; i < list.num; i++)
        list.items[i].chosen = content_is_lost ? 0 : list.items[i].num;
    if (subset >= MODEL_CORNERS && subset < model_num_fixed(model))
        list.items[subset - MODEL_CORNERS].chosen = 0;
    else if (subset >= model_num_fixed(model) && subset > MODEL_CONTENT_ONLY)
        choose_at_random(&list, &random);
    disk_copy(&model->durable, out);
    build_content(model, &list, &random, out);
    build_names(model, subset, &random, out);
    free(list.items);
}
