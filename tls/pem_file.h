/* Files in PEM form: read whole, within a bound, block by block. At start-up only: it blocks. */
#ifndef SLUICE_TLS_PEM_FILE_H
#define SLUICE_TLS_PEM_FILE_H

#include "base/bytes.h"
#include "tls/verify.h"

enum { TLS_PEM_FILE_MAX = 16 * 1024 * 1024 };

/* Appends the file's octets. false with "PATH: reason" in why. is_secret: refused when others than
 * owner and group may read it. */
bool pem_file_read(const char *path, bool is_secret, struct buffer *out, char why[TLS_WHY_MAX])
    __attribute__((warn_unused_result));
/* Calls on_certificate for each certificate, as DER borrowed for the call. Returns how many. */
size_t pem_certificates(struct bytes pem, void (*on_certificate)(void *ctx, struct bytes der),
                        void *ctx);

#endif
