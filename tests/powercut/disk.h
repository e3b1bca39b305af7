/* A spool's file system in memory: nodes (files and folders), names, pages of 4 KiB.
 *
 * Node numbers are never used again, so an inode number and a birth time say which file it is, in
 * the recording as well as in each disk that is built from it. One owner at a time; callers lock.
 */
#ifndef SLUICE_TESTS_POWERCUT_DISK_H
#define SLUICE_TESTS_POWERCUT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DISK_PAGE = 4096, DISK_NAME_MAX = 256, DISK_ROOT = 1 };

struct disk_entry {
    char *name; /* owned */
    uint32_t node;
};

struct disk_node {
    bool is_folder;
    unsigned num_links; /* names that it has */
    unsigned num_maps;  /* while it is mapped its pages stay where they are */
    int64_t btime_ns;
    int64_t mtime_ns;
    uint64_t size;
    uint8_t *pages; /* owned, aligned; octets behind size are zeros */
    size_t cap;
    struct disk_entry *entries; /* owned, of a folder */
    size_t num_entries, cap_entries;
};

struct disk {
    struct disk_node **nodes; /* owned; by node number, NULL where there is none */
    uint32_t num, cap;
};

/* With an empty folder DISK_ROOT. */
void disk_init(struct disk *disk);
void disk_fini(struct disk *disk);
struct disk_node *disk_node(const struct disk *disk, uint32_t node); /* NULL: none */
/* Makes node `number`, which must be new; the first free number is disk->num. */
struct disk_node *disk_add_node(struct disk *disk, uint32_t number, bool is_folder, int64_t now_ns);
/* 0: no such name. */
uint32_t disk_find(const struct disk *disk, uint32_t folder, const char *name);
void disk_link(struct disk *disk, uint32_t folder, const char *name, uint32_t node);
void disk_unlink(struct disk *disk, uint32_t folder, const char *name);
/* Room for size octets, zeros where there were none. */
void disk_reserve(struct disk_node *node, uint64_t size);
void disk_forget_pages(struct disk_node *node);
/* All of it. */
void disk_copy(const struct disk *from, struct disk *to);
/* Writes all files below `folder` of the real file system. */
bool disk_export(const struct disk *disk, const char *folder);

#endif
