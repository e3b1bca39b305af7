/* Shared by the simulated system calls only. All but the first two functions under the mutex. */
#ifndef SLUICE_TESTS_POWERCUT_SIMULATED_PRIVATE_H
#define SLUICE_TESTS_POWERCUT_SIMULATED_PRIVATE_H

#include "tests/powercut/simulated_calls.h"

#include <pthread.h>

extern pthread_mutex_t simulated_mutex;
extern struct disk *simulated_disk; /* borrowed */
extern uint32_t simulated_device;

/* 0: the descriptor is not of the simulated disk. */
uint32_t simulated_node_at(int fd);
bool simulated_is_path(int fd, const char *path);

/* Where a path leads: the folder that holds (or would hold) its last part, that part, and the node,
 * 0 when there is none. */
struct simulated_place {
    uint32_t folder, node;
    char name[DISK_NAME_MAX];
};
int simulated_find(int fd, const char *path, struct simulated_place *out); /* 0 or -errno */
/* Leaves the mutex; -1 with errno set. */
int simulated_fail(int error);

#endif
