/* One writer thread behind a mailbox; see the header for who may call what and when.
 * It does not format records: rooms above do, in their own threads. */
#include "base/log.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_MAX = 2048, FILE_BUFFER_MAX = 256 * 1024 };

struct log_file {
    int fd;
    char *path;            /* owned */
    struct buffer waiting; /* writer thread: gathered until the end of a batch */
    int64_t complained_us; /* when a failed write was last noted */
    uint64_t lost;         /* lines' batches that could not be written */
    bool is_torn;          /* the file ends within a line, of which the rest is lost */
    struct log_file *next; /* writer thread: files with something waiting */
    bool queued;
};

enum log_item_kind { LOG_ITEM_LINES, LOG_ITEM_STOP };

struct log_item {
    struct mailbox_item item;
    struct log_file *file; /* NULL: stderr */
    size_t len;
    uint8_t text[];
};

static struct {
    _Atomic int least;
    _Atomic bool running;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct log_file notes;
    struct log_file *dirty; /* files with something waiting */
} writer = {.least = LOG_LEVEL_INFO,
            .notes = {.fd = STDERR_FILENO, .waiting.max = FILE_BUFFER_MAX}};

static void complain(struct log_file *file)
{
    int64_t now = clock_mono_us();
    file->lost++;
    if (file == &writer.notes || (file->complained_us && now - file->complained_us < 60000000))
        return;
    file->complained_us = now;
    dprintf(STDERR_FILENO, "error: cannot write to the log %s: %s (%llu batches lost so far)\n",
            file->path, strerror(errno), (unsigned long long)file->lost);
}

static void write_all(struct log_file *file, struct bytes text)
{
    if (file->is_torn) {
        if (write(file->fd, "\n", 1) != 1) {
            complain(file);
            return;
        }
        file->is_torn = false;
    }
    uint8_t last = '\n';
    while (text.len) {
        ssize_t n = write(file->fd, text.at, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            file->is_torn = last != '\n';
            complain(file);
            return;
        }
        last = text.at[n - 1];
        text = bytes_from(text, (size_t)n);
    }
}

static void flush_file(struct log_file *file)
{
    write_all(file, buffer_bytes(&file->waiting));
    buffer_clear(&file->waiting);
}

static void gather(struct log_file *file, struct bytes text)
{
    if (file->waiting.len + text.len > FILE_BUFFER_MAX)
        flush_file(file);
    if (text.len > FILE_BUFFER_MAX)
        write_all(file, text);
    else
        buffer_append_bytes(&file->waiting, text);
    if (!file->queued) {
        file->queued = true;
        file->next = writer.dirty;
        writer.dirty = file;
    }
}

static void on_item(void *ctx, struct mailbox_item *posted)
{
    (void)ctx;
    struct log_item *item = container_of(posted, struct log_item, item);
    if (posted->kind == LOG_ITEM_STOP)
        loop_stop(&writer.loop);
    else
        gather(item->file ? item->file : &writer.notes, bytes_make(item->text, item->len));
    free(item);
}

static void on_batch_end(void *ctx)
{
    (void)ctx;
    while (writer.dirty) {
        struct log_file *file = writer.dirty;
        writer.dirty = file->next;
        file->queued = false;
        flush_file(file);
    }
}

static void *writer_main(void *unused)
{
    loop_run(&writer.loop);
    return unused;
}

static void post(unsigned kind, struct log_file *file, struct bytes text)
{
    struct log_item *item = mem_alloc(sizeof *item + text.len);
    *item = (struct log_item){.item.kind = kind, .file = file, .len = text.len};
    if (text.len)
        memcpy(item->text, text.at, text.len);
    mailbox_post(&writer.mailbox, &item->item);
}

bool log_start(void)
{
    CHECK(!writer.running);
    if (!loop_init(&writer.loop))
        return false;
    if (!mailbox_init(&writer.mailbox, &writer.loop, on_item, NULL)) {
        loop_fini(&writer.loop);
        return false;
    }
    writer.mailbox.on_batch_end = on_batch_end;
    int rc = pthread_create(&writer.thread, NULL, writer_main, NULL);
    if (rc != 0) {
        mailbox_fini(&writer.mailbox);
        loop_fini(&writer.loop);
        errno = rc;
        return false;
    }
    pthread_setname_np(writer.thread, "log");
    writer.running = true;
    return true;
}

void log_stop(void)
{
    if (!writer.running)
        return;
    post(LOG_ITEM_STOP, NULL, bytes_make(NULL, 0));
    pthread_join(writer.thread, NULL);
    writer.running = false;
    mailbox_drain(&writer.mailbox);
    mailbox_fini(&writer.mailbox);
    loop_fini(&writer.loop);
    buffer_fini(&writer.notes.waiting);
}

void log_set_level(enum log_level least)
{
    writer.least = (int)least;
}

bool log_wants(enum log_level level)
{
    return (int)level >= writer.least;
}

static void submit(struct log_file *file, struct bytes text)
{
    if (writer.running)
        post(LOG_ITEM_LINES, file, text);
    else
        write_all(file ? file : &writer.notes, text);
}

void log_note(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (!log_wants(level))
        return;
    char text[NOTE_MAX];
    int start = snprintf(text, sizeof text, "%s: ", names[level]);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text + start, sizeof text - (size_t)start - 1, format, args);
    va_end(args);
    CHECK(len >= 0);
    size_t end = strlen(text);
    for (size_t i = 0; i < end; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            text[i] = '?';
    text[end] = '\n';
    submit(NULL, bytes_make(text, end + 1));
}

/* A run that was killed in mid-write left half a line, which must not spoil the next one. */
static bool ends_within_a_line(const char *path, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    int reader = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (reader < 0)
        return false;
    char last;
    bool is_torn = pread(reader, &last, 1, st.st_size - 1) == 1 && last != '\n';
    close(reader);
    return is_torn;
}

struct log_file *log_file_open(const char *path)
{
    int fd = strcmp(path, "-") == 0
                 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0)
        return NULL;
    struct log_file *file = mem_zalloc(1, sizeof *file);
    file->fd = fd;
    file->path = mem_strdup(path);
    file->is_torn = ends_within_a_line(path, fd);
    buffer_init(&file->waiting, FILE_BUFFER_MAX);
    return file;
}

void log_file_close(struct log_file *file)
{
    if (!file)
        return;
    CHECK(!writer.running);
    buffer_fini(&file->waiting);
    close(file->fd);
    free(file->path);
    free(file);
}

void log_file_write(struct log_file *file, struct bytes lines)
{
    submit(file, lines);
}
