/* Where received messages go: one file each in a folder.
 *
 * A file begins with X-Sink-* lines (see --help), then the content as received, dots unstuffed. It
 * is written under a dot name and renamed when the message was accepted, so whoever watches the
 * folder sees whole messages only. Any thread; each open file has one writer. */
#ifndef SLUICE_BENCH_SINK_STORE_H
#define SLUICE_BENCH_SINK_STORE_H

#include "base/bytes.h"

struct store;

/* The folder must exist or be creatable; NULL with errno set. Names continue behind those that are
 * there. */
struct store *store_open(const char *folder) __attribute__((warn_unused_result));
void store_close(struct store *store);

struct store_file {
    int fd; /* -1: none */
    uint64_t sequence;
    bool failed; /* sticky: a write failed */
};

void store_file_begin(struct store *store, struct store_file *file);
void store_file_write(struct store_file *file, struct bytes bytes);
/* Content of DATA: begins at a line start or inside a line, never between CRLF and a dot. */
void store_file_write_stuffed(struct store_file *file, struct bytes bytes, bool at_line_start);
/* Gives it its name; false when this or a write failed (the file is then gone). */
bool store_file_commit(struct store *store, struct store_file *file)
    __attribute__((warn_unused_result));
/* Idempotent. */
void store_file_abort(struct store *store, struct store_file *file);

#endif
