/* The text of an MTA-STS policy, "key: value" on each line (RFC 8461 3.2).
 * It does not fetch it (sts_service.c) and does not say what follows from it (policy.c). */
#include "dns/domain_name.h"
#include "tls/sts_policy.h"

static const char *const mode_names[] = {
    [STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};
enum { NUM_MODES = sizeof mode_names / sizeof *mode_names, KEY_LEN_MAX = 32 };

/* What was read so far. */
struct reading {
    struct sts_policy_text *out;
    bool has_version, has_mode, has_max_age;
};

const char *sts_mode_name(enum sts_mode mode)
{
    return mode_names[mode];
}

static const char *read_version(struct reading *reading, struct bytes value)
{
    if (reading->has_version)
        return NULL;
    reading->has_version = true;
    return bytes_equal(value, bytes_of("STSv1")) ? NULL : "its version is not STSv1";
}

static const char *read_mode(struct reading *reading, struct bytes value)
{
    if (reading->has_mode)
        return NULL;
    reading->has_mode = true;
    for (unsigned i = 0; i < NUM_MODES; i++) {
        if (bytes_equal(value, bytes_of(mode_names[i]))) {
            reading->out->mode = (enum sts_mode)i;
            return NULL;
        }
    }
    return "its mode is none of enforce, testing and none";
}

static const char *read_max_age(struct reading *reading, struct bytes value)
{
    enum { DIGITS_MAX = 10 };
    uint64_t seconds;
    if (reading->has_max_age)
        return NULL;
    reading->has_max_age = true;
    if (value.len > DIGITS_MAX || !bytes_to_u64(value, INT64_MAX, &seconds))
        return "its max_age is no number of seconds";
    reading->out->max_age_s =
        seconds < STS_MAX_AGE_MAX_S ? (int64_t)seconds : (int64_t)STS_MAX_AGE_MAX_S;
    return NULL;
}

static const char *read_mx(struct reading *reading, struct bytes value)
{
    char name[DOMAIN_NAME_MAX + 1];
    struct bytes domain = bytes_starts_nocase(value, "*.") ? bytes_from(value, 2) : value;
    if (!domain_name_normalise(domain, name))
        return "one of its mx patterns is no domain name";
    if (reading->out->num_mx == STS_POLICY_MX_MAX)
        return "it has too many mx patterns";
    reading->out->mx[reading->out->num_mx++] = value;
    return NULL;
}

static bool is_key(struct bytes key)
{
    if (key.len == 0 || key.len > KEY_LEN_MAX)
        return false;
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.at[i];
        if (!ascii_is_alphanumeric(c) && (i == 0 || !memchr("_-.", c, 3)))
            return false;
    }
    return true;
}

/* Keys are case-sensitive (the %s of the grammar). */
static const char *read_line(struct reading *reading, struct bytes line)
{
    static const struct {
        const char *key;
        const char *(*read)(struct reading *reading, struct bytes value);
    } rows[] = {
        {"version", read_version}, {"mode", read_mode}, {"max_age", read_max_age}, {"mx", read_mx}};
    struct bytes key = bytes_first(line, bytes_find(line, ':'));
    if (key.len == line.len || !is_key(key))
        return "one of its lines is no \"key: value\"";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (bytes_equal(key, bytes_of(rows[i].key)))
            return rows[i].read(reading, bytes_trim(bytes_from(line, key.len + 1)));
    return NULL;
}

static const char *read_all(struct reading *reading, struct bytes text)
{
    const char *why = NULL;
    size_t num_lines = 0;
    while (text.len && !why) {
        struct bytes line = bytes_first(text, bytes_find(text, '\n'));
        text = bytes_from(text, line.len + 1);
        line = bytes_trim(line);
        if (++num_lines > STS_POLICY_LINES_MAX)
            return "it has too many lines";
        /* An empty line is not in the grammar, but editors leave them. */
        if (line.len)
            why = read_line(reading, line);
    }
    return why;
}

bool sts_policy_parse(struct bytes text, struct sts_policy_text *out, const char **out_why)
{
    struct reading reading = {.out = out};
    out->mode = STS_NONE;
    out->max_age_s = 0;
    out->num_mx = 0;
    const char *why = text.len > STS_POLICY_MAX ? "it is too large" : read_all(&reading, text);
    if (!why && !reading.has_version)
        why = "it names no version";
    if (!why && !reading.has_mode)
        why = "it names no mode";
    if (!why && !reading.has_max_age)
        why = "it names no max_age";
    if (!why && out->mode != STS_NONE && out->num_mx == 0)
        why = "it names no mx";
    *out_why = why;
    return !why;
}
