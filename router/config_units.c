/* Durations and sizes to and from text.
 * It knows no option and no range: config_table.c does. */
#include "router/config_units.h"

#include <inttypes.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Ascending, so that formatting can start at the end. */
static const struct unit duration_units[] = {{"ms", 1},           {"s", 1000},
                                             {"m", 60 * 1000},    {"h", 3600 * 1000},
                                             {"d", 86400 * 1000}, {"w", UINT64_C(604800) * 1000}};
static const struct unit size_units[] = {{"", 1},
                                         {"K", UINT64_C(1) << 10},
                                         {"M", UINT64_C(1) << 20},
                                         {"G", UINT64_C(1) << 30},
                                         {"T", UINT64_C(1) << 40}};
enum {
    NUM_DURATION_UNITS = sizeof duration_units / sizeof *duration_units,
    NUM_SIZE_UNITS = sizeof size_units / sizeof *size_units
};

static bool parse_with_unit(struct bytes text, const struct unit *units, size_t num, uint64_t *out)
{
    size_t digits = 0;
    while (digits < text.len && text.at[digits] >= '0' && text.at[digits] <= '9')
        digits++;
    struct bytes suffix = bytes_from(text, digits);
    for (size_t i = 0; i < num; i++) {
        uint64_t value;
        if (!bytes_equal_nocase(suffix, bytes_of(units[i].name)))
            continue;
        if (!bytes_to_u64(bytes_first(text, digits), INT64_MAX / units[i].factor, &value))
            return false;
        *out = value * units[i].factor;
        return true;
    }
    return false;
}

static void format_with_unit(uint64_t value, const struct unit *units, size_t num,
                             struct buffer *out)
{
    size_t i = num - 1;
    while (i > 0 && value % units[i].factor != 0)
        i--;
    buffer_printf(out, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
}

bool config_parse_duration(struct bytes text, int64_t *out_ms)
{
    uint64_t value = 0;
    if (!bytes_equal(text, bytes_of("0")) &&
        !parse_with_unit(text, duration_units, NUM_DURATION_UNITS, &value))
        return false;
    *out_ms = (int64_t)value;
    return true;
}

bool config_parse_size(struct bytes text, uint64_t *out_len)
{
    return parse_with_unit(text, size_units, NUM_SIZE_UNITS, out_len);
}

bool config_parse_truth(struct bytes text, bool *out)
{
    static const char *const names[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (bytes_equal_nocase(text, bytes_of(names[i]))) {
            *out = i % 2 == 1;
            return true;
        }
    }
    return false;
}

void config_format_duration(int64_t duration_ms, struct buffer *out)
{
    if (duration_ms == 0)
        buffer_append_byte(out, '0');
    else
        format_with_unit((uint64_t)duration_ms, duration_units, NUM_DURATION_UNITS, out);
}

void config_format_size(uint64_t len, struct buffer *out)
{
    if (len == 0)
        buffer_append_byte(out, '0');
    else
        format_with_unit(len, size_units, NUM_SIZE_UNITS, out);
}
