/* Trust anchors: the system's certificates and those of a file of one's own. Made at start-up (it
 * reads files), then immutable: any thread. */
#ifndef SLUICE_TLS_TRUST_H
#define SLUICE_TLS_TRUST_H

#include "tls/verify.h"

#include <openssl/x509.h>

struct tls_trust {
    X509_STORE *store;             /* one reference, owned; NULL: no anchors */
    uint8_t digest[TLS_PROOF_LEN]; /* of the certificates, in order: part of session keys */
};

/* ca_file: "" none. system_ca_file: "" where systems keep theirs (a system without is no error),
 * "none" none, else that file. A file that is named must be readable and hold at least one
 * certificate that can be parsed. false with a line in why; then there is nothing to free. */
bool tls_trust_init(struct tls_trust *trust, const char *ca_file, const char *system_ca_file,
                    char why[TLS_WHY_MAX]) __attribute__((warn_unused_result));
void tls_trust_fini(struct tls_trust *trust);

#endif
