/* What a property test does to a spool from outside: copies, removal, and what a power cut leaves
 * of the journal's stores. */
#ifndef SLUICE_TESTS_SIM_DISK_H
#define SLUICE_TESTS_SIM_DISK_H

#include <stdint.h>

/* As `cp -a`: names, content, modes and modification times; new inodes. */
void disk_copy(const char *from, const char *to);
void disk_remove(const char *path);
/* Before processes are made: all of them share what was synced. */
void disk_init(void);
/* Everything is on the disk as it is now. */
void disk_forget(void);
/* A segment of the journal is on the disk as it is now; other files are passed over. */
void disk_note_sync(int fd);
/* Each 4 KiB page of a segment that has changed since it was synced is as it was then or as it is
 * now. */
void disk_power_off(const char *spool, uint64_t (*draw)(uint64_t limit));

#endif
