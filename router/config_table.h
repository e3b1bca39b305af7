/* The table of options: section, name -> type, place, default, range, words for people.
 *
 * The one source for the parser, for `sluice check` and for the test that holds
 * docs/configuration.md and sluice.conf.example to it. Immutable; any thread. */
#ifndef SLUICE_ROUTER_CONFIG_TABLE_H
#define SLUICE_ROUTER_CONFIG_TABLE_H

#include "router/config.h"

enum option_type {
    OPTION_TEXT,        /* char *, owned; min and max bound its length */
    OPTION_TRUTH,       /* bool */
    OPTION_NUMBER,      /* unsigned integer of any width */
    OPTION_SIZE,        /* the same, in octets */
    OPTION_DURATION,    /* int64_t, milliseconds */
    OPTION_CHOICE,      /* an enum, or a bool: the index in choices */
    OPTION_SERVERS,     /* dns.servers: a list of addresses */
    OPTION_NEXT_HOP,    /* const struct next_hop *: kept by config_destinations.c */
    OPTION_USER,        /* char *: printable ASCII */
    OPTION_SECRET_FILE, /* char *: a path; the file is read by config_destinations.c */
    OPTION_MECHANISMS,  /* uint8_t: bits of enum auth_mechanism */
    OPTION_NAMES        /* char *: domain names with blanks between them; as OPTION_TEXT */
};

struct config_option {
    const char *section; /* "" top level, "tls.session_cache", "destination" ... */
    const char *name;
    enum option_type type;
    size_t offset; /* in struct config, or for destinations in struct destination_settings */
    size_t width;  /* octets of the member */
    int64_t min;
    int64_t max;
    const char *fallback;       /* the default as written; NULL: taken from another option */
    const char *const *choices; /* OPTION_CHOICE: NULL-terminated */
    const char *doc;
};

/* All options in the order in which they are printed: sections are contiguous. */
extern const struct config_option config_options[];
extern const size_t config_num_options;

enum { CONFIG_EXPECTED_MAX = 200, CONFIG_VALUE_SHOWN_MAX = 60 };

bool config_option_is_destination(const struct config_option *option);
/* "smtp.port", "hostname"; out as buffer_printf() does it. */
void config_option_full_name(const struct config_option *option, struct buffer *out);
/* Parses text and stores it at base + offset (OPTION_TEXT: frees what was there; OPTION_NEXT_HOP
 * and OPTION_SERVERS: only checks). On failure *out is untouched and why says
 * "is ..., expected ...". */
bool config_option_store(const struct config_option *option, const char *text, void *base,
                         char why[CONFIG_EXPECTED_MAX]) __attribute__((warn_unused_result));
/* The value at base + offset as a double-quoted string or a bare word that the parser reads back.
 */
void config_option_print(const struct config_option *option, const void *base, struct buffer *out);
/* The value of any option that is no destination's, as config_print() writes it. */
void config_print_option(const struct config *config, const struct config_option *option,
                         struct buffer *out);
/* text as a double-quoted string of the configuration's syntax. */
void config_quote(const char *text, struct buffer *out);

#endif
