/* Cuts a header section into fields.
 * It does not read what is in them. */
#include "queue/header_field.h"

#include <time.h>

static const char *const names[HEADER_NAMES] = {
    [HEADER_NAME_OTHER] = "",
    [HEADER_NAME_TO] = "To",
    [HEADER_NAME_CC] = "Cc",
    [HEADER_NAME_BCC] = "Bcc",
    [HEADER_NAME_FROM] = "From",
    [HEADER_NAME_SENDER] = "Sender",
    [HEADER_NAME_RETURN_PATH] = "Return-Path",
    [HEADER_NAME_RESENT_TO] = "Resent-To",
    [HEADER_NAME_RESENT_CC] = "Resent-Cc",
    [HEADER_NAME_RESENT_BCC] = "Resent-Bcc",
    [HEADER_NAME_RESENT_FROM] = "Resent-From",
    [HEADER_NAME_RESENT_SENDER] = "Resent-Sender",
    [HEADER_NAME_RESENT_DATE] = "Resent-Date",
    [HEADER_NAME_RESENT_MESSAGE_ID] = "Resent-Message-ID",
    [HEADER_NAME_DATE] = "Date",
    [HEADER_NAME_MESSAGE_ID] = "Message-ID",
    [HEADER_NAME_RECEIVED] = "Received",
    [HEADER_NAME_TLS_REQUIRED] = "TLS-Required",
    [HEADER_NAME_X_SENDER] = "X-Sender",
    [HEADER_NAME_X_RECEIVER] = "X-Receiver",
    [HEADER_NAME_X_SLUICE] = "X-Sluice-",
};

const char *header_name_text(enum header_name name)
{
    return names[name];
}

/* Position of the first CR or LF from at on, or text.len; eight octets at a time, because one
 * memchr() for each of them would read to the end again and again where only one of them occurs. */
static size_t find_line_end(struct bytes text, size_t at)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    for (; text.len - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, text.at + at, sizeof word);
        uint64_t cr = word ^ (ones * '\r'), lf = word ^ (ones * '\n');
        if ((((cr - ones) & ~cr) | ((lf - ones) & ~lf)) & highs)
            break;
    }
    while (at < text.len && text.at[at] != '\r' && text.at[at] != '\n')
        at++;
    return at;
}

static size_t skip_nul(struct bytes text, size_t at)
{
    while (at < text.len && text.at[at] == '\0')
        at++;
    return at;
}

size_t header_line_end(struct bytes text, size_t at)
{
    at = find_line_end(text, at);
    if (at == text.len || text.at[at] == '\n')
        return at < text.len ? at + 1 : at;
    /* A NUL between CR and LF vanishes, so these are one line end on the wire. */
    size_t next = skip_nul(text, at + 1);
    return next < text.len && text.at[next] == '\n' ? next + 1 : at + 1;
}

static bool is_line_end(struct bytes text, size_t at)
{
    return at == text.len || text.at[at] == '\r' || text.at[at] == '\n';
}

static bool is_blank(struct bytes text, size_t at)
{
    return at < text.len && (text.at[at] == ' ' || text.at[at] == '\t');
}

/* Position of the colon that ends the field name, or text.len when the line is none. */
static size_t find_colon(struct bytes text, size_t at, size_t *out_name_end)
{
    size_t begin = at, all = text.len;
    text = bytes_first(text, begin + HEADER_NAME_MAX);
    while (at < text.len &&
           ((text.at[at] > ' ' && text.at[at] < 127 && text.at[at] != ':') || text.at[at] == '\0'))
        at++;
    *out_name_end = at;
    while (is_blank(text, at) || (at < text.len && text.at[at] == '\0'))
        at++;
    bool is_field = *out_name_end > begin && at < text.len && text.at[at] == ':';
    return is_field ? at : all;
}

/* Equal without regard to case and NUL; a prefix only for names[] that end in a hyphen. */
static bool name_is(struct bytes name, const char *expected)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] == '\0')
            continue;
        if (ascii_lower(name.at[i]) != ascii_lower((uint8_t)*expected))
            return *expected == '\0' && expected[-1] == '-';
        expected++;
    }
    return *expected == '\0';
}

static enum header_name classify_name(struct bytes name)
{
    for (unsigned id = HEADER_NAME_OTHER + 1; id < HEADER_NAMES; id++)
        if (name_is(name, names[id]))
            return (enum header_name)id;
    return HEADER_NAME_OTHER;
}

struct header_field header_field_at(struct bytes text, size_t at)
{
    struct header_field field = {.line = HEADER_END, .offset = at};
    if (at >= text.len)
        return field;
    size_t end = header_line_end(text, at);
    size_t begin = skip_nul(text, at);
    size_t name_end;
    field.line = is_line_end(text, begin) ? HEADER_EMPTY : HEADER_OTHER;
    field.len = end - at;
    if (field.line == HEADER_EMPTY)
        return field;
    size_t colon = find_colon(bytes_first(text, end), begin, &name_end);
    if (colon == end)
        return field;
    size_t last = at; /* where the last of its lines begins */
    while (is_blank(text, skip_nul(text, end))) {
        last = end;
        end = header_line_end(text, end);
    }
    last = find_line_end(text, last);
    field.line = HEADER_FIELD;
    field.len = end - at;
    field.name = bytes_make(text.at + begin, name_end - begin);
    field.name_id = classify_name(field.name);
    field.body = bytes_make(text.at + colon + 1, last - colon - 1);
    return field;
}

/* Not strftime(), which writes names of the locale's language. */
void header_date_append(struct buffer *out, int64_t wall_ms)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = {.tm_mday = 1};
    time_t seconds = (time_t)(wall_ms / 1000);
    (void)gmtime_r(&seconds, &tm);
    buffer_printf(out, "%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday], tm.tm_mday,
                  months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
