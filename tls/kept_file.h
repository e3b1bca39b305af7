/* A file that is kept between runs: opened with care, replaced as a whole.
 *
 * A replacement is written to a draft beside the file, of mode 0600, which takes the file's name
 * only when it is whole and synced. The first failure is kept and makes the rest of the calls do
 * nothing, so callers look once, at the end. Blocks on the disk. What is in the file, and who may
 * have a right to it, is the caller's to know. */
#ifndef SLUICE_TLS_KEPT_FILE_H
#define SLUICE_TLS_KEPT_FILE_H

#include "base/bytes.h"

#include <sys/stat.h>

/* For reading: never through a symbolic link, and without waiting for the writer of a FIFO. An fd
 * of the caller's, with what fstat() says of it; or -errno. */
int kept_file_open(const char *path, struct stat *out_status) __attribute__((warn_unused_result));

struct kept_file_draft {
    const char *path; /* borrowed until the end */
    char *name;       /* owned: the path and a suffix */
    int fd;
    int error; /* errno of the first failure; 0 */
};
/* What an end in the midst of an earlier draft left under that name goes. */
void kept_file_draft_begin(struct kept_file_draft *draft, const char *path, const char *suffix);
void kept_file_draft_write(struct kept_file_draft *draft, struct bytes content);
/* Syncs, renames, and removes the draft if anything failed. folder_too: syncs the folder as well,
 * so that a power cut leaves the old content or the new one; without, it may also leave the old
 * content for longer. 0 or -errno of the first failure. */
int kept_file_draft_end(struct kept_file_draft *draft, bool folder_too)
    __attribute__((warn_unused_result));

#endif
