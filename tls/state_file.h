/* A small file that is kept between runs: read whole, replaced atomically. Blocks; for threads that
 * may wait for a disk. */
#ifndef SLUICE_TLS_STATE_FILE_H
#define SLUICE_TLS_STATE_FILE_H

#include "base/bytes.h"

enum { STATE_FILE_WHY_MAX = 300 };

/* Appends to out, which bounds the size. true without anything in out: there is no such file. false
 * with a line in why: it cannot be read, or it is one that others may change. */
bool state_file_read(const char *path, struct buffer *out, char why[STATE_FILE_WHY_MAX])
    __attribute__((warn_unused_result));
/* Mode 0600; after a crash or a power cut there is the old content or the new one. false with a
 * line in why. */
bool state_file_write(const char *path, struct bytes content, char why[STATE_FILE_WHY_MAX])
    __attribute__((warn_unused_result));

#endif
