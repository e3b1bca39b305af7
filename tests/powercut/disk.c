/* Nodes, names and pages. It knows nothing of syncs or system calls. */
#include "tests/powercut/disk.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void disk_init(struct disk *disk)
{
    *disk = (struct disk){.num = DISK_ROOT};
    disk_add_node(disk, DISK_ROOT, true, 0)->num_links = 1;
}

static void node_free(struct disk_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->num_entries; i++)
        free(node->entries[i].name);
    free(node->entries);
    free(node->pages);
    free(node);
}

void disk_fini(struct disk *disk)
{
    for (uint32_t i = 0; i < disk->num; i++)
        node_free(disk->nodes[i]);
    free(disk->nodes);
    *disk = (struct disk){0};
}

struct disk_node *disk_node(const struct disk *disk, uint32_t node)
{
    return node < disk->num ? disk->nodes[node] : NULL;
}

struct disk_node *disk_add_node(struct disk *disk, uint32_t number, bool is_folder, int64_t now_ns)
{
    if (number >= disk->cap) {
        uint32_t cap = number < 256 ? 512 : number * 2;
        disk->nodes = mem_realloc(disk->nodes, cap, sizeof(struct disk_node *));
        memset(disk->nodes + disk->cap, 0, (cap - disk->cap) * sizeof(struct disk_node *));
        disk->cap = cap;
    }
    CHECK(!disk->nodes[number]);
    struct disk_node *node = mem_zalloc(1, sizeof *node);
    node->is_folder = is_folder;
    node->btime_ns = node->mtime_ns = now_ns;
    disk->nodes[number] = node;
    if (number >= disk->num)
        disk->num = number + 1;
    return node;
}

static struct disk_entry *find_entry(const struct disk *disk, uint32_t folder, const char *name)
{
    struct disk_node *node = disk_node(disk, folder);
    for (size_t i = 0; node && i < node->num_entries; i++)
        if (strcmp(node->entries[i].name, name) == 0)
            return &node->entries[i];
    return NULL;
}

uint32_t disk_find(const struct disk *disk, uint32_t folder, const char *name)
{
    const struct disk_entry *entry = find_entry(disk, folder, name);
    return entry ? entry->node : 0;
}

void disk_link(struct disk *disk, uint32_t folder, const char *name, uint32_t node)
{
    struct disk_node *at = disk_node(disk, folder);
    CHECK(at && at->is_folder && disk_node(disk, node) && !find_entry(disk, folder, name));
    if (at->num_entries == at->cap_entries) {
        at->cap_entries = at->cap_entries ? at->cap_entries * 2 : 8;
        at->entries = mem_realloc(at->entries, at->cap_entries, sizeof *at->entries);
    }
    at->entries[at->num_entries++] = (struct disk_entry){.name = mem_strdup(name), .node = node};
    disk_node(disk, node)->num_links++;
}

void disk_unlink(struct disk *disk, uint32_t folder, const char *name)
{
    struct disk_node *at = disk_node(disk, folder);
    struct disk_entry *entry = find_entry(disk, folder, name);
    CHECK(entry);
    disk_node(disk, entry->node)->num_links--;
    free(entry->name);
    *entry = at->entries[--at->num_entries];
}

void disk_reserve(struct disk_node *node, uint64_t size)
{
    size_t cap = (size_t)(size + DISK_PAGE - 1) / DISK_PAGE * DISK_PAGE;
    if (cap <= node->cap)
        return;
    CHECK(node->num_maps == 0);
    uint8_t *pages = aligned_alloc(DISK_PAGE, cap);
    CHECK(pages);
    if (node->cap)
        memcpy(pages, node->pages, node->cap);
    memset(pages + node->cap, 0, cap - node->cap);
    free(node->pages);
    node->pages = pages;
    node->cap = cap;
}

void disk_forget_pages(struct disk_node *node)
{
    CHECK(node->num_maps == 0);
    free(node->pages);
    node->pages = NULL;
    node->cap = 0;
    node->size = 0;
}

static void copy_node(const struct disk *from, struct disk *to, uint32_t number)
{
    const struct disk_node *node = disk_node(from, number);
    struct disk_node *copy = disk_node(to, number);
    if (!copy)
        copy = disk_add_node(to, number, node->is_folder, 0);
    copy->btime_ns = node->btime_ns;
    copy->mtime_ns = node->mtime_ns;
    copy->size = node->size;
    disk_reserve(copy, node->cap);
    if (node->cap)
        memcpy(copy->pages, node->pages, node->cap);
}

void disk_copy(const struct disk *from, struct disk *to)
{
    disk_init(to);
    for (uint32_t i = DISK_ROOT; i < from->num; i++)
        if (disk_node(from, i))
            copy_node(from, to, i);
    for (uint32_t i = DISK_ROOT; i < from->num; i++) {
        const struct disk_node *node = disk_node(from, i);
        for (size_t j = 0; node && j < node->num_entries; j++)
            disk_link(to, i, node->entries[j].name, node->entries[j].node);
    }
}

static bool export_file(const struct disk_node *node, const char *path)
{
    FILE *file = fopen(path, "w");
    bool ok = file && fwrite(node->pages ? node->pages : (const uint8_t *)"", 1, node->size,
                             file) == node->size;
    return file && fclose(file) == 0 && ok;
}

static bool export_folder(const struct disk *disk, uint32_t folder, const char *path,
                          unsigned depth)
{
    const struct disk_node *node = disk_node(disk, folder);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return false;
    for (size_t i = 0; i < node->num_entries; i++) {
        const struct disk_node *below = disk_node(disk, node->entries[i].node);
        char *to = mem_printf("%s/%s", path, node->entries[i].name);
        bool ok = !below->is_folder ? export_file(below, to)
                  : depth < 4       ? export_folder(disk, node->entries[i].node, to, depth + 1)
                                    : false;
        free(to);
        if (!ok)
            return false;
    }
    return true;
}

bool disk_export(const struct disk *disk, const char *folder)
{
    return export_folder(disk, DISK_ROOT, folder, 0);
}
