/* The session cache on disk: what comes back, what is refused, and why. */
#include "tests/support/tls_link.h"
#include "tls/session_store.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char folder[64], path[128];

static int make_folder(void **state)
{
    strcpy(folder, "/tmp/session_file_test.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/sessions", folder);
    return link_set_up(state);
}

static int remove_folder(void **state)
{
    unlink(path);
    rmdir(folder);
    return link_tear_down(state);
}

static int64_t now_ms(void)
{
    return time(NULL) * INT64_C(1000);
}

static struct session_file_counts save(struct session_cache *cache)
{
    struct session_file_counts counts;
    char why[SESSION_STORE_WHY_MAX] = "";
    bool ok = session_store_save(cache, path, now_ms(), &counts, why);
    assert_string_equal(why, "");
    assert_true(ok);
    return counts;
}

static struct session_file_counts load(struct session_cache *cache, int64_t at_ms)
{
    struct session_file_counts counts;
    char why[SESSION_STORE_WHY_MAX];
    bool ok = session_store_load(cache, context->ssl_ctx, path, at_ms, &counts, why);
    assert_string_equal(why, "");
    assert_true(ok);
    return counts;
}

static void expect_refused(const char *words)
{
    struct session_cache *cache = new_cache();
    struct session_file_counts counts;
    char why[SESSION_STORE_WHY_MAX];
    assert_false(session_store_load(cache, context->ssl_ctx, path, now_ms(), &counts, why));
    if (*words)
        assert_non_null(strstr(why, words));
    else
        assert_string_equal(why, "");
    assert_int_equal(counters_of(cache).entries, 0);
    session_cache_free(cache);
}

static void sessions_of_another_process_are_resumed(void **state)
{
    (void)state;
    static const uint16_t versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        SSL_CTX *server = tls_server_new(&(struct tls_server_options){.max_version = versions[i]});
        struct session_cache *before = new_cache();
        assert_false(connect_once(server, before, true, 65536).resumed);
        struct session_file_counts saved = save(before);
        assert_int_equal(saved.destinations, 1);
        assert_int_equal(saved.sessions, counters_of(before).sessions);
        session_cache_free(before);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);

        struct session_cache *after = new_cache();
        struct session_file_counts counts = load(after, now_ms());
        assert_int_equal(counts.sessions, saved.sessions);
        assert_int_equal(counts.left_out, 0);
        assert_int_equal(counters_of(after).sessions, saved.sessions);
        assert_true(connect_once(server, after, true, 65536).resumed);
        session_cache_free(after);
        SSL_CTX_free(server);
    }
}

static void the_expired_are_left_out(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct session_cache *before = new_cache();
    (void)connect_once(server, before, true, 65536);
    struct session_file_counts saved = save(before);
    session_cache_free(before);
    struct session_cache *after = new_cache();
    struct session_file_counts counts = load(after, now_ms() + INT64_C(30) * 86400 * 1000);
    assert_int_equal(counts.left_out, saved.sessions);
    assert_int_equal(counters_of(after).entries, 0);
    /* From the future: the clock was set back. */
    counts = load(after, now_ms() - 3600 * 1000);
    assert_int_equal(counts.left_out, saved.sessions);
    session_cache_free(after);
    SSL_CTX_free(server);
}

static SSL_SESSION *a_session(SSL_CTX *server)
{
    struct session_cache *cache = new_cache();
    struct session_offer offer;
    (void)connect_once(server, cache, true, 65536);
    SSL_SESSION *session = session_cache_take(cache, &destination, now_ms(), &offer);
    session_cache_free(cache);
    return session;
}

/* More destinations than a batch, a stripe or a smaller cache takes. */
static void all_come_back_or_the_most_recently_used(void **state)
{
    (void)state;
    enum { NUM = 500, FEWER = 50 };
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    SSL_SESSION *session = a_session(server);
    struct session_cache *before =
        session_cache_new(&(struct session_cache_options){.entries = 2 * NUM, .stripes = 1});
    int64_t begin_ms = now_ms();
    struct session_destination to = destination;
    for (unsigned i = 0; i < NUM; i++) {
        memcpy(to.key.digest + 1, &i, sizeof i);
        SSL_SESSION_up_ref(session);
        session_cache_put(before, &to, session, SESSION_UNVERIFIED, begin_ms + i);
    }
    assert_int_equal(save(before).destinations, NUM);
    struct session_cache *after =
        session_cache_new(&(struct session_cache_options){.entries = 2 * NUM, .stripes = 1});
    assert_int_equal(load(after, begin_ms + NUM).destinations, NUM);
    assert_int_equal(counters_of(after).entries, NUM);
    struct session_cache *small =
        session_cache_new(&(struct session_cache_options){.entries = FEWER, .stripes = 1});
    (void)load(small, begin_ms + NUM);
    for (unsigned i = 0; i < NUM; i++) {
        struct session_offer offer;
        memcpy(to.key.digest + 1, &i, sizeof i);
        SSL_SESSION *lent = session_cache_take(small, &to, begin_ms + NUM, &offer);
        assert_int_equal(lent != NULL, i >= NUM - FEWER);
        SSL_SESSION_free(lent);
    }
    session_cache_free(before);
    session_cache_free(after);
    session_cache_free(small);
    SSL_SESSION_free(session);
    SSL_CTX_free(server);
}

static struct bytes slurp(uint8_t *to, size_t cap)
{
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, to, cap);
    close(fd);
    assert_true(len > 0);
    return bytes_make(to, (size_t)len);
}

static void spill(struct bytes file)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CREAT, 0600);
    assert_int_equal(write(fd, file.at, file.len), file.len);
    close(fd);
}

/* Every octet changed, and every length cut short, is noticed. */
static void a_damaged_file_is_refused(void **state)
{
    (void)state;
    uint8_t content[32768], broken[32768];
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct session_cache *cache = new_cache();
    struct bytes records;
    (void)connect_once(server, cache, true, 65536);
    (void)save(cache);
    struct bytes file = slurp(content, sizeof content);
    assert_int_equal(session_file_open(file, &records), SESSION_FILE_GOOD);
    for (size_t i = 0; i < file.len; i++) {
        memcpy(broken, content, file.len);
        broken[i] ^= 1;
        assert_int_equal(session_file_open(bytes_make(broken, file.len), &records),
                         i >= 8 && i < 12 ? SESSION_FILE_OTHER_VERSION : SESSION_FILE_CORRUPT);
        assert_int_equal(session_file_open(bytes_make(content, i), &records), SESSION_FILE_CORRUPT);
    }
    spill(bytes_first(file, file.len - 1));
    expect_refused("is damaged");
    content[11]++;
    spill(file);
    expect_refused("another version");
    spill(bytes_make(content, 0));
    expect_refused("is empty");
    session_cache_free(cache);
    SSL_CTX_free(server);
}

static void only_a_file_of_our_own_that_nobody_else_may_read_is_read(void **state)
{
    (void)state;
    char elsewhere[160];
    struct session_cache *cache = new_cache();
    (void)save(cache);
    (void)load(cache, now_ms());
    assert_int_equal(chmod(path, 0640), 0);
    expect_refused("expected mode 0600");
    assert_int_equal(chmod(path, 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        expect_refused("another user");
    }
    snprintf(elsewhere, sizeof elsewhere, "%s.elsewhere", path);
    assert_int_equal(rename(path, elsewhere), 0);
    expect_refused("");
    assert_int_equal(symlink(elsewhere, path), 0);
    expect_refused("symbolic links");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused("no regular file");
    unlink(path);
    unlink(elsewhere);
    session_cache_free(cache);
}

static void a_save_that_fails_leaves_the_file_and_nothing_else(void **state)
{
    (void)state;
    char fresh[160], why[SESSION_STORE_WHY_MAX] = "";
    struct session_file_counts counts;
    struct session_cache *cache = new_cache();
    (void)save(cache);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    assert_int_equal(mkdir(fresh, 0700), 0);
    assert_false(session_store_save(cache, path, now_ms(), &counts, why));
    assert_non_null(strstr(why, fresh));
    rmdir(fresh);
    (void)load(cache, now_ms());
    /* Half a file that a crash left is in nobody's way, whatever its rights. */
    int fd = open(fresh, O_WRONLY | O_CREAT, 0666);
    close(fd);
    (void)save(cache);
    assert_int_equal(access(fresh, F_OK), -1);
    session_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_of_another_process_are_resumed),
        cmocka_unit_test(the_expired_are_left_out),
        cmocka_unit_test(all_come_back_or_the_most_recently_used),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(only_a_file_of_our_own_that_nobody_else_may_read_is_read),
        cmocka_unit_test(a_save_that_fails_leaves_the_file_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
