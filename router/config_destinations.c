/* Overlays: "*", then "*.suffix" from the shortest to the longest, then the exact name.
 * It reads no file and knows no line: config.c does. */
#include "router/config_destinations.h"

#include "base/check.h"
#include "base/memory.h"
#include "queue/address.h"
#include "router/config_tls.h"

#include <stdio.h>

/* Rows of the table from the first destination option on, which close the table. */
enum { DESTINATION_OPTIONS_MAX = 48 };

struct config_destination {
    char *pattern; /* owned: A-labels in lower case, "*", "*.suffix", "[literal]" */
    struct config_destination *next_in_bucket;
    char *texts[DESTINATION_OPTIONS_MAX]; /* owned; NULL: not set here */
    struct next_hop next_hop;             /* owned when has_next_hop */
    bool has_next_hop;
    char *secret;                         /* owned: what auth.secret_file holds; NULL: not set */
    char **tls_names;                     /* owned: those of settings.tls.names */
    struct destination_settings settings; /* by config_destinations_resolve() */
};

struct config_destinations {
    struct config_destination **items; /* owned array of owned sections, in order of the file */
    size_t num;
    struct config_destination **buckets; /* owned array of borrowed sections */
    size_t num_buckets;                  /* a power of two */
    struct destination_settings base;
    char **base_tls_names; /* owned: those of base.tls.names */
    unsigned num_identities;
    unsigned next_id; /* above every id that these settings or those before them had */
};

static size_t first_option(void)
{
    size_t i = 0;
    while (!config_option_is_destination(&config_options[i]))
        i++;
    CHECK(config_num_options - i <= DESTINATION_OPTIONS_MAX);
    return i;
}

struct config_destinations *config_destinations_new(void)
{
    struct config_destinations *destinations = mem_zalloc(1, sizeof *destinations);
    destinations->num_buckets = 16;
    destinations->buckets = mem_zalloc(destinations->num_buckets, sizeof *destinations->buckets);
    return destinations;
}

static void destination_free(struct config_destination *destination)
{
    for (size_t i = 0; i < DESTINATION_OPTIONS_MAX; i++)
        free(destination->texts[i]);
    if (destination->has_next_hop)
        next_hop_fini(&destination->next_hop);
    config_tls_free_names(destination->tls_names);
    auth_secret_free(destination->secret);
    free(destination->pattern);
    free(destination);
}

void config_destinations_free(struct config_destinations *destinations)
{
    if (!destinations)
        return;
    for (size_t i = 0; i < destinations->num; i++)
        destination_free(destinations->items[i]);
    config_tls_free_names(destinations->base_tls_names);
    free(destinations->items);
    free(destinations->buckets);
    free(destinations);
}

static struct config_destination **bucket_of(const struct config_destinations *destinations,
                                             struct bytes pattern)
{
    return &destinations->buckets[bytes_hash(pattern) & (destinations->num_buckets - 1)];
}

static struct config_destination *find_pattern(const struct config_destinations *destinations,
                                               struct bytes pattern)
{
    struct config_destination *destination = *bucket_of(destinations, pattern);
    while (destination && !bytes_equal(bytes_of(destination->pattern), pattern))
        destination = destination->next_in_bucket;
    return destination;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]", as address_parse_path() writes literals; NULL: none. */
static char *literal_pattern(const char *title)
{
    struct host_address address;
    struct bytes text = bytes_of(title);
    if (text.len < 3 || text.at[0] != '[' || text.at[text.len - 1] != ']')
        return NULL;
    text = bytes_make(text.at + 1, text.len - 2);
    if (bytes_starts_nocase(text, "IPv6:"))
        text = bytes_from(text, strlen("IPv6:"));
    if (!host_address_parse(text, &address))
        return NULL;
    char canonical[46];
    host_address_format(&address, canonical);
    return mem_printf("[%s%s]", address.family == 6 ? "IPv6:" : "", canonical);
}

static char *parse_pattern(const char *title)
{
    if (strcmp(title, "*") == 0)
        return mem_strdup(title);
    if (title[0] == '[')
        return literal_pattern(title);
    bool is_suffix = title[0] == '*' && title[1] == '.';
    char *domain = address_domain_to_ascii(bytes_of(title + (is_suffix ? 2 : 0)));
    if (!domain || !is_suffix)
        return domain;
    char *pattern = mem_printf("*.%s", domain);
    free(domain);
    return pattern;
}

static void insert(struct config_destinations *destinations, struct config_destination *item)
{
    struct config_destination **bucket = bucket_of(destinations, bytes_of(item->pattern));
    item->next_in_bucket = *bucket;
    *bucket = item;
}

static void grow(struct config_destinations *destinations)
{
    if (destinations->num < destinations->num_buckets)
        return;
    free(destinations->buckets);
    destinations->num_buckets *= 2;
    destinations->buckets = mem_zalloc(destinations->num_buckets, sizeof *destinations->buckets);
    for (size_t i = 0; i < destinations->num; i++)
        insert(destinations, destinations->items[i]);
}

struct config_destination *config_destinations_add(struct config_destinations *destinations,
                                                   const char *title, char why[CONFIG_EXPECTED_MAX])
{
    char *pattern = parse_pattern(title);
    if (!pattern) {
        snprintf(why, CONFIG_EXPECTED_MAX,
                 "is no pattern, expected a domain, \"*.domain\", \"*\" or an address in brackets");
        return NULL;
    }
    if (find_pattern(destinations, bytes_of(pattern))) {
        snprintf(why, CONFIG_EXPECTED_MAX,
                 "is there already, expected one section for each destination");
        free(pattern);
        return NULL;
    }
    struct config_destination *item = mem_zalloc(1, sizeof *item);
    item->pattern = pattern;
    grow(destinations);
    destinations->items =
        mem_realloc(destinations->items, destinations->num + 1, sizeof *destinations->items);
    destinations->items[destinations->num++] = item;
    insert(destinations, item);
    return item;
}

static bool is_text(const struct config_option *option)
{
    return option->type == OPTION_TEXT || option->type == OPTION_NAMES ||
           option->type == OPTION_USER || option->type == OPTION_SECRET_FILE;
}

static char **text_member(const struct config_option *option, struct destination_settings *settings)
{
    return (char **)(void *)((char *)settings + option->offset);
}

bool config_destination_set(struct config_destination *destination,
                            const struct config_option *option, const char *text,
                            char why[CONFIG_EXPECTED_MAX])
{
    struct destination_settings scratch = {0};
    const char *problem;
    if (!config_option_store(option, text, &scratch, why))
        return false;
    if (is_text(option))
        free(*text_member(option, &scratch)); /* the text itself is kept below */
    if (option->type == OPTION_NEXT_HOP && *text) {
        destination->has_next_hop = next_hop_parse(text, &destination->next_hop, &problem);
        CHECK(destination->has_next_hop);
    }
    destination->texts[(size_t)(option - config_options) - first_option()] = mem_strdup(text);
    if (option->type == OPTION_SECRET_FILE && *text)
        destination->secret = auth_secret_read(text, why);
    return option->type != OPTION_SECRET_FILE || !*text || destination->secret;
}

static void apply_text(const struct config_option *option, const char *text,
                       struct destination_settings *settings)
{
    char why[CONFIG_EXPECTED_MAX];
    bool ok = config_option_store(option, text, settings, why);
    CHECK(ok);
}

/* Texts of destinations belong to the section that set them: the default is nobody's. */
static char no_text[] = "";

static void make_base(const struct config *config, struct destination_settings *base)
{
    *base = (struct destination_settings){.pattern = "",
                                          .tls = config->tls.all,
                                          .port = config->smtp.port,
                                          .transcript = config->log.transcript,
                                          .auth = {.user = no_text, .secret_file = no_text}};
    for (size_t i = first_option(); i < config_num_options; i++)
        if (config_options[i].fallback && !is_text(&config_options[i]))
            apply_text(&config_options[i], config_options[i].fallback, base);
}

static void overlay(const struct config_destination *item, struct destination_settings *settings)
{
    size_t first = first_option();
    for (size_t i = first; i < config_num_options; i++) {
        char *text = item->texts[i - first];
        if (!text)
            continue;
        if (is_text(&config_options[i])) {
            *text_member(&config_options[i], settings) = text;
            if (config_options[i].type == OPTION_SECRET_FILE)
                settings->auth.secret = item->secret;
            continue;
        }
        if (config_options[i].type == OPTION_NEXT_HOP)
            settings->next_hop = item->has_next_hop ? &item->next_hop : NULL;
        else
            apply_text(&config_options[i], text, settings);
    }
    settings->pattern = item->pattern;
}

/* "*.suffix" for the part of domain that begins at `from`, in a buffer of the caller. */
static struct bytes suffix_pattern(const char *from, char out[ADDRESS_DOMAIN_MAX + 3])
{
    int len = snprintf(out, ADDRESS_DOMAIN_MAX + 3, "*.%s", from);
    return bytes_make(out, (size_t)len < ADDRESS_DOMAIN_MAX + 3 ? (size_t)len : 0);
}

/* Nobody speaks TLS first on port 25: there the port of RFC 8314 is meant. */
static void settle(struct destination_settings *settings)
{
    config_tls_settle(&settings->tls);
    if (settings->tls.wrapper && settings->port == 25)
        settings->port = 465;
}

/* Which sections hold for a domain follows from the most specific of them alone: every other one
 * matches the tail that its pattern names. */
static void resolve_one(const struct config_destinations *destinations,
                        const struct config_destination *item,
                        struct destination_settings *settings)
{
    char text[ADDRESS_DOMAIN_MAX + 3];
    const char *name = item->pattern;
    const struct config_destination *any = find_pattern(destinations, bytes_of("*"));
    *settings = destinations->base;
    if (any)
        overlay(any, settings);
    if (strncmp(name, "*.", 2) == 0)
        name += 2;
    /* From the right: the shortest suffix first. */
    for (const char *at = name + strlen(name); at > name && *name != '['; at--) {
        if (at[-1] != '.')
            continue;
        const struct config_destination *suffix =
            find_pattern(destinations, suffix_pattern(at, text));
        if (suffix)
            overlay(suffix, settings);
    }
    if (item != any)
        overlay(item, settings);
    if (settings->connections_initial > settings->connections)
        settings->connections_initial = settings->connections;
    settle(settings);
}

static bool same_next_hop(const struct next_hop *a, const struct next_hop *b)
{
    return a == b || (a && b && strcmp(a->text, b->text) == 0);
}

static bool same_settings(const struct destination_settings *a,
                          const struct destination_settings *b)
{
    return config_tls_equal(&a->tls, &b->tls) && auth_settings_equal(&a->auth, &b->auth) &&
           a->port == b->port && a->connections == b->connections &&
           a->connections_initial == b->connections_initial &&
           a->max_deliveries == b->max_deliveries && a->max_recipients == b->max_recipients &&
           a->idle_ms == b->idle_ms && a->connection_lifetime_ms == b->connection_lifetime_ms &&
           a->transcript == b->transcript && same_next_hop(a->next_hop, b->next_hop);
}

/* Equal settings share an id, so that domains of two sections that say the same still share a
 * site. Quadratic, at most CONFIG_DESTINATIONS_MAX sections, once. */
static unsigned id_for(const struct config_destinations *destinations, size_t i)
{
    const struct destination_settings *settings = &destinations->items[i]->settings;
    if (same_settings(settings, &destinations->base))
        return 0;
    for (size_t k = 0; k < i; k++)
        if (same_settings(settings, &destinations->items[k]->settings))
            return destinations->items[k]->settings.id;
    return (unsigned)i + 1;
}

static unsigned identity_for(struct config_destinations *destinations, size_t i)
{
    const struct tls_settings *tls = &destinations->items[i]->settings.tls;
    if (config_tls_same_identity(tls, &destinations->base.tls))
        return 0;
    for (size_t k = 0; k < i; k++)
        if (config_tls_same_identity(tls, &destinations->items[k]->settings.tls))
            return destinations->items[k]->settings.tls.identity;
    return destinations->num_identities++;
}

void config_destinations_resolve(struct config_destinations *destinations,
                                 const struct config *config)
{
    make_base(config, &destinations->base);
    for (size_t i = 0; i < destinations->num; i++) {
        struct config_destination *item = destinations->items[i];
        resolve_one(destinations, item, &item->settings);
        config_tls_split_names(&item->settings.tls, &item->tls_names);
    }
    /* Only now, since a section may set again what the whole file said. */
    settle(&destinations->base);
    config_tls_split_names(&destinations->base.tls, &destinations->base_tls_names);
    destinations->num_identities = 1;
    for (size_t i = 0; i < destinations->num; i++) {
        destinations->items[i]->settings.id = id_for(destinations, i);
        destinations->items[i]->settings.tls.identity = identity_for(destinations, i);
    }
    destinations->next_id = (unsigned)destinations->num + 1;
}

/* The settings of a configuration by number: the base last. */
static struct destination_settings *settings_at(const struct config_destinations *destinations,
                                                size_t i)
{
    return i < destinations->num ? &destinations->items[i]->settings
                                 : (struct destination_settings *)(uintptr_t)&destinations->base;
}

bool config_destinations_have(const struct config_destinations *destinations, unsigned id)
{
    for (size_t i = 0; i <= destinations->num; i++)
        if (settings_at(destinations, i)->id == id)
            return true;
    return false;
}

static unsigned followed_id(const struct config_destinations *old,
                            const struct destination_settings *settings,
                            bool (*is_same)(const void *ctx, const struct tls_settings *fresh,
                                            const struct tls_settings *old),
                            const void *ctx, unsigned otherwise)
{
    for (size_t i = 0; i <= old->num; i++) {
        const struct destination_settings *before = settings_at(old, i);
        if (same_settings(settings, before) && is_same(ctx, &settings->tls, &before->tls))
            return before->id;
    }
    return otherwise;
}

/* Settings that are equal among themselves have one id already, and so find the same. */
bool config_destinations_follow(struct config_destinations *destinations,
                                const struct config_destinations *old,
                                bool (*is_same)(const void *ctx, const struct tls_settings *fresh,
                                                const struct tls_settings *old),
                                const void *ctx)
{
    unsigned first = old->next_id;
    bool any_new = false;
    for (size_t i = 0; i <= destinations->num; i++) {
        struct destination_settings *settings = settings_at(destinations, i);
        settings->id = followed_id(old, settings, is_same, ctx, first + settings->id);
        any_new = any_new || settings->id >= first;
    }
    destinations->next_id = first + destinations->next_id;
    return any_new;
}

const char *config_destinations_problem(const struct config_destinations *destinations, size_t i)
{
    const struct config_destination *item = destinations->items[i];
    const struct auth_settings *auth = &item->settings.auth;
    if (auth_is_wanted(auth) && !auth->secret)
        return "has auth.user and no auth.secret_file, expected both";
    return item->secret && !auth_is_wanted(auth)
               ? "has auth.secret_file and no auth.user, expected both"
               : NULL;
}

unsigned config_destinations_num_identities(const struct config_destinations *destinations)
{
    return destinations->num_identities;
}

const struct tls_settings *
config_destinations_identity(const struct config_destinations *destinations, unsigned identity)
{
    for (size_t i = 0; i < destinations->num && identity; i++)
        if (destinations->items[i]->settings.tls.identity == identity)
            return &destinations->items[i]->settings.tls;
    return &destinations->base.tls;
}

const struct destination_settings *
config_destinations_find(const struct config_destinations *destinations, const char *domain)
{
    char text[ADDRESS_DOMAIN_MAX + 3];
    const struct config_destination *item = find_pattern(destinations, bytes_of(domain));
    const char *dot = *domain == '[' ? NULL : strchr(domain, '.');
    for (; !item && dot; dot = strchr(dot + 1, '.'))
        item = find_pattern(destinations, suffix_pattern(dot + 1, text));
    if (!item)
        item = find_pattern(destinations, bytes_of("*"));
    return item ? &item->settings : &destinations->base;
}

bool config_destinations_transcribe(const struct config_destinations *destinations)
{
    bool any = destinations->base.transcript;
    for (size_t i = 0; i < destinations->num; i++)
        any = any || destinations->items[i]->settings.transcript;
    return any;
}

static void print_row(const struct config_option *option, const char *text, struct buffer *out)
{
    struct destination_settings scratch = {0};
    buffer_printf(out, "%s = ", option->name);
    if (option->type == OPTION_NEXT_HOP || is_text(option)) {
        config_quote(text, out);
    } else {
        apply_text(option, text, &scratch);
        config_option_print(option, &scratch, out);
    }
    buffer_append_byte(out, '\n');
}

static unsigned num_dots(const char *section, size_t len)
{
    unsigned num = 0;
    for (size_t i = 0; i < len; i++)
        num += section[i] == '.';
    return num;
}

/* Octets of the innermost section that both are or lie in. */
static size_t common_section(const char *a, const char *b)
{
    size_t common = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if ((!a[i + 1] || a[i + 1] == '.') && (!b[i + 1] || b[i + 1] == '.'))
            common = i + 1;
    return common;
}

/* Closes what `from` has open beyond what it shares with `to`, and opens the rest of `to`. */
static void change_section(const char *from, const char *to, struct buffer *out)
{
    size_t common = common_section(from, to);
    unsigned depth = num_dots(from, common);
    for (unsigned i = num_dots(from, strlen(from)); i > depth; i--)
        buffer_printf(out, "%*s}\n", (int)(4 * i), "");
    for (const char *rest = to + common; *rest; rest += strcspn(rest, ".")) {
        rest++;
        buffer_printf(out, "%*s%.*s {\n", (int)(4 * ++depth), "", (int)strcspn(rest, "."), rest);
    }
}

static void print_one(const struct config_destination *item, struct buffer *out)
{
    const char *open = "destination";
    size_t first = first_option();
    buffer_append_str(out, "\ndestination ");
    config_quote(item->pattern, out);
    buffer_append_str(out, " {\n");
    for (size_t i = first; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        if (!item->texts[i - first])
            continue;
        change_section(open, option->section, out);
        open = option->section;
        buffer_printf(out, "%*s", (int)(4 * (num_dots(open, strlen(open)) + 1)), "");
        print_row(option, item->texts[i - first], out);
    }
    change_section(open, "destination", out);
    buffer_append_str(out, "}\n");
}

void config_destinations_print(const struct config_destinations *destinations, struct buffer *out)
{
    for (size_t i = 0; i < destinations->num; i++)
        print_one(destinations->items[i], out);
}
