/* Private to the spool's files: from a path of the contract to an open folder and a name in it. */
#ifndef SLUICE_QUEUE_SPOOL_PLACE_H
#define SLUICE_QUEUE_SPOOL_PLACE_H

#include "queue/spool.h"

struct spool_place {
    int folder_fd;       /* of the folder that holds it */
    bool folder_owned;   /* folder_fd was opened for this place; else it is the spool's */
    int parent_fd;       /* borrowed from the spool: "deferred" for "deferred/xx/ID" */
    char subfolder[256]; /* "" when the folder is one of the spool's own */
    const char *name;    /* inside the path it was made from */
};

enum spool_place_mode { SPOOL_PLACE_EXISTING, SPOOL_PLACE_MAKE_FOLDER };

/* "FOLDER/NAME" or "FOLDER/SUB/NAME", FOLDER one of the spool's; never through a symbolic link.
 * MAKE_FOLDER makes a missing SUB. *out_made tells (NULL allowed). 0 or -errno (-EINVAL: not such
 * a path). */
int spool_place_open(const struct spool *spool, const char *path, enum spool_place_mode mode,
                     struct spool_place *out, bool *out_made);
void spool_place_close(struct spool_place *place);

#endif
