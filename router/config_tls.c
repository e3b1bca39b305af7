/* The meaning of tls sections. It reads no file: tls/context.c does, at the start. */
#include "router/config_tls.h"

#include "base/check.h"
#include "base/memory.h"
#include "queue/address.h"

#include <openssl/ssl.h>

enum { NAMES_MAX = 64 };

void config_tls_settle(struct tls_settings *settings)
{
    if ((unsigned)settings->level == TLS_SETTING_WRAPPER) {
        settings->level = TLS_LEVEL_ENCRYPT;
        settings->wrapper = true;
    }
}

void config_tls_split_names(struct tls_settings *settings, char ***out_items)
{
    char **items = mem_zalloc(NAMES_MAX + 1, sizeof *items);
    const char *text = settings->match;
    size_t num = 0;
    while (num < NAMES_MAX && *(text += strspn(text, " "))) {
        size_t len = strcspn(text, " ");
        items[num] = address_domain_to_ascii(bytes_make(text, len));
        CHECK(items[num]); /* checked when it was stored */
        num++;
        text += len;
    }
    settings->names = (struct tls_names){(const char *const *)items, num};
    *out_items = items;
}

void config_tls_free_names(char **items)
{
    for (size_t i = 0; items && items[i]; i++)
        free(items[i]);
    free(items);
}

bool config_tls_same_identity(const struct tls_settings *a, const struct tls_settings *b)
{
    return strcmp(a->ca_file, b->ca_file) == 0 &&
           strcmp(a->system_ca_file, b->system_ca_file) == 0 &&
           strcmp(a->cert_file, b->cert_file) == 0 && strcmp(a->key_file, b->key_file) == 0 &&
           strcmp(a->groups, b->groups) == 0 && strcmp(a->ciphers, b->ciphers) == 0 &&
           a->minimum_version == b->minimum_version && a->maximum_version == b->maximum_version;
}

char *config_sts_file(const struct config *config)
{
    const char *file = config->tls.sts.file;
    if (strcmp(file, "none") == 0)
        return mem_strdup("");
    return *file ? mem_strdup(file) : mem_printf("%s/mta-sts", config->spool);
}

bool config_sts_options(const struct config *config, struct sts_service_options *out,
                        struct tls_context **out_context, char why[TLS_WHY_MAX])
{
    const struct tls_context_options anchors = {.ca_file = config->tls.all.ca_file,
                                                .system_ca_file = config->tls.all.system_ca_file};
    *out_context = tls_context_new(&anchors, why);
    *out = (struct sts_service_options){
        .context = *out_context,
        .port = config->tls.sts.port,
        .allow_local = config->dns.allow_local,
        .ipv4 = config->dns.ipv4,
        .ipv6 = config->dns.ipv6,
        .timeout_ms = config->tls.sts.timeout_ms,
        .fetches = config->tls.sts.fetches,
        .cache = {.entries = config->tls.sts.entries, .retry_s = config->tls.sts.retry_ms / 1000},
        .file = "",
    };
    return *out_context != NULL;
}

static bool same_session(const struct tls_settings *a, const struct tls_settings *b)
{
    return a->session.enabled == b->session.enabled && a->session.scope == b->session.scope &&
           a->session.limits.tickets == b->session.limits.tickets &&
           a->session.limits.timeout_ms == b->session.limits.timeout_ms;
}

bool config_tls_equal(const struct tls_settings *a, const struct tls_settings *b)
{
    return a->level == b->level && a->wrapper == b->wrapper && a->on_failure == b->on_failure &&
           strcmp(a->match, b->match) == 0 && same_session(a, b) && config_tls_same_identity(a, b);
}
