/* The system calls on files, played on a disk in memory for everything below SIMULATED_ROOT.
 *
 * The functions of the C library that the router's rooms use on files are defined here, in the
 * executable, so they stand before the library's. What is not below the root goes to the kernel. A
 * simulated descriptor is a number above all that the kernel gives. Stores into mapped files
 * are found by comparing: before each event is noted, and whenever simulated_stores() is called.
 * Any thread. */
#ifndef SLUICE_TESTS_POWERCUT_SIMULATED_CALLS_H
#define SLUICE_TESTS_POWERCUT_SIMULATED_CALLS_H

#include "tests/powercut/events.h"

#define SIMULATED_ROOT "/powercut-spool"

enum { SIMULATED_FIRST_INODE = 1000 /* that of node 0 */ };

/* Both borrowed until the next call; events NULL: nothing is recorded. disk NULL: none. Closes what
 * is left open of the disk before. device: st_dev of its files. */
void simulated_mount(struct disk *disk, struct events *events, uint32_t device);
/* Notes stores into mapped files. */
void simulated_stores(void);
/* Notes something that is not of the disk; NULL-safe when nothing is recorded. */
void simulated_note(enum event_kind kind, const char *name);
/* Descriptors of the disk that are open. */
unsigned simulated_num_open(void);

#endif
