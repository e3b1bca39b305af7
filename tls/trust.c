/* Loads trust anchors. It verifies nothing: verify.c does. */
#include "tls/trust.h"

#include "base/check.h"
#include "tls/pem_file.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Debian, Fedora, SUSE, Alpine and the BSDs. */
static const char *const system_files[] = {"/etc/ssl/certs/ca-certificates.crt",
                                           "/etc/pki/tls/certs/ca-bundle.crt",
                                           "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};

struct load {
    X509_STORE *store;
    SHA256_CTX *sha;
    size_t num_parsed;
};

static void add(void *ctx, struct bytes der)
{
    struct load *load = ctx;
    const uint8_t *at = der.at;
    X509 *certificate = d2i_X509(NULL, &at, (long)der.len);
    SHA256_Update(load->sha, der.at, der.len);
    if (!certificate)
        return;
    CHECK(X509_STORE_add_cert(load->store, certificate)); /* twice is no error */
    X509_free(certificate);
    load->num_parsed++;
}

static bool load_file(struct load *load, const char *path, char why[TLS_WHY_MAX])
{
    struct buffer pem;
    size_t before = load->num_parsed;
    buffer_init(&pem, TLS_PEM_FILE_MAX);
    bool ok = pem_file_read(path, false, &pem, why);
    if (ok) {
        pem_certificates(buffer_bytes(&pem), add, load);
        ok = load->num_parsed > before;
        if (!ok)
            snprintf(why, TLS_WHY_MAX, "%s: no certificate in PEM form in it", path);
    }
    buffer_fini(&pem);
    ERR_clear_error();
    return ok;
}

static bool load_system(struct load *load, const char *path, char why[TLS_WHY_MAX])
{
    if (strcmp(path, "none") == 0)
        return true;
    if (*path)
        return load_file(load, path, why);
    for (size_t i = 0; i < sizeof system_files / sizeof *system_files; i++)
        if (access(system_files[i], R_OK) == 0)
            return load_file(load, system_files[i], why);
    return true;
}

bool tls_trust_init(struct tls_trust *trust, const char *ca_file, const char *system_ca_file,
                    char why[TLS_WHY_MAX])
{
    SHA256_CTX sha;
    struct load load = {.store = X509_STORE_new(), .sha = &sha};
    CHECK(load.store); /* want of memory */
    SHA256_Init(&sha);
    bool ok =
        (!*ca_file || load_file(&load, ca_file, why)) && load_system(&load, system_ca_file, why);
    SHA256_Final(trust->digest, &sha);
    if (!ok || load.num_parsed == 0) {
        X509_STORE_free(load.store);
        load.store = NULL;
    }
    trust->store = load.store;
    return ok;
}

void tls_trust_fini(struct tls_trust *trust)
{
    X509_STORE_free(trust->store);
    trust->store = NULL;
}
