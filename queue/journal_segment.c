/* Segment files: made full of zeros, mapped, wiped, unlinked.
 * It does not know what is stored in them. */
#include "base/log.h"
#include "base/memory.h"
#include "queue/journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ZEROS_LEN = 256 * 1024, SEGMENT_MODE = 0640 };

void journal_segment_name(uint32_t number, char out[32])
{
    snprintf(out, 32, "%08x" JOURNAL_SUFFIX, number);
}

bool journal_segment_parse_name(const char *name, uint32_t *out_number)
{
    char again[32];
    char *end;
    unsigned long number = strtoul(name, &end, 16);
    if (end != name + 8 || number > UINT32_MAX)
        return false;
    journal_segment_name((uint32_t)number, again);
    *out_number = (uint32_t)number;
    return strcmp(name, again) == 0;
}

struct journal_segment *journal_segment_new(struct journal *journal)
{
    struct journal_segment *segment = journal->unused;
    if (segment)
        journal->unused = segment->next_unused;
    else
        segment = mem_zalloc(1, sizeof *segment);
    segment->number = journal->next_number++;
    segment->fd = -1;
    segment->map = NULL;
    segment->len = journal->segment_len;
    return segment;
}

/* Every octet is written, not only allocated: then a store into the mapping can never meet a full
 * disk (which would be SIGBUS), and fdatasync has data to write but no metadata. What remains is a
 * read error on a page that was dropped from memory: SIGBUS then ends the process, which is what
 * the journal is made to survive. */
static int write_zeros(int fd, size_t len)
{
    static const uint8_t zeros[ZEROS_LEN];
    /* First, because it fails at once when the disk is full; not all file systems have it. */
    if (fallocate(fd, 0, 0, (off_t)len) != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        return -errno;
    for (size_t at = 0; at < len;) {
        size_t part = len - at < ZEROS_LEN ? len - at : ZEROS_LEN;
        ssize_t done = pwrite(fd, zeros, part, (off_t)at);
        if (done < 0 && errno != EINTR)
            return -errno;
        if (done > 0)
            at += (size_t)done;
    }
    return 0;
}

int journal_segment_map(struct journal_segment *segment)
{
    void *map = mmap(NULL, segment->len, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    segment->map = map;
    return 0;
}

void journal_segment_unmap(struct journal_segment *segment)
{
    if (segment->map)
        munmap(segment->map, segment->len);
    segment->map = NULL;
}

int journal_segment_make(struct journal *journal, struct journal_segment *segment, bool durable)
{
    char name[32];
    journal_segment_name(segment->number, name);
    int fd = openat(journal->folder_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    SEGMENT_MODE);
    if (fd < 0)
        return -errno;
    segment->fd = fd;
    int result = write_zeros(fd, segment->len);
    if (result == 0 && durable && journal->sync && fdatasync(fd) != 0)
        result = -errno;
    if (result == 0)
        result = journal_segment_map(segment);
    if (result != 0)
        journal_segment_unlink(journal, segment);
    return result;
}

int journal_segment_wipe(const struct journal *journal, struct journal_segment *segment)
{
    static const uint8_t zeros[JOURNAL_HEAD_LEN];
    if (pwrite(segment->fd, zeros, sizeof zeros, 0) != sizeof zeros ||
        pwrite(segment->fd, zeros, sizeof zeros, (off_t)journal_segment_limit(segment)) !=
            sizeof zeros ||
        (journal->sync && fdatasync(segment->fd) != 0))
        return errno ? -errno : -EIO;
    return 0;
}

void journal_segment_unlink(const struct journal *journal, struct journal_segment *segment)
{
    char name[32];
    journal_segment_name(segment->number, name);
    journal_segment_unmap(segment);
    if (segment->fd >= 0)
        close(segment->fd);
    segment->fd = -1;
    if (unlinkat(journal->folder_fd, name, 0) != 0 && errno != ENOENT)
        log_warning("journal: cannot remove %s: %s", name, strerror(errno));
}
