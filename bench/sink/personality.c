/* From "127.0.0.1:0,tls=1.3,tickets=2" to a struct, and which rule concerns a recipient.
 * It opens no socket and knows nothing of the protocol. */
#include "bench/sink/personality.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

enum {
    DEFAULT_SIZE = 50 * 1024 * 1024,
    DEFAULT_TICKETS = 2,
    TICKETS_MAX = 16,
    NUMBER_MAX = 1000 * 1000 * 1000
};

enum option_kind { OPTION_FLAG, OPTION_NUMBER, OPTION_SIZE, OPTION_TEXT, OPTION_OTHER };

/* Option names of the command line and where each goes. */
static const struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
    uint64_t max;
} options[] = {
    {"name", OPTION_TEXT, offsetof(struct personality, name), 0},
    {"wrapper", OPTION_FLAG, offsetof(struct personality, wrapper), 0},
    {"tickets", OPTION_NUMBER, offsetof(struct personality, tickets), TICKETS_MAX},
    {"rotate", OPTION_NUMBER, offsetof(struct personality, rotate), NUMBER_MAX},
    {"ticket-lifetime", OPTION_NUMBER, offsetof(struct personality, ticket_lifetime_s), 172800},
    {"ticket-key", OPTION_TEXT, offsetof(struct personality, ticket_key), 0},
    {"lmtp", OPTION_FLAG, offsetof(struct personality, lmtp), 0},
    {"no-ehlo", OPTION_FLAG, offsetof(struct personality, no_ehlo), 0},
    {"no-pipelining", OPTION_FLAG, offsetof(struct personality, no_pipelining), 0},
    {"no-8bitmime", OPTION_FLAG, offsetof(struct personality, no_8bitmime), 0},
    {"no-utf8", OPTION_FLAG, offsetof(struct personality, no_utf8), 0},
    {"no-chunking", OPTION_FLAG, offsetof(struct personality, no_chunking), 0},
    {"no-dsn", OPTION_FLAG, offsetof(struct personality, no_dsn), 0},
    {"size", OPTION_SIZE, offsetof(struct personality, size), 1ull << 40},
    {"defer-first", OPTION_NUMBER, offsetof(struct personality, defer_first), NUMBER_MAX},
    {"limit", OPTION_NUMBER, offsetof(struct personality, limit), NUMBER_MAX},
    {"421-after", OPTION_NUMBER, offsetof(struct personality, messages_until_421), NUMBER_MAX},
    {"close-after-dot", OPTION_NUMBER, offsetof(struct personality, close_after_dot), NUMBER_MAX},
    {"final", OPTION_NUMBER, offsetof(struct personality, final_code), 599},
    {"delay", OPTION_NUMBER, offsetof(struct personality, delay_ms), 3600 * 1000},
    {"connections", OPTION_NUMBER, offsetof(struct personality, connections), NUMBER_MAX},
    {"read-rate", OPTION_NUMBER, offsetof(struct personality, read_rate), NUMBER_MAX},
    {"tls", OPTION_OTHER, 0, 0},
    {"ticket-reissue", OPTION_OTHER, 0, 0},
    {"reject", OPTION_OTHER, 0, 0},
    {"defer", OPTION_OTHER, 0, 0},
    {"fault", OPTION_OTHER, 0, 0},
    {"script", OPTION_OTHER, 0, 0},
};
enum { NUM_OPTIONS = sizeof options / sizeof *options };

static bool parse_port(struct personality *p, struct bytes text, in_port_t *out)
{
    if (bytes_equal(text, bytes_of("same"))) {
        p->same_port = true;
        return true;
    }
    uint64_t port;
    if (!bytes_to_u64(text, 65535, &port))
        return false;
    *out = htons((uint16_t)port);
    return true;
}

/* "127.0.0.1:2525", "[::1]:2525", "127.0.0.1:same". */
static bool parse_address(struct personality *p, const char *text)
{
    char host[INET6_ADDRSTRLEN];
    bool six = *text == '[';
    const char *start = text + (six ? 1 : 0);
    const char *end = strchr(start, six ? ']' : ':');
    if (!end || (size_t)(end - start) >= sizeof host || (six && end[1] != ':'))
        return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    struct bytes port = bytes_of(end + (six ? 2 : 1));
    if (six) {
        struct sockaddr_in6 *address = (struct sockaddr_in6 *)&p->address;
        address->sin6_family = AF_INET6;
        p->address_len = sizeof *address;
        return inet_pton(AF_INET6, host, &address->sin6_addr) == 1 &&
               parse_port(p, port, &address->sin6_port);
    }
    struct sockaddr_in *address = (struct sockaddr_in *)&p->address;
    address->sin_family = AF_INET;
    p->address_len = sizeof *address;
    return inet_pton(AF_INET, host, &address->sin_addr) == 1 &&
           parse_port(p, port, &address->sin_port);
}

static bool parse_tls(struct personality *p, const char *value)
{
    static const char *const names[] = {"none", "1.2", "1.3", "any"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(value, names[i]) == 0) {
            p->tls = (enum personality_tls)i;
            return true;
        }
    }
    return false;
}

static bool add_rule(struct personality *p, bool reject, const char *pattern)
{
    if (p->num_rules == PERSONALITY_RULES_MAX || !strchr(pattern, '@'))
        return false;
    p->rules = mem_realloc(p->rules, p->num_rules + 1, sizeof *p->rules);
    p->rules[p->num_rules++] =
        (struct personality_rule){.reject = reject, .pattern = mem_strdup(pattern)};
    return true;
}

static bool apply_other(struct personality *p, const char *name, char *value)
{
    if (strcmp(name, "tls") == 0)
        return parse_tls(p, value);
    if (strcmp(name, "reject") == 0 || strcmp(name, "defer") == 0)
        return add_rule(p, *name == 'r', value);
    if (strcmp(name, "fault") == 0)
        return faults_add(&p->faults, value, ":");
    if (strcmp(name, "script") == 0)
        return faults_load(&p->faults, value);
    p->no_ticket_reissue = strcmp(value, "no") == 0;
    return p->no_ticket_reissue || strcmp(value, "yes") == 0;
}

/* Names go into replies, a certificate and JSON as they are. */
static bool is_name(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
    return len > 0 && len <= 63 && text[len] == '\0';
}

static bool apply(struct personality *p, const struct option *option, char *value)
{
    void *to = (char *)p + option->offset;
    uint64_t number = 0;
    if (option->kind == OPTION_FLAG) {
        *(bool *)to = true;
        return !value;
    }
    if (!value)
        return false;
    switch (option->kind) {
    case OPTION_NUMBER:
        if (!bytes_to_u64(bytes_of(value), option->max, &number))
            return false;
        *(unsigned *)to = (unsigned)number;
        return true;
    case OPTION_SIZE:
        return bytes_to_u64(bytes_of(value), option->max, to);
    case OPTION_TEXT:
        free(*(char **)to);
        *(char **)to = mem_strdup(value);
        return is_name(value);
    case OPTION_OTHER:
        return apply_other(p, option->name, value);
    case OPTION_FLAG:
        break;
    }
    return false;
}

static bool parse_option(struct personality *p, char *word, char *why)
{
    char *value = strchr(word, '=');
    if (value)
        *value++ = '\0';
    for (size_t i = 0; i < NUM_OPTIONS; i++) {
        if (strcmp(word, options[i].name) != 0)
            continue;
        if (apply(p, &options[i], value))
            return true;
        snprintf(why, PERSONALITY_WHY_MAX, "bad value for %.60s: %.60s", word,
                 value ? value : "none given");
        return false;
    }
    snprintf(why, PERSONALITY_WHY_MAX, "unknown listener option: %.60s", word);
    return false;
}

static bool parse_words(struct personality *p, char *words, char *why)
{
    char *rest = words;
    char *word = strsep(&rest, ",");
    if (!parse_address(p, word)) {
        snprintf(why, PERSONALITY_WHY_MAX, "not an ADDRESS:PORT: %.100s", word);
        return false;
    }
    while ((word = strsep(&rest, ",")) != NULL) {
        if (!parse_option(p, word, why))
            return false;
    }
    if (p->wrapper && p->tls == PERSONALITY_TLS_NONE) {
        snprintf(why, PERSONALITY_WHY_MAX, "wrapper needs TLS");
        return false;
    }
    return true;
}

bool personality_parse(struct personality *out, const char *spec, unsigned number,
                       char why[PERSONALITY_WHY_MAX])
{
    *out = (struct personality){
        .tls = PERSONALITY_TLS_ANY, .tickets = DEFAULT_TICKETS, .size = DEFAULT_SIZE};
    char *words = mem_strdup(spec);
    bool ok = parse_words(out, words, why);
    free(words);
    if (!ok) {
        personality_fini(out);
        return false;
    }
    if (!out->name)
        out->name = mem_printf("mx%u.sink.test", number);
    return true;
}

void personality_fini(struct personality *p)
{
    for (size_t i = 0; i < p->num_rules; i++)
        free(p->rules[i].pattern);
    free(p->rules);
    faults_fini(&p->faults);
    free(p->ticket_key);
    free(p->name);
    *p = (struct personality){0};
}

const struct personality_rule *personality_rule_for(const struct personality *p,
                                                    struct bytes address)
{
    for (size_t i = 0; i < p->num_rules; i++) {
        if (fault_pattern_fits(p->rules[i].pattern, address))
            return &p->rules[i];
    }
    return NULL;
}
