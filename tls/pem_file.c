/* Reads PEM files. What a certificate or key in one is good for is the caller's to know. */
#include "tls/pem_file.h"

#include "base/check.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>

static const char *check_mode(FILE *file)
{
    struct stat status;
    if (fstat(fileno(file), &status) != 0)
        return strerror(errno);
    return status.st_mode & S_IRWXO ? "others than owner and group may use it (chmod o= it)" : NULL;
}

static const char *read_all(FILE *file, struct buffer *out)
{
    enum { PIECE = 64 * 1024 };
    for (size_t len = 1; len > 0;) {
        uint8_t *to = buffer_reserve(out, PIECE);
        if (!to)
            return "larger than 16 MiB";
        len = fread(to, 1, PIECE, file);
        out->len += len;
        if (ferror(file))
            return strerror(errno);
    }
    return NULL;
}

bool pem_file_read(const char *path, bool is_secret, struct buffer *out, char why[TLS_WHY_MAX])
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(why, TLS_WHY_MAX, "%s: %s", path, strerror(errno));
        return false;
    }
    const char *wrong = is_secret ? check_mode(file) : NULL;
    if (!wrong)
        wrong = read_all(file, out);
    fclose(file);
    if (wrong)
        snprintf(why, TLS_WHY_MAX, "%s: %s", path, wrong);
    return !wrong;
}

size_t pem_certificates(struct bytes pem, void (*on_certificate)(void *ctx, struct bytes der),
                        void *ctx)
{
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
    CHECK(bio); /* want of memory */
    size_t num = 0;
    char *name, *header;
    unsigned char *der;
    long der_len;
    while (PEM_read_bio(bio, &name, &header, &der, &der_len)) {
        if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_TRUSTED) == 0) {
            num++;
            on_certificate(ctx, bytes_make(der, (size_t)der_len));
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    ERR_clear_error(); /* PEM_read_bio() ends with one */
    BIO_free(bio);
    return num;
}
