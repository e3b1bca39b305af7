/* What a context accepts, and what its digest tells apart. */
#include "tests/support/certificates.h"
#include "tls/context.h"

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/stat.h>
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
    struct tls_context *context = tls_context_new(
        &(struct tls_context_options){
            .system_ca_file = "none", .ca_file = ca_file, .groups = groups},
        why);
    assert_string_equal(why, "");
    assert_non_null(context);
    return context;
}

static void assert_refused(const char *ca_file, const char *groups, const char *because)
{
    char why[TLS_WHY_MAX] = "";
    struct tls_context_options options = {
        .system_ca_file = "none", .ca_file = ca_file, .groups = groups};
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

/* Of an identity's certificate, with a key behind it when asked for. */
static void write_pem(const char *path, const char *comment, const struct identity *identity,
                      const EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(comment, file) >= 0);
    assert_int_equal(PEM_write_X509(file, identity->certificate), 1);
    if (key)
        assert_int_equal(
            PEM_write_PrivateKey(file, (EVP_PKEY *)(uintptr_t)key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
}

static struct identity make_identity(const char *name)
{
    return identity_make(&(struct identity_options){name, NULL, true, 0, 4000000000}, NULL);
}

static void make_path(char *path)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void the_digest_follows_the_certificates_not_the_comments(void **state)
{
    (void)state;
    char path[] = "/tmp/sluice-context-XXXXXX";
    struct identity one = make_identity("one"), two = make_identity("two");
    make_path(path);
    write_pem(path, "", &one, NULL);
    struct tls_context *a = make(path, NULL);
    write_pem(path, "# a comment\n", &one, NULL);
    struct tls_context *b = make(path, NULL);
    write_pem(path, "", &two, NULL);
    struct tls_context *c = make(path, NULL);
    struct tls_context *none = make(NULL, NULL);
    assert_memory_equal(a->settings_digest, b->settings_digest, sizeof a->settings_digest);
    assert_memory_not_equal(a->settings_digest, c->settings_digest, sizeof a->settings_digest);
    assert_memory_not_equal(a->settings_digest, none->settings_digest, sizeof a->settings_digest);
    assert_non_null(a->trust.store);
    assert_null(none->trust.store);
    write_file(path, "no certificate\n");
    assert_refused(path, NULL, "no certificate");
    write_file(path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_refused(path, NULL, "no certificate");
    unlink(path);
    assert_refused(path, NULL, "No such file");
    assert_refused("/", NULL, "/: ");
    tls_context_free(a);
    tls_context_free(b);
    tls_context_free(c);
    tls_context_free(none);
    identity_free(&one);
    identity_free(&two);
}

static void refuse_client(const char *cert_file, const char *key_file, const char *because)
{
    char why[TLS_WHY_MAX] = "";
    struct tls_context_options options = {
        .system_ca_file = "none", .cert_file = cert_file, .key_file = key_file};
    assert_null(tls_context_new(&options, why));
    if (!strstr(why, because))
        fail_msg("\"%s\" does not say \"%s\"", why, because);
}

static void a_client_certificate_needs_its_own_key_kept_secret(void **state)
{
    (void)state;
    char path[] = "/tmp/sluice-context-XXXXXX", why[TLS_WHY_MAX] = "";
    struct identity one = make_identity("one"), two = make_identity("two");
    make_path(path);
    struct tls_context_options options = {.system_ca_file = "none", .cert_file = path};
    write_pem(path, "", &one, one.key);
    struct tls_context *with = tls_context_new(&options, why);
    struct tls_context *without = make(NULL, NULL);
    assert_non_null(with);
    assert_memory_not_equal(with->settings_digest, without->settings_digest,
                            sizeof with->settings_digest);
    assert_int_equal(chmod(path, 0644), 0);
    refuse_client(path, NULL, "others");
    assert_int_equal(chmod(path, 0640), 0);
    write_pem(path, "", &one, two.key);
    refuse_client(path, NULL, "does not belong");
    write_pem(path, "", &one, NULL);
    refuse_client(path, NULL, "no private key");
    refuse_client(path, "/no/such/key", "No such file");
    unlink(path);
    tls_context_free(with);
    tls_context_free(without);
    identity_free(&one);
    identity_free(&two);
}

static void impossible_protocol_settings_are_refused(void **state)
{
    (void)state;
    char why[TLS_WHY_MAX] = "";
    assert_null(tls_context_new(&(struct tls_context_options){.system_ca_file = "none",
                                                              .min_version = TLS1_3_VERSION,
                                                              .max_version = TLS1_2_VERSION},
                                why));
    assert_non_null(strstr(why, "version"));
    assert_null(tls_context_new(
        &(struct tls_context_options){.system_ca_file = "none", .ciphers = "NO-SUCH"}, why));
    assert_non_null(strstr(why, "NO-SUCH"));
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
        cmocka_unit_test(a_client_certificate_needs_its_own_key_kept_secret),
        cmocka_unit_test(impossible_protocol_settings_are_refused),
        cmocka_unit_test(unknown_groups_are_refused_by_name),
        cmocka_unit_test(the_library_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
