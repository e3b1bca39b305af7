/* Finds the differences. It reads only; repairs are in fsck_repair.c. */
#include "router/fsck.h"

#include "base/clock.h"
#include "base/memory.h"
#include "queue/queue_id.h"
#include "queue/waiting_set.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { TMP_OLD_S = 24 * 3600 };

static const struct fsck_kind_text texts[FSCK_KINDS] = {
    [FSCK_UNKNOWN_FILE] = {"unknown-file", "the journal does not know it",
                           "it is recorded, due at once, every recipient is tried",
                           "a double is better than a loss"},
    [FSCK_UNKNOWN_HELD] = {"unknown-held", "the journal does not know it", "it is recorded as held",
                           "it is not sent until it is released"},
    [FSCK_MISSING_FILE] = {"missing-file", "the journal has a message whose file is gone",
                           "the entry is forgotten",
                           "nothing is left to send; a file that comes back is tried in full"},
    [FSCK_COPY] = {"copy", "a copy of the recorded file (same size and time: a restored backup)",
                   "it takes the recorded one's place",
                   "it has the same content, and what is known of its recipients still holds"},
    [FSCK_OTHER_FILE] = {"other-file", "not the file that was recorded under this id",
                         "it is recorded, every recipient is tried",
                         "a double is better than a loss"},
    [FSCK_WRONG_FOLDER] = {"wrong-folder", "not in the folder that the journal says",
                           "it is moved there", "the record was durable before the move began"},
    [FSCK_KNOWN_TWICE] = {"known-twice", "another file has the same id",
                          "it gets an id of its own, in the same folder",
                          "both are kept; a double is better than a loss"},
    [FSCK_NO_ID] = {"no-id", "its name is no queue id, so the router leaves it alone",
                    "it gets an id, in the same folder", "only the name changes"},
    [FSCK_BAD_WITHOUT_WHY] = {"bad-without-why", "nothing says why it was not accepted",
                              "a reason is written that says so", "the file is not touched"},
    [FSCK_WHY_WITHOUT_FILE] = {"why-without-file", "the reason for a file that is not there", NULL,
                               "delete it when you have read it"},
    [FSCK_OLD_IN_TMP] = {"old-in-tmp", "untouched for more than a day", NULL,
                         "only its writer knows whether it is complete: move it to new/, or "
                         "delete it"},
    [FSCK_JOURNAL_DAMAGED] = {"journal-damaged", "records that cannot be read", NULL,
                              "files that they spoke of are reported here and tried in full; the "
                              "damage goes when the journal compacts"},
    [FSCK_SEGMENT_SET_ASIDE] = {"segment-set-aside", "a part of the journal that was unreadable",
                                NULL, "it is kept for study only: delete it when you like"},
    [FSCK_CONTROL_LEFT] = {"control-left", "the control socket of a router that was killed",
                           "it is removed", "no router runs; the next one makes its own"},
    [FSCK_FOLDER_MISSING] = {"folder-missing", "a folder of the spool is missing", "it is made",
                             "it holds nothing"},
    [FSCK_FOLDER_OPEN] = {"folder-open", "others than its owner may write in it",
                          "that permission is taken away", "writers need only new/ and tmp/"},
};

const struct fsck_kind_text *fsck_kind_text(enum fsck_kind kind)
{
    return &texts[kind];
}

struct search {
    struct fsck *fsck;
    struct spool spool;
    struct table table; /* what the journal knows, by id */
    struct waiting_set known;
};

static void found(struct fsck *fsck, enum fsck_kind kind, const char *path, uint64_t id)
{
    if (fsck->num == fsck->cap) {
        fsck->cap = fsck->cap ? fsck->cap * 2 : 16;
        fsck->findings = mem_realloc(fsck->findings, fsck->cap, sizeof *fsck->findings);
    }
    fsck->findings[fsck->num++] =
        (struct fsck_finding){.kind = kind, .path = mem_strdup(path), .id = id};
}

void fsck_fini(struct fsck *fsck)
{
    for (size_t i = 0; i < fsck->num; i++)
        free(fsck->findings[i].path);
    free(fsck->findings);
    *fsck = (struct fsck){0};
}

static bool read_identity(const struct search *search, const char *path, struct file_identity *out)
{
    return file_identity_at(search->spool.root_fd, path, out) == 0;
}

/* deferred/xx/ID and hold/ID. */
static void look_under_id(struct search *search, const char *path, const char *name)
{
    struct fsck *fsck = search->fsck;
    struct file_identity identity;
    uint64_t id = 0;
    if (!read_identity(search, path, &identity))
        return;
    if (!queue_id_parse(bytes_of(name), &id)) {
        found(fsck, FSCK_NO_ID, path, 0);
        return;
    }
    struct waiting *waiting = table_find(&search->table, id);
    if (!waiting) {
        struct journal_message message = {.id = id, .path = path};
        waiting = waiting_new(&message);
        waiting->is_met = true;
        table_add(&search->table, waiting);
        found(fsck, spool_path_is_held(path) ? FSCK_UNKNOWN_HELD : FSCK_UNKNOWN_FILE, path, id);
        return;
    }
    if (waiting->is_met) {
        found(fsck, FSCK_KNOWN_TWICE, path, id);
        return;
    }
    waiting->is_met = true;
    if (!file_identity_equal(&identity, &waiting->identity))
        found(fsck, waiting_adopt(waiting, &identity) ? FSCK_COPY : FSCK_OTHER_FILE, path, id);
    else if (strcmp(waiting->path, path) != 0)
        found(fsck, FSCK_WRONG_FOLDER, path, id);
}

static void look_in_new(struct search *search, const char *path, const char *name)
{
    (void)name;
    struct file_identity identity;
    struct waiting *waiting = NULL;
    if (read_identity(search, path, &identity))
        waiting = waiting_set_find(&search->known, &identity);
    if (!waiting || waiting->is_met)
        return; /* new mail */
    waiting->is_met = true;
    if (strncmp(waiting->path, "new/", 4) != 0)
        found(search->fsck, FSCK_WRONG_FOLDER, path, waiting->id);
}

static bool exists(const struct spool *spool, const char *path)
{
    struct stat st;
    return fstatat(spool->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void look_in_bad(struct search *search, const char *path, const char *name)
{
    char other[SPOOL_PATH_MAX + 4];
    size_t len = strlen(path);
    (void)name;
    snprintf(other, sizeof other, "%s.why", path);
    if (exists(&search->spool, other))
        return;
    bool is_why = len > 4 && strcmp(path + len - 4, ".why") == 0;
    if (!is_why) {
        found(search->fsck, FSCK_BAD_WITHOUT_WHY, path, 0);
        return;
    }
    snprintf(other, sizeof other, "%.*s", (int)(len - 4), path);
    if (!exists(&search->spool, other))
        found(search->fsck, FSCK_WHY_WITHOUT_FILE, path, 0);
}

static void look_in_tmp(struct search *search, const char *path, const char *name)
{
    struct file_identity identity;
    (void)name;
    if (read_identity(search, path, &identity) &&
        clock_wall_ms() / 1000 - identity.mtime_ns / 1000000000 > TMP_OLD_S)
        found(search->fsck, FSCK_OLD_IN_TMP, path, 0);
}

static void look_in_journal(struct search *search, const char *path, const char *name)
{
    size_t len = strlen(name);
    if (len > 8 && strcmp(name + len - 8, ".damaged") == 0)
        found(search->fsck, FSCK_SEGMENT_SET_ASIDE, path, 0);
}

/* Calls look for each file of the folder and `depth` levels below. False: it cannot be read. */
static bool walk(struct search *search, const char *path, unsigned depth, bool all,
                 void (*look)(struct search *search, const char *path, const char *name))
{
    int fd = openat(search->spool.root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    bool ok = dir != NULL;
    if (!dir && fd >= 0)
        close(fd);
    while (dir && (entry = readdir(dir))) {
        char below[SPOOL_PATH_MAX];
        bool ignored = all ? entry->d_name[0] == '.' : spool_name_is_ignored(entry->d_name);
        if (ignored ||
            (size_t)snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= sizeof below)
            continue;
        if (!spool_entry_is_folder(dirfd(dir), entry))
            look(search, below, entry->d_name);
        else if (depth > 0)
            ok &= walk(search, below, depth - 1, all, look);
    }
    if (dir)
        closedir(dir);
    return ok;
}

static void find_missing(struct search *search)
{
    for (size_t i = 0; i < search->known.num; i++)
        if (!search->known.items[i]->is_met)
            found(search->fsck, FSCK_MISSING_FILE, search->known.items[i]->path,
                  search->known.items[i]->id);
}

static int compare(struct search *search, char why[SPOOL_WHY_MAX])
{
    struct journal_report report;
    if (!journal_read_report(&search->spool, waiting_set_on_live, &search->known, &report, why))
        return EX_IOERR;
    if (report.num_damaged || report.num_lost)
        found(search->fsck, FSCK_JOURNAL_DAMAGED, "journal", 0);
    table_reserve(&search->table, search->known.num);
    for (size_t i = 0; i < search->known.num; i++)
        table_add(&search->table, search->known.items[i]);
    waiting_set_sort_by_inode(&search->known);
    bool ok = walk(search, "deferred", 1, false, look_under_id);
    ok &= walk(search, "hold", 1, false, look_under_id);
    ok &= walk(search, "new", 1, false, look_in_new);
    /* What could not be looked at is not missing. */
    if (ok)
        find_missing(search);
    ok &= walk(search, "bad", 0, true, look_in_bad);
    ok &= walk(search, "tmp", 0, true, look_in_tmp);
    ok &= walk(search, "journal", 0, true, look_in_journal);
    if (!ok)
        snprintf(why, SPOOL_WHY_MAX, "a folder of the spool cannot be read: %s", strerror(errno));
    return ok ? EX_OK : EX_NOPERM;
}

/* new/ and tmp/ are for writers, whoever they are. */
static bool look_at_folders(struct fsck *fsck, int root_fd)
{
    static const char *const names[] = {"new", "tmp", "deferred", "hold", "bad", "journal"};
    bool all = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat st;
        if (fstatat(root_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) != 0) {
            found(fsck, FSCK_FOLDER_MISSING, names[i], 0);
            all = false;
        } else if (i >= 2 && S_ISDIR(st.st_mode) && (st.st_mode & (S_IWGRP | S_IWOTH))) {
            found(fsck, FSCK_FOLDER_OPEN, names[i], 0);
        }
    }
    return all;
}

/* Holds the lock, if it is there, as long as the descriptor is open; nothing is made. False: it
 * cannot be told whether a router runs. */
static bool take_lock(struct fsck *fsck, int root_fd, int *out_fd)
{
    int fd = openat(root_fd, "lock", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    fsck->router_runs = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    *out_fd = fd;
    return fd >= 0 || errno == ENOENT;
}

static int find_all(struct fsck *fsck, int root_fd, char why[SPOOL_WHY_MAX])
{
    struct search search = {.fsck = fsck};
    struct stat st;
    if (!fsck->router_runs && fstatat(root_fd, "control", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISSOCK(st.st_mode))
        found(fsck, FSCK_CONTROL_LEFT, "control", 0);
    fsck->compared = look_at_folders(fsck, root_fd);
    if (!fsck->compared)
        return EX_OK;
    if (!spool_open(&search.spool, fsck->config->spool, false, why))
        return EX_NOPERM;
    table_init(&search.table);
    int code = compare(&search, why);
    table_fini(&search.table);
    search.known.num = 0; /* the table owned them */
    waiting_set_fini(&search.known);
    spool_close(&search.spool);
    return code;
}

int fsck_find(struct fsck *fsck, const struct config *config, char why[SPOOL_WHY_MAX])
{
    *fsck = (struct fsck){.config = config};
    int root_fd = open(config->spool, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0) {
        snprintf(why, SPOOL_WHY_MAX, "%.150s: %s", config->spool, strerror(errno));
        return errno == EACCES ? EX_NOPERM : EX_NOINPUT;
    }
    int lock_fd;
    int code = EX_NOPERM;
    if (take_lock(fsck, root_fd, &lock_fd))
        code = find_all(fsck, root_fd, why);
    else
        snprintf(why, SPOOL_WHY_MAX, "%.150s/lock: %s", config->spool, strerror(errno));
    if (lock_fd >= 0)
        close(lock_fd);
    close(root_fd);
    return code;
}
