/* What a context accepts, and what its digest tells apart. */
#include "tls/context.h"

#include <stdio.h>
#include <unistd.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static struct tls_context *make(const char *ca_file, const char *groups)
{
    char why[TLS_WHY_MAX] = "";
    struct tls_context *context =
        tls_context_new(&(struct tls_context_options){.ca_file = ca_file, .groups = groups}, why);
    assert_string_equal(why, "");
    assert_non_null(context);
    return context;
}

static void assert_refused(const char *ca_file, const char *groups, const char *because)
{
    char why[TLS_WHY_MAX] = "";
    struct tls_context_options options = {.ca_file = ca_file, .groups = groups};
    assert_null(tls_context_new(&options, why));
    assert_non_null(strstr(why, because));
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The digest is of the octets in the PEM block; nobody parses them at these levels. */
#define PEM(base64) "-----BEGIN CERTIFICATE-----\n" base64 "\n-----END CERTIFICATE-----\n"

static void equal_settings_have_equal_digests(void **state)
{
    (void)state;
    struct tls_context *a = make(NULL, NULL), *b = make("", "X25519:P-256"),
                       *c = make(NULL, "P-256");
    assert_memory_equal(a->settings_digest, b->settings_digest, sizeof a->settings_digest);
    assert_memory_not_equal(a->settings_digest, c->settings_digest, sizeof a->settings_digest);
    tls_context_free(a);
    tls_context_free(b);
    tls_context_free(c);
}

static void the_digest_follows_the_certificates_not_the_comments(void **state)
{
    (void)state;
    char path[] = "/tmp/sluice-context-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    write_file(path, PEM("AAAA"));
    struct tls_context *a = make(path, NULL);
    write_file(path, "# a comment\n" PEM("AAAA"));
    struct tls_context *b = make(path, NULL);
    write_file(path, PEM("AAAB"));
    struct tls_context *c = make(path, NULL);
    struct tls_context *none = make(NULL, NULL);
    assert_memory_equal(a->settings_digest, b->settings_digest, sizeof a->settings_digest);
    assert_memory_not_equal(a->settings_digest, c->settings_digest, sizeof a->settings_digest);
    assert_memory_not_equal(a->settings_digest, none->settings_digest, sizeof a->settings_digest);
    write_file(path, "no certificate\n");
    assert_refused(path, NULL, "no certificate");
    unlink(path);
    assert_refused(path, NULL, "No such file");
    assert_refused("/", NULL, "/: ");
    tls_context_free(a);
    tls_context_free(b);
    tls_context_free(c);
    tls_context_free(none);
}

static void unknown_groups_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused(NULL, "X25519:P-257", "P-257");
}

static void the_library_has_a_name(void **state)
{
    (void)state;
    assert_non_null(strstr(tls_library_name(), "BoringSSL (API "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_settings_have_equal_digests),
        cmocka_unit_test(the_digest_follows_the_certificates_not_the_comments),
        cmocka_unit_test(unknown_groups_are_refused_by_name),
        cmocka_unit_test(the_library_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
