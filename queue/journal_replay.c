/* Reading segments back: which files, which records, which message by message.
 * What the records of a message mean together is journal_merge.c's. */
#include "queue/journal_replay.h"

#include "base/log.h"
#include "base/memory.h"
#include "queue/journal_merge.h"
#include "queue/journal_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 1 << 20, WINDOW_LEN = 8192 };

void journal_replay_init(struct journal_replay *replay)
{
    *replay = (struct journal_replay){0};
    buffer_init(&replay->image, JOURNAL_SEGMENT_LEN_MAX);
}

void journal_replay_fini(struct journal_replay *replay)
{
    for (size_t i = 0; i < replay->num_files; i++)
        if (replay->files[i].fd >= 0)
            close(replay->files[i].fd);
    free(replay->files);
    free(replay->refs);
    free(replay->rescued);
    buffer_fini(&replay->image);
    *replay = (struct journal_replay){0};
}

/* As much of [offset, offset + len) as there is; *error is set when the disk did not give it. */
static size_t read_at(int fd, uint8_t *to, size_t len, uint64_t offset, int *error)
{
    size_t have = 0;
    while (have < len) {
        ssize_t done = pread(fd, to + have, len - have, (off_t)(offset + have));
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            *error = errno;
        if (done <= 0)
            break;
        have += (size_t)done;
    }
    return have;
}

static void add_rescued(struct journal_replay *replay, uint64_t seq)
{
    if (replay->num_rescued == replay->cap_rescued) {
        replay->cap_rescued = replay->cap_rescued ? replay->cap_rescued * 2 : 16;
        replay->rescued =
            mem_realloc(replay->rescued, replay->cap_rescued, sizeof *replay->rescued);
    }
    replay->rescued[replay->num_rescued++] = seq;
}

static void add_ref(struct journal_replay *replay, size_t file,
                    const struct journal_record_head *head, uint64_t offset)
{
    if (head->kind == JOURNAL_RESCUED) {
        add_rescued(replay, head->id);
        return;
    }
    if (head->id > replay->highest_id)
        replay->highest_id = head->id;
    if (head->kind < JOURNAL_INTENT || head->kind > JOURNAL_REMOVED)
        return;
    if (replay->num_refs == replay->cap_refs) {
        replay->cap_refs = replay->cap_refs ? replay->cap_refs + replay->cap_refs / 2 : 1024;
        replay->refs = mem_realloc(replay->refs, replay->cap_refs, sizeof *replay->refs);
    }
    replay->refs[replay->num_refs++] = (struct journal_replay_ref){
        .id = head->id,
        .order = head->order,
        .offset = (uint32_t)offset,
        .file_kind = (uint32_t)(file << 3) | head->kind,
    };
}

static bool read_head(int fd, uint64_t file_len, struct journal_segment_head *out, int *error)
{
    uint64_t copy = file_len - JOURNAL_HEAD_LEN;
    if (read_at(fd, (uint8_t *)out, sizeof *out, 0, error) == sizeof *out &&
        journal_head_is_valid(out))
        return true;
    return file_len >= 2 * JOURNAL_HEAD_LEN &&
           read_at(fd, (uint8_t *)out, sizeof *out, copy, error) == sizeof *out &&
           journal_head_is_valid(out);
}

/* image: room for the records of any of the files. */
static void walk_file(struct journal_replay *replay, size_t index, uint8_t *image)
{
    struct journal_replay_file *file = &replay->files[index];
    struct journal_record_head head;
    struct journal_seed seed = {.seq = file->head.seq, .salt = file->head.salt};
    uint64_t offset = JOURNAL_HEAD_LEN;
    size_t have = read_at(file->fd, image, file->limit, 0, &replay->error);
    file->end = offset;
    for (;;) {
        bool skipped = false;
        if (!journal_record_next(image, have, &seed, &offset, &head, &skipped))
            break;
        replay->num_damaged += skipped;
        add_ref(replay, index, &head, offset);
        offset += (uint32_t)head.mark;
        file->end = offset;
    }
}

static int compare_files(const void *a, const void *b)
{
    const struct journal_replay_file *x = a, *y = b;
    return x->head.seq < y->head.seq ? -1 : x->head.seq > y->head.seq;
}

/* Oldest first: a router that runs meanwhile copies what counts of the oldest to the newest before
 * it frees the oldest. */
void journal_replay_walk(struct journal_replay *replay)
{
    if (replay->num_files)
        qsort(replay->files, replay->num_files, sizeof *replay->files, compare_files);
    size_t longest = 0;
    for (size_t i = 0; i < replay->num_files; i++)
        if (replay->files[i].limit > longest)
            longest = replay->files[i].limit;
    /* One for all: fresh pages for each file would cost more than what is read into them. */
    uint8_t *image = mem_alloc(longest);
    for (size_t i = 0; i < replay->num_files; i++)
        walk_file(replay, i, image);
    free(image);
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

void journal_replay_each_gap(const struct journal_replay *replay,
                             void (*on_gap)(void *ctx, const struct journal_replay_file *before,
                                            const struct journal_replay_file *after, uint64_t num),
                             void *ctx)
{
    size_t at = 0;
    if (replay->num_rescued)
        qsort(replay->rescued, replay->num_rescued, sizeof *replay->rescued, compare_numbers);
    for (size_t i = 1; i < replay->num_files; i++) {
        const struct journal_replay_file *before = &replay->files[i - 1];
        const struct journal_replay_file *after = &replay->files[i];
        uint64_t missing = 0, seq = before->head.seq;
        if (after->head.seq > seq + 1)
            missing = after->head.seq - seq - 1;
        /* One that is tried again after a failure halfway may be named twice. */
        for (; at < replay->num_rescued && replay->rescued[at] < after->head.seq; at++)
            if (replay->rescued[at] > seq) {
                seq = replay->rescued[at];
                missing--;
            }
        if (missing)
            on_gap(ctx, before, after, missing);
    }
}

bool journal_replay_is_current(const struct journal_replay *replay)
{
    for (size_t i = 0; i < replay->num_files; i++) {
        const struct journal_replay_file *file = &replay->files[i];
        struct journal_segment_head head;
        int error = 0;
        if (!read_head(file->fd, file->head.len, &head, &error) || head.salt != file->head.salt)
            return false;
    }
    return true;
}

bool journal_replay_add(struct journal_replay *replay, int fd, uint32_t number)
{
    struct stat st;
    struct journal_replay_file file = {.fd = fd, .number = number, .end = JOURNAL_HEAD_LEN};
    if (replay->num_files >= FILES_MAX)
        return false;
    if (fstat(fd, &st) != 0) {
        replay->error = errno;
        return false;
    }
    if (!read_head(fd, (uint64_t)st.st_size, &file.head, &replay->error))
        return false;
    /* A file that was cut short is read as far as it goes. */
    file.limit = file.head.len - JOURNAL_HEAD_LEN;
    if (file.limit > (uint64_t)st.st_size)
        file.limit = (uint64_t)st.st_size;
    if (file.head.highest_id > replay->highest_id)
        replay->highest_id = file.head.highest_id;
    if (replay->num_files == replay->cap_files) {
        replay->cap_files = replay->cap_files ? replay->cap_files * 2 : 16;
        replay->files = mem_realloc(replay->files, replay->cap_files, sizeof *replay->files);
    }
    replay->files[replay->num_files++] = file;
    return true;
}

/* A file whose making was interrupted, a spare, or one that was freed: zeros where its heads are.
 */
static bool is_unused(int fd, int *error)
{
    struct stat st;
    uint8_t heads[2 * JOURNAL_HEAD_LEN] = {0};
    if (fstat(fd, &st) != 0) {
        *error = errno;
        return false;
    }
    (void)read_at(fd, heads, JOURNAL_HEAD_LEN, 0, error);
    if (st.st_size >= JOURNAL_HEAD_LEN)
        (void)read_at(fd, heads + JOURNAL_HEAD_LEN, JOURNAL_HEAD_LEN,
                      (uint64_t)st.st_size - JOURNAL_HEAD_LEN, error);
    for (size_t i = 0; i < sizeof heads; i++)
        if (heads[i] != 0)
            return false;
    return true;
}

/* Without its head nothing of a segment can be read, but somebody may want to try: it is kept. */
static void set_aside(struct journal_replay *replay, int folder_fd, int fd, const char *name)
{
    char aside[64];
    bool unused = is_unused(fd, &replay->error);
    if (replay->error)
        return;
    if (unused) {
        (void)unlinkat(folder_fd, name, 0);
        return;
    }
    snprintf(aside, sizeof aside, "%s.damaged", name);
    log_error("journal: both heads of %s are damaged; it is kept as %s", name, aside);
    if (renameat(folder_fd, name, folder_fd, aside) != 0)
        log_error("journal: cannot rename %s: %s", name, strerror(errno));
}

static bool load_file(struct journal_replay *replay, int folder_fd, const char *name,
                      uint32_t number, enum journal_replay_mode mode)
{
    int flags = mode == JOURNAL_REPLAY_OWN ? O_RDWR : O_RDONLY;
    int fd = openat(folder_fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        /* Gone between listing and opening: the running router has freed it. */
        if (errno != ENOENT || mode != JOURNAL_REPLAY_READ)
            replay->error = errno;
        return replay->error == 0;
    }
    if (number > replay->highest_number)
        replay->highest_number = number;
    if (!journal_replay_add(replay, fd, number)) {
        if (mode == JOURNAL_REPLAY_OWN && !replay->error)
            set_aside(replay, folder_fd, fd, name);
        close(fd);
    }
    return replay->error == 0;
}

static int list_numbers(int folder_fd, uint32_t **out_numbers, size_t *out_num)
{
    size_t num = 0, cap = 0;
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    *out_numbers = NULL;
    if (!dir) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return -error;
    }
    errno = 0;
    for (struct dirent *entry; num < FILES_MAX && (entry = readdir(dir)); errno = 0) {
        uint32_t number;
        if (!journal_segment_parse_name(entry->d_name, &number))
            continue;
        if (num == cap) {
            cap = cap ? cap * 2 : 16;
            *out_numbers = mem_realloc(*out_numbers, cap, sizeof **out_numbers);
        }
        (*out_numbers)[num++] = number;
    }
    int error = errno;
    closedir(dir);
    *out_num = num;
    return -error;
}

bool journal_replay_load(struct journal_replay *replay, int folder_fd,
                         enum journal_replay_mode mode, char why[SPOOL_WHY_MAX])
{
    uint32_t *numbers;
    size_t num = 0;
    bool ok = true;
    int result = list_numbers(folder_fd, &numbers, &num);
    if (result != 0) {
        snprintf(why, SPOOL_WHY_MAX, "journal: %s", strerror(-result));
        ok = false;
    }
    for (size_t i = 0; ok && i < num; i++) {
        char name[32];
        journal_segment_name(numbers[i], name);
        ok = load_file(replay, folder_fd, name, numbers[i], mode);
        if (!ok)
            snprintf(why, SPOOL_WHY_MAX, "journal/%s: %s", name, strerror(replay->error));
    }
    free(numbers);
    if (!ok)
        return false;
    journal_replay_walk(replay);
    if (replay->error)
        snprintf(why, SPOOL_WHY_MAX, "journal: %s", strerror(replay->error));
    return replay->error == 0;
}

/* By id, then by the time of first storing. */
static int compare_refs(const void *a, const void *b)
{
    const struct journal_replay_ref *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->file_kind < y->file_kind ? -1 : x->file_kind > y->file_kind;
}

static enum journal_kind kind_of(const struct journal_replay_ref *ref)
{
    return ref->file_kind & 7;
}

/* What the file has at ref, at least len octets if it has as many. Records of one id, and of ids
 * that arrived one after the other, are often neighbours, so what was read is kept for the next. */
static struct bytes look_at(struct journal_replay *replay, const struct journal_replay_ref *ref,
                            size_t len)
{
    uint32_t index = ref->file_kind >> 3;
    const struct journal_replay_file *file = &replay->files[index];
    size_t before = ref->offset - replay->image_offset, room = file->limit - ref->offset;
    bool is_kept = replay->image_file == index && ref->offset >= replay->image_offset &&
                   before + (len < room ? len : room) <= replay->image.len;
    if (!is_kept) {
        len = len < WINDOW_LEN ? WINDOW_LEN : len;
        len = len < room ? len : room;
        buffer_clear(&replay->image);
        uint8_t *at = buffer_reserve(&replay->image, len);
        replay->image.len = at ? read_at(file->fd, at, len, ref->offset, &replay->error) : 0;
        replay->image_file = index;
        replay->image_offset = ref->offset;
        before = 0;
    }
    return bytes_from(buffer_bytes(&replay->image), before);
}

/* The record's octets, checked again, because a running router may have freed them; empty then. */
static struct bytes read_record(struct journal_replay *replay, const struct journal_replay_ref *ref)
{
    const struct journal_replay_file *file = &replay->files[ref->file_kind >> 3];
    struct journal_seed seed = {.seq = file->head.seq, .salt = file->head.salt};
    struct journal_record_head head;
    size_t want = sizeof head;
    for (int i = 0; i < 2; i++) {
        struct bytes have = look_at(replay, ref, want);
        if (have.len < sizeof head)
            break;
        memcpy(&head, have.at, sizeof head);
        want = (uint32_t)head.mark;
        if (want <= have.len)
            return bytes_make(have.at,
                              journal_record_check(have.at, have.len, ref->offset, &seed, &head));
    }
    return (struct bytes){0};
}

struct run {
    struct journal_replay *replay;
    const struct journal_replay_calls *calls;
    struct journal_merge merge;
    struct journal_scratch scratch;
};

static void run_live(struct run *run, const struct journal_replay_ref *refs, size_t num)
{
    uint64_t applied = 0; /* order of the last record that was merged */
    size_t first = 0;
    for (size_t i = 0; i < num; i++)
        if (kind_of(&refs[i]) == JOURNAL_DEFERRED)
            first = i;
    /* A copy of the base that crashed before its original was freed is the base, too. */
    while (first > 0 && refs[first - 1].order == refs[first].order)
        first--;
    journal_merge_begin(&run->merge, refs[0].id);
    for (size_t i = first; i < num; i++) {
        struct journal_record record;
        if (refs[i].order == applied)
            continue;
        struct bytes image = read_record(run->replay, &refs[i]);
        if (!image.len || !journal_record_decode(image, &run->scratch, &record)) {
            run->replay->num_lost++;
            continue;
        }
        applied = refs[i].order;
        journal_merge_add(&run->merge, &record);
        if (run->calls->on_record)
            run->calls->on_record(run->calls->own_ctx, &refs[i], image.len);
    }
    if (applied && run->calls->on_live)
        run->calls->on_live(run->calls->ctx, journal_merge_end(&run->merge));
}

static void run_group(struct run *run, const struct journal_replay_ref *refs, size_t num)
{
    uint32_t last_removed = 0, last_other = 0;
    bool removed = false;
    for (size_t i = 0; i < num; i++) {
        uint32_t file = refs[i].file_kind >> 3;
        uint32_t *last = kind_of(&refs[i]) == JOURNAL_REMOVED ? &last_removed : &last_other;
        *last = file > *last ? file : *last;
        removed |= kind_of(&refs[i]) == JOURNAL_REMOVED;
    }
    if (!removed)
        run_live(run, refs, num);
    else if (last_other > last_removed && run->calls->on_zombie)
        run->calls->on_zombie(run->calls->own_ctx, refs[0].id);
}

void journal_replay_run(struct journal_replay *replay, const struct journal_replay_calls *calls)
{
    struct run run = {.replay = replay, .calls = calls};
    if (replay->num_refs)
        qsort(replay->refs, replay->num_refs, sizeof *replay->refs, compare_refs);
    for (size_t at = 0; at < replay->num_refs;) {
        size_t next = at + 1;
        while (next < replay->num_refs && replay->refs[next].id == replay->refs[at].id)
            next++;
        run_group(&run, &replay->refs[at], next - at);
        at = next;
    }
    journal_merge_fini(&run.merge);
    journal_scratch_fini(&run.scratch);
}
