/* One option's value: text to member and back, checked against its row of the table.
 * It knows neither files nor lines: config.c adds those to what it says. */
#include "base/check.h"
#include "base/memory.h"
#include "queue/address.h"
#include "router/config_table.h"
#include "router/config_units.h"

#include <inttypes.h>
#include <stdio.h>

bool config_option_is_destination(const struct config_option *option)
{
    return strncmp(option->section, "destination", strlen("destination")) == 0;
}

void config_option_full_name(const struct config_option *option, struct buffer *out)
{
    buffer_printf(out, "%s%s%s", option->section, *option->section ? "." : "", option->name);
}

static uint64_t load_number(const void *at, size_t width)
{
    switch (width) {
    case 1:
        return *(const uint8_t *)at;
    case 2:
        return *(const uint16_t *)at;
    case 4:
        return *(const uint32_t *)at;
    default:
        CHECK(width == 8);
        return *(const uint64_t *)at;
    }
}

static void store_number(void *at, size_t width, uint64_t value)
{
    switch (width) {
    case 1:
        *(uint8_t *)at = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)at = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)at = (uint32_t)value;
        break;
    default:
        CHECK(width == 8);
        *(uint64_t *)at = value;
    }
}

/* "a number from 1 to 65535", with the range in the option's own unit. */
static void describe_range(const struct config_option *option, char why[CONFIG_EXPECTED_MAX],
                           const char *problem)
{
    struct buffer text;
    buffer_init(&text, CONFIG_EXPECTED_MAX - 1);
    buffer_printf(&text, "%s, expected ", problem);
    if (option->type == OPTION_DURATION) {
        buffer_append_str(&text, "a duration with its unit (ms s m h d w), from ");
        config_format_duration(option->min, &text);
        buffer_append_str(&text, " to ");
        config_format_duration(option->max, &text);
    } else if (option->type == OPTION_SIZE) {
        buffer_append_str(&text, "a size in octets (or K M G T), from ");
        config_format_size((uint64_t)option->min, &text);
        buffer_append_str(&text, " to ");
        config_format_size((uint64_t)option->max, &text);
    } else {
        buffer_printf(&text, "a number from %" PRId64 " to %" PRId64, option->min, option->max);
    }
    snprintf(why, CONFIG_EXPECTED_MAX, "%.*s", (int)text.len, (const char *)text.at);
    buffer_fini(&text);
}

static bool store_amount(const struct config_option *option, struct bytes text, void *at,
                         char why[CONFIG_EXPECTED_MAX])
{
    uint64_t value = 0;
    int64_t duration_ms = 0;
    bool ok = option->type == OPTION_DURATION ? config_parse_duration(text, &duration_ms)
              : option->type == OPTION_SIZE   ? config_parse_size(text, &value)
                                              : bytes_to_u64(text, INT64_MAX, &value);
    if (option->type == OPTION_DURATION)
        value = (uint64_t)duration_ms;
    if (!ok) {
        describe_range(option, why, "is not understood");
        return false;
    }
    if (value < (uint64_t)option->min || value > (uint64_t)option->max) {
        describe_range(option, why, "is out of range");
        return false;
    }
    store_number(at, option->width, value);
    return true;
}

static bool store_choice(const struct config_option *option, const char *text, void *at,
                         char why[CONFIG_EXPECTED_MAX])
{
    for (size_t i = 0; option->choices[i]; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            store_number(at, option->width, i);
            return true;
        }
    }
    int len = snprintf(why, CONFIG_EXPECTED_MAX, "is unknown, expected");
    for (size_t i = 0; option->choices[i]; i++) {
        const char *joint = i == 0 ? "" : option->choices[i + 1] ? "," : " or";
        len += snprintf(why + len, CONFIG_EXPECTED_MAX - (size_t)len, "%s \"%s\"", joint,
                        option->choices[i]);
    }
    return false;
}

static bool store_text(const struct config_option *option, const char *text, void *at,
                       char why[CONFIG_EXPECTED_MAX])
{
    size_t len = strlen(text);
    if (len < (size_t)option->min || len > (size_t)option->max) {
        snprintf(why, CONFIG_EXPECTED_MAX,
                 "is %s, expected %" PRId64 " to %" PRId64 " octets of text",
                 len ? "too long" : "empty", option->min, option->max);
        return false;
    }
    char **member = at;
    free(*member);
    *member = mem_strdup(text);
    return true;
}

static bool check_next_hop(const char *text, char why[CONFIG_EXPECTED_MAX])
{
    struct next_hop next_hop;
    const char *problem = "is not understood";
    if (!*text)
        return true;
    if (next_hop_parse(text, &next_hop, &problem)) {
        next_hop_fini(&next_hop);
        return true;
    }
    snprintf(why, CONFIG_EXPECTED_MAX,
             "is no next hop (%.60s), expected [lmtp:]HOST[:PORT], HOST a name or an address in "
             "brackets",
             problem);
    return false;
}

/* "192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]:53". */
static bool is_server(struct bytes text)
{
    struct host_address address;
    uint64_t port;
    if (host_address_parse(text, &address))
        return true;
    size_t colon = text.len;
    while (colon > 0 && text.at[colon - 1] != ':')
        colon--;
    struct bytes host = text;
    if (colon > 0 && text.at[text.len - 1] != ']') {
        if (!bytes_to_u64(bytes_from(text, colon), UINT16_MAX, &port) || port == 0)
            return false;
        host = bytes_first(text, colon - 1);
    }
    bool bracketed = host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';
    if (bracketed)
        host = bytes_make(host.at + 1, host.len - 2);
    return host_address_parse(host, &address) && bracketed == (address.family == 6);
}

static bool check_server(const char *text, char why[CONFIG_EXPECTED_MAX])
{
    if (is_server(bytes_of(text)))
        return true;
    snprintf(why, CONFIG_EXPECTED_MAX,
             "is no server, expected an address with an optional port, such as \"192.0.2.1:53\" or "
             "\"[2001:db8::1]:53\"");
    return false;
}

static bool check_names(const char *text, char why[CONFIG_EXPECTED_MAX])
{
    while (*(text += strspn(text, " "))) {
        size_t len = strcspn(text, " ");
        char *domain = address_domain_to_ascii(bytes_make(text, len));
        free(domain);
        if (!domain) {
            snprintf(why, CONFIG_EXPECTED_MAX,
                     "has \"%.*s\", expected domain names with blanks between them",
                     len < 100 ? (int)len : 100, text);
            return false;
        }
        text += len;
    }
    return true;
}

static bool check_user(const char *text, char why[CONFIG_EXPECTED_MAX])
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e) {
            snprintf(why, CONFIG_EXPECTED_MAX, "is not understood, expected printable ASCII");
            return false;
        }
    }
    return true;
}

static bool store_mechanisms(const char *text, uint8_t *at, char why[CONFIG_EXPECTED_MAX])
{
    if (auth_mechanisms_parse(text, at))
        return true;
    snprintf(why, CONFIG_EXPECTED_MAX,
             "is not understood, expected SCRAM-SHA-256, PLAIN or LOGIN with blanks between them");
    return false;
}

static void print_mechanisms(uint8_t mechanisms, struct buffer *out)
{
    buffer_append_byte(out, '"');
    for (const char *blank = ""; mechanisms; blank = " ") {
        enum auth_mechanism best = auth_mechanism_best(mechanisms);
        buffer_printf(out, "%s%s", blank, auth_mechanism_name(best));
        mechanisms &= (uint8_t)~best;
    }
    buffer_append_byte(out, '"');
}

bool config_option_store(const struct config_option *option, const char *text, void *base,
                         char why[CONFIG_EXPECTED_MAX])
{
    void *at = (char *)base + option->offset;
    switch (option->type) {
    case OPTION_TEXT:
        return store_text(option, text, at, why);
    case OPTION_USER:
        return check_user(text, why) && store_text(option, text, at, why);
    case OPTION_SECRET_FILE:
        return store_text(option, text, at, why);
    case OPTION_MECHANISMS:
        return store_mechanisms(text, at, why);
    case OPTION_NAMES:
        return check_names(text, why) && store_text(option, text, at, why);
    case OPTION_TRUTH:
        if (config_parse_truth(bytes_of(text), at))
            return true;
        snprintf(why, CONFIG_EXPECTED_MAX, "is not understood, expected true or false");
        return false;
    case OPTION_NUMBER:
    case OPTION_SIZE:
    case OPTION_DURATION:
        return store_amount(option, bytes_of(text), at, why);
    case OPTION_CHOICE:
        return store_choice(option, text, at, why);
    case OPTION_SERVERS:
        return check_server(text, why);
    case OPTION_NEXT_HOP:
        return check_next_hop(text, why);
    }
    check_failed(__FILE__, __LINE__, "a type of option without a parser");
    return false;
}

void config_option_print(const struct config_option *option, const void *base, struct buffer *out)
{
    const void *at = (const char *)base + option->offset;
    switch (option->type) {
    case OPTION_TEXT:
    case OPTION_NAMES:
    case OPTION_USER:
    case OPTION_SECRET_FILE:
        config_quote(*(char *const *)at, out);
        break;
    case OPTION_TRUTH:
        buffer_append_str(out, *(const bool *)at ? "true" : "false");
        break;
    case OPTION_NUMBER:
        buffer_printf(out, "%" PRIu64, load_number(at, option->width));
        break;
    case OPTION_SIZE:
        buffer_append_byte(out, '"');
        config_format_size(load_number(at, option->width), out);
        buffer_append_byte(out, '"');
        break;
    case OPTION_DURATION:
        buffer_append_byte(out, '"');
        config_format_duration((int64_t)load_number(at, option->width), out);
        buffer_append_byte(out, '"');
        break;
    case OPTION_CHOICE:
        config_quote(option->choices[load_number(at, option->width)], out);
        break;
    case OPTION_MECHANISMS:
        print_mechanisms(*(const uint8_t *)at, out);
        break;
    case OPTION_NEXT_HOP:
    case OPTION_SERVERS:
        check_failed(__FILE__, __LINE__, "printed by those who own it");
    }
}

/* Only what the syntax cannot carry as it is becomes \xHH, so that UTF-8 stays readable. */
void config_quote(const char *text, struct buffer *out)
{
    buffer_append_byte(out, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buffer_printf(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f || (*c == '$' && c[1] == '{'))
            buffer_printf(out, "\\x%02x", (unsigned char)*c);
        else
            buffer_append_byte(out, (uint8_t)*c);
    }
    buffer_append_byte(out, '"');
}
