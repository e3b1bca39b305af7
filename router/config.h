/* The configuration: one file in libConfuse's syntax, every option with a default, so that an empty
 * file runs.
 *
 * Immutable after config_load(); read by any thread. docs/configuration.md lists each option. */
#ifndef SLUICE_ROUTER_CONFIG_H
#define SLUICE_ROUTER_CONFIG_H

#include "dns/resolver.h"
#include "queue/content.h"
#include "queue/retry.h"
#include "router/auth_settings.h"
#include "tls/context.h"
#include "tls/sts_service.h"

enum { CONFIG_WHY_MAX = 400 };

/* level = "wrapper" in the file, until the sections are resolved. */
enum { TLS_SETTING_WRAPPER = TLS_LEVEL_DANE_ONLY + 1 };
enum tls_version_setting { TLS_SETTING_1_0, TLS_SETTING_1_1, TLS_SETTING_1_2, TLS_SETTING_1_3 };

/* The tls section, of all mail and of a destination. Texts belong to the configuration; "" none. */
struct tls_settings {
    enum tls_level level; /* in the file also "wrapper": encrypt with wrapper = true */
    bool wrapper;         /* TLS from the first octet */
    enum tls_on_failure on_failure;
    char *match;            /* the names that `verify` accepts, as written */
    struct tls_names names; /* the same, each by itself */
    char *ca_file, *system_ca_file, *cert_file, *key_file, *groups, *ciphers;
    enum tls_version_setting minimum_version, maximum_version;
    unsigned identity; /* index of its config_tls_identity() */
    struct {
        bool enabled;
        struct session_limits limits;
        enum session_scope scope;
    } session; /* the session_cache section */
};
enum durability { DURABILITY_NONE, DURABILITY_GROUP, DURABILITY_STRICT };

/* What holds for the mail of a recipient domain: global values overlaid by the matching
 * `destination` sections
 * ("*" first, then "*.parent" from the longest suffix's shortest to its longest, then the exact
 * name). */
struct destination_settings {
    unsigned id;                     /* equal ids: equal settings; part of a site's key */
    const char *pattern;             /* the most specific section that matched, "" for none */
    const struct next_hop *next_hop; /* NULL: by MX */
    uint16_t port; /* where hosts are spoken to that next_hop names no port for; never 0 */
    struct tls_settings tls;
    unsigned connections;         /* most at once per site */
    unsigned connections_initial; /* the window starts there */
    unsigned max_deliveries;      /* per connection */
    unsigned max_recipients;      /* per transaction */
    int64_t idle_ms;              /* how long a connection waits for more mail */
    int64_t connection_lifetime_ms;
    bool transcript; /* log.transcript */
    struct auth_settings auth;
};

struct config {
    char *hostname; /* ours: EHLO, Received, DSN */
    char *spool;
    unsigned workers; /* resolved: at least 1 */
    bool core_dumps;
    struct {
        int64_t settle_ms;
        int64_t scan_interval_ms;
        uint64_t max_message_size;
        uint64_t max_header_size;
        size_t max_recipients;
    } pickup;
    struct {
        enum durability durability;
        int64_t commit_interval_ms;
        int64_t commit_lag_ms;       /* group: outcomes that are older make deliveries wait */
        size_t active_messages;      /* loaded at once */
        uint64_t content_memory;     /* octets of content held at once */
        uint64_t content_inline_max; /* larger files are streamed */
        size_t site_share;           /* deliveries of one site in memory at once */
        bool hold_in_doubt;          /* in_doubt = hold */
        int64_t shutdown_grace_ms;
        enum content_long_lines long_lines;
        size_t dsn_original_max; /* octets of the original in a DSN */
    } queue;
    struct {
        char **servers; /* owned */
        size_t num_servers;
        bool allow_local, trust_ad, ipv4, ipv6;
        int64_t min_ttl_ms, max_ttl_ms, max_negative_ttl_ms, stale_ms, timeout_ms;
        unsigned tries, max_in_flight;
        size_t cache_entries;
    } dns;
    struct {
        uint16_t port;
        unsigned max_mx;
        int64_t connect_timeout_ms, banner_timeout_ms, ehlo_timeout_ms, starttls_timeout_ms,
            auth_timeout_ms, mail_timeout_ms, rcpt_timeout_ms, data_timeout_ms, content_timeout_ms,
            final_timeout_ms;
        uint64_t content_min_rate; /* octets a second */
        uint64_t one_flight_max;   /* octets of content */
        int64_t race_delay_ms;     /* before the next address is tried beside the first */
    } smtp;
    struct {
        struct tls_settings all;    /* what holds where no destination says otherwise */
        int64_t broken_lifetime_ms; /* memory of hosts whose TLS is broken */
        struct session_cache_options cache;
        char *cache_file; /* "" none */
        int64_t cache_save_interval_ms;
        struct {
            bool enabled;
            char *file; /* "" in the spool folder, "none" nowhere */
            uint16_t port;
            int64_t timeout_ms, retry_ms;
            unsigned fetches;
            size_t entries;
        } sts;
        struct {
            int64_t keep_ms; /* 0: nothing is counted for TLS reports */
            char *organization;
            char *contact, *from; /* addresses; each stands in for the other; "" neither is set */
            bool send;
            char *via; /* domain whose next hop signs what is mailed, as A-labels; "" */
            int64_t delay_ms, retry_ms;
        } report;
    } tls;
    struct retry_policy retry;
    struct {
        char *file; /* delivery log; "" none, "-" stdout */
        bool transcript;
        char *transcript_file; /* "" : beside the delivery log, see docs */
        enum log_level_setting {
            LOG_SETTING_DEBUG,
            LOG_SETTING_INFO,
            LOG_SETTING_WARNING,
            LOG_SETTING_ERROR
        } level;
    } log;
    struct config_destinations *destinations; /* owned, private to config.c */
};

#define CONFIG_DEFAULT_PATH "/etc/sluice/sluice.conf"
/* path NULL: the default file /etc/sluice/sluice.conf if it exists, else all defaults. NULL with
 * "file:line: message, what was expected" in why; nothing is printed. */
struct config *config_load(const char *path, char why[CONFIG_WHY_MAX])
    __attribute__((warn_unused_result));
/* The same from memory; name stands for the file in messages. For tests and fuzzing. */
struct config *config_parse(const char *text, const char *name, char why[CONFIG_WHY_MAX])
    __attribute__((warn_unused_result));
void config_free(struct config *config);
/* Never NULL; domain in A-label lower case, or "[literal]". Borrowed from config. Any thread.
 * O(labels). */
const struct destination_settings *config_for_domain(const struct config *config,
                                                     const char *domain);
/* Borrows from config. */
struct resolver_options config_resolver_options(const struct config *config);
/* Destinations with equal protocol settings, anchors and client certificate share an identity; 0 is
 * that of the tls section. What is borrowed lives as long as config. */
unsigned config_num_tls_identities(const struct config *config);
void config_tls_identity(const struct config *config, unsigned identity,
                         struct tls_context_options *out);
/* Where MTA-STS policies are kept between runs, "" nowhere; the caller's to free. */
char *config_sts_file(const struct config *config);
/* All but resolver and file, and with a context of its own for policy hosts, which is the caller's.
 * They get no client certificate of ours, and the protocol's defaults. False with a line in why. */
bool config_sts_options(const struct config *config, struct sts_service_options *out,
                        struct tls_context **out_context, char why[TLS_WHY_MAX])
    __attribute__((warn_unused_result));
/* Whether any destination's settings have that id. */
bool config_has_settings(const struct config *config, unsigned id);
/* Whether the sessions of any destination are to be written down. */
bool config_wants_transcripts(const struct config *config);
static inline bool config_syncs(const struct config *config)
{
    return config->queue.durability != DURABILITY_NONE;
}
/* The effective configuration, in a form that config_parse() reads back to the same. */
void config_print(const struct config *config, struct buffer *out);

#endif
