/* Loads the configuration: syntax check, libConfuse, then each value by its row of the table.
 * It takes no decision about mail: it only says what the operator wants. */
#include "router/config.h"

#include "base/check.h"
#include "base/memory.h"
#include "queue/address.h"
#include "router/config_destinations.h"
#include "router/config_hostname.h"
#include "router/config_report.h"
#include "router/config_syntax.h"

#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

enum { SECTION_OPTIONS_MAX = 32, SERVERS_MAX = 16 };

/* Ours among libConfuse's flags of an option, of which it uses the lowest fourteen. */
enum { FLAG_SEEN = 1 << 24 };

/* A value as it stands in the file: what libConfuse keeps for us. */
struct raw_value {
    unsigned line;
    char text[];
};

/* One load. libConfuse's callbacks carry no pointer of ours, so the load under way is found through
 * the thread. */
struct load {
    struct config *config; /* owned until returned */
    const char *name;      /* of the file, for messages */
    char *why;
    bool failed;
    unsigned lines[128]; /* per row of the table; 0: not set in the file */
};
static _Thread_local struct load *current_load;

static bool fail(struct load *load, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Only the first problem is told: the rest may follow from it. */
static bool fail(struct load *load, unsigned line, const char *format, ...)
{
    char text[CONFIG_WHY_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    if (!load->failed)
        snprintf(load->why, CONFIG_WHY_MAX, "%.100s:%u: %.290s", load->name, line, text);
    load->failed = true;
    return false;
}

static bool fail_value(struct load *load, const struct config_option *option, unsigned line,
                       const char *text, const char *expected)
{
    return fail(load, line, "%s%s%s = \"%.*s\" %s", option->section, *option->section ? "." : "",
                option->name, CONFIG_VALUE_SHOWN_MAX, text, expected);
}

static void on_confuse_error(cfg_t *cfg, const char *format, va_list args)
{
    char text[CONFIG_WHY_MAX];
    vsnprintf(text, sizeof text, format, args);
    bool unknown = strncmp(text, "no such option", strlen("no such option")) == 0;
    fail(current_load, (unsigned)cfg->line, "%.120s, expected %s", text,
         unknown ? "one that docs/configuration.md names"
                 : "NAME = VALUE or SECTION { ... }, each once");
}

static void raw_free(void *raw)
{
    free(raw);
}

static int on_raw_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    if ((opt->flags & FLAG_SEEN) && !(opt->flags & CFGF_LIST)) {
        cfg_error(cfg, "%s is set twice", opt->name);
        return -1;
    }
    opt->flags |= FLAG_SEEN;
    size_t len = strlen(value) + 1;
    struct raw_value *raw = mem_alloc(sizeof *raw + len);
    raw->line = (unsigned)cfg->line;
    memcpy(raw->text, value, len);
    *(void **)result = raw;
    return 0;
}

/* libConfuse's description of a section: its options, then the sections within it. Freed by the
 * caller; libConfuse makes its own copy. */
static cfg_opt_t *describe_section(const char *section)
{
    cfg_opt_t *opts = mem_zalloc(SECTION_OPTIONS_MAX, sizeof *opts);
    size_t num = 0;
    size_t prefix = strlen(section);
    const char *last_child = "";
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        bool inside = strncmp(option->section, section, prefix) == 0;
        const char *rest = inside ? option->section + prefix : "";
        CHECK(num + 1 < SECTION_OPTIONS_MAX);
        if (inside && *rest == 0) {
            opts[num++] = (cfg_opt_t){.name = option->name,
                                      .type = CFGT_PTR,
                                      .flags = CFGF_NODEFAULT |
                                               (option->type == OPTION_SERVERS ? CFGF_LIST : 0),
                                      .parsecb = on_raw_value,
                                      .freecb = raw_free};
            continue;
        }
        rest += prefix && *rest == '.';
        bool is_child = inside && (prefix == 0 || rest > option->section + prefix) &&
                        !strchr(rest, '.') && strcmp(option->section, last_child) != 0;
        if (!is_child)
            continue;
        bool titled = strcmp(option->section, "destination") == 0;
        last_child = option->section;
        opts[num++] = (cfg_opt_t){
            .name = rest,
            .type = CFGT_SEC,
            .flags = CFGF_NODEFAULT | (titled ? CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES : 0),
            .subopts = describe_section(option->section)};
    }
    return opts;
}

static void description_free(cfg_opt_t *opts)
{
    for (size_t i = 0; opts[i].name; i++)
        if (opts[i].subopts)
            description_free(opts[i].subopts);
    free(opts);
}

/* The section of that path below cfg; NULL when the file does not have it. */
static cfg_t *section_at(cfg_t *cfg, const char *path)
{
    while (cfg && *path) {
        size_t len = strcspn(path, ".");
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)len, path);
        cfg = cfg_size(cfg, name) ? cfg_getsec(cfg, name) : NULL;
        path += len + (path[len] == '.');
    }
    return cfg;
}

static const struct raw_value *raw_at(cfg_t *cfg, const struct config_option *option, unsigned i)
{
    return i < cfg_size(cfg, option->name) ? cfg_getnptr(cfg, option->name, i) : NULL;
}

static bool read_servers(struct load *load, const struct config_option *option, cfg_t *cfg)
{
    struct config *config = load->config;
    char expected[CONFIG_EXPECTED_MAX];
    const struct raw_value *raw;
    config->dns.servers = mem_zalloc(SERVERS_MAX, sizeof *config->dns.servers);
    for (unsigned i = 0; cfg && (raw = raw_at(cfg, option, i)); i++) {
        if (i == SERVERS_MAX)
            return fail(load, raw->line, "dns.servers has too many, expected at most 16");
        if (!config_option_store(option, raw->text, config, expected))
            return fail_value(load, option, raw->line, raw->text, expected);
        config->dns.servers[config->dns.num_servers++] = mem_strdup(raw->text);
    }
    return true;
}

static bool read_option(struct load *load, size_t row, cfg_t *root)
{
    const struct config_option *option = &config_options[row];
    cfg_t *cfg = section_at(root, option->section);
    if (option->type == OPTION_SERVERS)
        return read_servers(load, option, cfg);
    const struct raw_value *raw = cfg ? raw_at(cfg, option, 0) : NULL;
    const char *text = raw ? raw->text : option->fallback;
    char expected[CONFIG_EXPECTED_MAX];
    load->lines[row] = raw ? raw->line : 0;
    if (!config_option_store(option, text, load->config, expected))
        return fail_value(load, option, load->lines[row], text, expected);
    return true;
}

static bool read_destination(struct load *load, cfg_t *cfg, unsigned line)
{
    char expected[CONFIG_EXPECTED_MAX];
    struct config_destination *destination =
        config_destinations_add(load->config->destinations, cfg_title(cfg), expected);
    if (!destination)
        return fail(load, line, "destination \"%.*s\" %s", CONFIG_VALUE_SHOWN_MAX, cfg_title(cfg),
                    expected);
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        if (!config_option_is_destination(option))
            continue;
        const char *path = strchr(option->section, '.');
        cfg_t *section = section_at(cfg, path ? path + 1 : "");
        const struct raw_value *raw = section ? raw_at(section, option, 0) : NULL;
        if (raw && !config_destination_set(destination, option, raw->text, expected))
            return fail_value(load, option, raw->line, raw->text, expected);
    }
    return true;
}

static bool read_all(struct load *load, cfg_t *cfg, const struct config_syntax *syntax)
{
    CHECK(config_num_options <= sizeof load->lines / sizeof *load->lines);
    for (size_t i = 0; i < config_num_options; i++)
        if (!config_option_is_destination(&config_options[i]) && !read_option(load, i, cfg))
            return false;
    for (unsigned i = 0; i < cfg_size(cfg, "destination"); i++) {
        unsigned line = i < syntax->num_titles ? syntax->title_lines[i] : 0;
        if (!read_destination(load, cfg_getnsec(cfg, "destination", i), line))
            return false;
    }
    return true;
}

/* The line of an option by its full name, 0 when it has its default. */
static unsigned line_of(const struct load *load, const char *section, const char *name)
{
    for (size_t i = 0; i < config_num_options; i++)
        if (strcmp(config_options[i].section, section) == 0 &&
            strcmp(config_options[i].name, name) == 0)
            return load->lines[i];
    check_failed(__FILE__, __LINE__, "an option that is not in the table");
    return 0;
}

static unsigned later_line(const struct load *load, const char *section, const char *a,
                           const char *b)
{
    unsigned first = line_of(load, section, a);
    unsigned second = line_of(load, section, b);
    return first > second ? first : second;
}

/* What no single row can say. */
static bool check_together(struct load *load)
{
    const struct config *config = load->config;
    unsigned stripes = config->tls.cache.stripes;
    if (config->retry.minimum_ms > config->retry.maximum_ms)
        return fail(load, later_line(load, "retry", "minimum", "maximum"),
                    "retry.minimum is above retry.maximum, expected at most as much");
    if (config->dns.min_ttl_ms > config->dns.max_ttl_ms)
        return fail(load, later_line(load, "dns", "min_ttl", "max_ttl"),
                    "dns.min_ttl is above dns.max_ttl, expected at most as much");
    if (!config->dns.ipv4 && !config->dns.ipv6)
        return fail(load, later_line(load, "dns", "ipv4", "ipv6"),
                    "dns.ipv4 and dns.ipv6 are both false, expected at least one true");
    if (config->queue.content_inline_max > config->queue.content_memory)
        return fail(load, later_line(load, "queue", "content_inline_max", "content_memory"),
                    "queue.content_inline_max is above queue.content_memory, expected at most as "
                    "much");
    if (stripes & (stripes - 1))
        return fail(load, line_of(load, "tls.session_cache", "stripes"),
                    "tls.session_cache.stripes = %u is no power of two, expected 1, 2, 4 ... 1024",
                    stripes);
    return true;
}

static bool complete_hostname(struct load *load)
{
    struct config *config = load->config;
    char *ascii = *config->hostname ? address_domain_to_ascii(bytes_of(config->hostname))
                                    : mem_strdup(config_system_hostname());
    if (!ascii)
        return fail(load, line_of(load, "", "hostname"),
                    "hostname = \"%.*s\" is no domain name, expected one such as "
                    "\"mta1.example.com\"",
                    CONFIG_VALUE_SHOWN_MAX, config->hostname);
    free(config->hostname);
    config->hostname = ascii;
    return true;
}

static unsigned count_cores(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int num = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return num > 0 ? (unsigned)num : 1;
}

static bool resolve_destinations(struct load *load, const struct config_syntax *syntax)
{
    struct config_destinations *destinations = load->config->destinations;
    config_destinations_resolve(destinations, load->config);
    for (size_t i = 0; i < syntax->num_titles; i++) {
        const char *problem = config_destinations_problem(destinations, i);
        if (problem)
            return fail(load, syntax->title_lines[i], "destination %s", problem);
    }
    return true;
}

static bool settle_report(struct load *load)
{
    const char *option;
    const char *problem = config_report_settle(load->config, &option);
    return !problem ||
           fail(load, line_of(load, "tls.report", option), "tls.report.%s %s", option, problem);
}

static bool parse_into(struct load *load, struct bytes text)
{
    struct config_syntax syntax;
    bool ok = config_syntax_read(&syntax, text);
    if (!ok) {
        fail(load, syntax.error_line, "%s", syntax.why);
        config_syntax_fini(&syntax);
        return false;
    }
    cfg_opt_t *description = describe_section("");
    cfg_t *cfg = cfg_init(description, CFGF_NONE);
    CHECK(cfg);
    description_free(description);
    cfg_set_error_function(cfg, on_confuse_error);
    current_load = load;
    ok = cfg_parse_buf(cfg, (const char *)syntax.text.at) == CFG_SUCCESS;
    if (!ok)
        fail(load, (unsigned)cfg->line, "not understood, expected NAME = VALUE or SECTION { ... }");
    ok = ok && read_all(load, cfg, &syntax) && check_together(load) && complete_hostname(load) &&
         resolve_destinations(load, &syntax) && settle_report(load);
    cfg_free(cfg);
    current_load = NULL;
    config_syntax_fini(&syntax);
    if (ok && load->config->workers == 0)
        load->config->workers = count_cores();
    return ok;
}

static struct config *parse(struct bytes text, const char *name, char why[CONFIG_WHY_MAX])
{
    struct load load = {.config = mem_zalloc(1, sizeof *load.config), .name = name, .why = why};
    load.config->destinations = config_destinations_new();
    why[0] = 0;
    if (parse_into(&load, text))
        return load.config;
    config_free(load.config);
    return NULL;
}

struct config *config_parse(const char *text, const char *name, char why[CONFIG_WHY_MAX])
{
    return parse(bytes_of(text), name, why);
}

/* Whole content, bounded; false with errno set. */
static bool read_file(const char *path, struct buffer *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = 1;
    while (n > 0 && out->len <= CONFIG_TEXT_MAX) {
        uint8_t *room = buffer_reserve(out, 65536);
        CHECK(room);
        n = read(fd, room, 65536);
        if (n > 0)
            out->len += (size_t)n;
    }
    int failure = errno;
    close(fd);
    errno = failure;
    return n >= 0;
}

struct config *config_load(const char *path, char why[CONFIG_WHY_MAX])
{
    const char *name = path ? path : CONFIG_DEFAULT_PATH;
    struct buffer text;
    struct config *config = NULL;
    buffer_init(&text, CONFIG_TEXT_MAX + 2 * 65536);
    if (read_file(name, &text) || (!path && errno == ENOENT))
        config = parse(buffer_bytes(&text), name, why);
    else
        snprintf(why, CONFIG_WHY_MAX, "%.200s:0: cannot be read: %s, expected a readable file",
                 name, strerror(errno));
    buffer_fini(&text);
    return config;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config_num_options; i++)
        if (!config_option_is_destination(&config_options[i]) &&
            (config_options[i].type == OPTION_TEXT || config_options[i].type == OPTION_NAMES))
            free(*(char **)(void *)((char *)config + config_options[i].offset));
    for (size_t i = 0; i < config->dns.num_servers; i++)
        free(config->dns.servers[i]);
    free(config->dns.servers);
    config_destinations_free(config->destinations);
    free(config);
}

unsigned config_num_tls_identities(const struct config *config)
{
    return config_destinations_num_identities(config->destinations);
}

void config_tls_identity(const struct config *config, unsigned identity,
                         struct tls_context_options *out)
{
    static const uint16_t versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION,
                                        TLS1_3_VERSION};
    const struct tls_settings *settings =
        config_destinations_identity(config->destinations, identity);
    *out = (struct tls_context_options){.ca_file = settings->ca_file,
                                        .system_ca_file = settings->system_ca_file,
                                        .cert_file = settings->cert_file,
                                        .key_file = settings->key_file,
                                        .groups = settings->groups,
                                        .ciphers = settings->ciphers,
                                        .min_version = versions[settings->minimum_version],
                                        .max_version = versions[settings->maximum_version]};
}

struct resolver_options config_resolver_options(const struct config *config)
{
    return (struct resolver_options){
        .servers = (const char *const *)config->dns.servers,
        .num_servers = config->dns.num_servers,
        .allow_local = config->dns.allow_local,
        .trust_ad = config->dns.trust_ad,
        .min_ttl_ms = config->dns.min_ttl_ms,
        .max_ttl_ms = config->dns.max_ttl_ms,
        .max_negative_ttl_ms = config->dns.max_negative_ttl_ms,
        .stale_ms = config->dns.stale_ms,
        .timeout_ms = config->dns.timeout_ms,
        .tries = config->dns.tries,
        .max_in_flight = config->dns.max_in_flight,
        .cache_entries = config->dns.cache_entries,
        .max_hosts = config->smtp.max_mx,
        .own_name = config->hostname,
        .ipv4 = config->dns.ipv4,
        .ipv6 = config->dns.ipv6,
    };
}

const struct destination_settings *config_for_domain(const struct config *config,
                                                     const char *domain)
{
    return config_destinations_find(config->destinations, domain);
}

bool config_has_settings(const struct config *config, unsigned id)
{
    return config_destinations_have(config->destinations, id);
}

bool config_wants_transcripts(const struct config *config)
{
    return config_destinations_transcribe(config->destinations);
}
