/* Saving and loading of the header, with the checks of the file that is opened.
 * What is in the file is session_file.c's, how it is replaced kept_file.c's. */
#include "tls/session_store.h"

#include "base/check.h"
#include "base/memory.h"
#include "tls/kept_file.h"

#include <errno.h>
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define DRAFT_SUFFIX ".new"
enum { BATCH = 32, WRITE_AT = 256 * 1024 };

struct writer {
    struct kept_file_draft draft;
    struct buffer buffer; /* not yet written; the digest covers what was */
    SHA256_CTX sha;
    size_t written;
};

static void flush(struct writer *writer)
{
    SHA256_Update(&writer->sha, writer->buffer.at, writer->buffer.len);
    kept_file_draft_write(&writer->draft, buffer_bytes(&writer->buffer));
    writer->written += writer->buffer.len;
    OPENSSL_cleanse(writer->buffer.at, writer->buffer.len);
    buffer_clear(&writer->buffer);
}

static void write_records(struct writer *writer, struct session_cache *cache,
                          struct session_file_counts *out)
{
    struct session_cursor cursor = {0};
    struct session_saved *batch = mem_zalloc(BATCH, sizeof *batch);
    for (size_t num; (num = session_cache_copy(cache, &cursor, batch, BATCH)) > 0;) {
        for (size_t i = 0; i < num; i++) {
            bool fits = writer->written + SESSION_FILE_RECORD_MAX < SESSION_STORE_MAX;
            bool put = fits && session_file_put_record(&writer->buffer, &batch[i]);
            out->destinations += put;
            out->sessions += put ? batch[i].num : 0;
            out->left_out += put ? 0 : batch[i].num;
            for (unsigned k = 0; k < batch[i].num; k++)
                SSL_SESSION_free(batch[i].items[k].session);
            if (writer->buffer.len >= WRITE_AT)
                flush(writer);
        }
    }
    free(batch);
}

static void write_all(struct writer *writer, struct session_cache *cache, int64_t now_ms,
                      struct session_file_counts *out)
{
    static const uint8_t end[4];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    buffer_init(&writer->buffer, WRITE_AT + 2 * SESSION_FILE_RECORD_MAX);
    SHA256_Init(&writer->sha);
    session_file_put_head(&writer->buffer, now_ms);
    write_records(writer, cache, out);
    CHECK(buffer_append(&writer->buffer, end, sizeof end));
    flush(writer);
    SHA256_Final(digest, &writer->sha);
    CHECK(buffer_append(&writer->buffer, digest, sizeof digest));
    flush(writer);
    buffer_fini(&writer->buffer);
}

bool session_store_save(struct session_cache *cache, const char *path, int64_t now_ms,
                        struct session_file_counts *out, char why[SESSION_STORE_WHY_MAX])
{
    struct writer writer = {0};
    *out = (struct session_file_counts){0};
    kept_file_draft_begin(&writer.draft, path, DRAFT_SUFFIX);
    if (writer.draft.error == 0)
        write_all(&writer, cache, now_ms, out);
    int result = kept_file_draft_end(&writer.draft, false);
    if (result != 0)
        snprintf(why, SESSION_STORE_WHY_MAX, "%s" DRAFT_SUFFIX ": %s", path, strerror(-result));
    return result == 0;
}

static bool refuse(const char *path, const char *problem, char why[SESSION_STORE_WHY_MAX])
{
    snprintf(why, SESSION_STORE_WHY_MAX, "%s: %s", path, problem);
    return false;
}

static bool may_be_read(const struct stat *status, const char *path,
                        char why[SESSION_STORE_WHY_MAX])
{
    if (!S_ISREG(status->st_mode))
        return refuse(path, "is no regular file", why);
    if (status->st_uid != geteuid())
        return refuse(path, "belongs to another user", why);
    if (status->st_mode & (S_IRWXG | S_IRWXO))
        return refuse(path, "others than its owner have rights to it, expected mode 0600", why);
    if ((uint64_t)status->st_size > SESSION_STORE_MAX)
        return refuse(path, "is too large", why);
    return true;
}

/* A mapping of its own, which goes back to the system as a whole, and never into a core dump. NULL
 * with errno set. */
static uint8_t *read_whole(int fd, size_t len)
{
    uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    (void)madvise(at, len, MADV_DONTDUMP);
    for (size_t num = 0; num < len;) {
        ssize_t n = read(fd, at + num, len - num);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int error = n < 0 ? errno : EIO;
            munmap(at, len);
            errno = error;
            return NULL;
        }
        num += (size_t)n;
    }
    return at;
}

static bool is_good(struct bytes file, const char *path, struct bytes *out_records,
                    char why[SESSION_STORE_WHY_MAX])
{
    switch (session_file_open(file, out_records)) {
    case SESSION_FILE_OTHER_VERSION:
        return refuse(path, "was written by another version", why);
    case SESSION_FILE_CORRUPT:
        return refuse(path, "is damaged, or no file of TLS sessions", why);
    case SESSION_FILE_GOOD:
        break;
    }
    return true;
}

/* The content of an open file, in a mapping of the caller's; len 0: refused. */
static struct bytes read_checked(int fd, const struct stat *status, const char *path,
                                 char why[SESSION_STORE_WHY_MAX])
{
    if (!may_be_read(status, path, why))
        return bytes_make(NULL, 0);
    size_t len = (size_t)status->st_size;
    uint8_t *at = len > 0 ? read_whole(fd, len) : NULL;
    if (!at)
        refuse(path, len > 0 ? strerror(errno) : "is empty", why);
    return bytes_make(at, at ? len : 0);
}

bool session_store_load(struct session_cache *cache, SSL_CTX *ssl_ctx, const char *path,
                        int64_t now_ms, struct session_file_counts *out,
                        char why[SESSION_STORE_WHY_MAX])
{
    struct bytes records;
    struct stat status;
    *out = (struct session_file_counts){0};
    why[0] = 0;
    int fd = kept_file_open(path, &status);
    if (fd < 0)
        return fd == -ENOENT ? false : refuse(path, strerror(-fd), why);
    struct bytes file = read_checked(fd, &status, path, why);
    bool ok = file.len > 0 && is_good(file, path, &records, why);
    if (ok)
        session_file_restore(cache, ssl_ctx, records, now_ms, out);
    if (file.len > 0)
        munmap((void *)(uintptr_t)file.at, file.len);
    close(fd);
    return ok;
}
