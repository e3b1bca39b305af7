/* What a disk may hold after a power cut: what was synced, and any part of the rest that the rules
 * allow.
 *
 * Content: each 4 KiB page of a file is as at its last sync or as any store since has left it,
 * apart from all others, or torn at 512 octets; so are size and modification time together. Names,
 * ORDERED (the journals of ext4 and XFS): a prefix of all changes in the order in which they were
 * made; fsync of a file or folder takes its own changes and all before them to the disk. FOLDERS
 * (any file system that keeps POSIX and atomic renames): each folder's changes are a prefix of
 * their own, and only fsync of that folder takes them to the disk. fdatasync never takes names. */
#ifndef SLUICE_TESTS_POWERCUT_MODEL_H
#define SLUICE_TESTS_POWERCUT_MODEL_H

#include "tests/powercut/events.h"

enum model_order { MODEL_ORDERED, MODEL_FOLDERS };

struct model {
    const struct events *events; /* borrowed */
    enum model_order order;
    size_t at;           /* events before it have happened */
    struct disk durable; /* what every cut leaves */
    size_t *names;       /* owned: events of names that may be lost, in order */
    size_t num_names, cap_names;
    size_t *contents; /* owned: events of pages and attributes that may be lost, in order */
    size_t num_contents, cap_contents;
};

/* At the beginning the spool folder is empty. */
void model_init(struct model *model, const struct events *events, enum model_order order);
void model_fini(struct model *model);
/* Goes past the next event. True when what is durable changed. */
bool model_step(struct model *model);

/* The first subsets are the corners: the least, the most, names without content, content without
 * names; then the most without each single page that may be lost, one at a time; from there on they
 * are random. */
enum { MODEL_LEAST, MODEL_MOST, MODEL_NAMES_ONLY, MODEL_CONTENT_ONLY, MODEL_CORNERS };
/* Subsets that are not random. 2 when nothing is in doubt. */
unsigned model_num_fixed(const struct model *model);
/* Builds the disk of a subset; the same for the same arguments. */
void model_build(const struct model *model, unsigned subset, uint64_t seed, struct disk *out);

#endif
