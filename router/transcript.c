/* Lines with relative time and direction into a bounded buffer.
 * It does not open files, and it does not know SMTP beyond where secrets stand. */
#include "router/transcript.h"

#include "base/memory.h"
#include "router/json_line.h"

#include <inttypes.h>
#include <stdio.h>

void transcript_init(struct transcript *transcript, const char *title, int64_t wall_us,
                     int64_t now_us)
{
    char time[WALL_TIME_LEN + 1];
    *transcript = (struct transcript){.started_us = now_us};
    buffer_init(&transcript->text, TRANSCRIPT_MAX);
    wall_time_format(wall_us, time);
    buffer_printf(&transcript->text, "--- %s %.300s\n", time, title);
}

/* Printable UTF-8 only: a peer must not draw on the terminal of who reads this. */
static void put_printable(struct buffer *out, struct bytes line)
{
    struct bytes shown = bytes_first(line, TRANSCRIPT_LINE_MAX);
    for (size_t pos = 0; pos < shown.len;) {
        uint8_t c = shown.at[pos];
        size_t len = utf8_char_len(bytes_from(shown, pos));
        /* C1 controls, U+0080 to U+009F, are two octets that begin with C2. */
        bool is_control =
            c < 0x20 || c == 0x7f || (len == 2 && c == 0xc2 && shown.at[pos + 1] < 0xa0);
        if (len == 0 || is_control)
            buffer_append_byte(out, '?');
        else
            buffer_append(out, shown.at + pos, len);
        pos += len ? len : 1;
    }
    if (line.len > shown.len)
        buffer_printf(out, " [%zu octets cut]", line.len - shown.len);
}

static void put_stamp(struct transcript *transcript, int64_t now_us, char mark)
{
    int64_t elapsed_us = now_us - transcript->started_us;
    elapsed_us = elapsed_us < 0 ? 0 : elapsed_us;
    buffer_printf(&transcript->text, "%4" PRId64 ".%06" PRId64 " %c ", elapsed_us / 1000000,
                  elapsed_us % 1000000, mark);
}

static bool has_room(struct transcript *transcript, size_t reserve)
{
    /* Masking never makes a line longer; stamp and words about the cut take less than 100. */
    size_t needed = TRANSCRIPT_LINE_MAX + 100 + reserve;
    if (transcript->num_dropped == 0 || reserve == 0)
        if (transcript->text.len + needed <= TRANSCRIPT_MAX)
            return true;
    transcript->num_dropped++;
    return false;
}

/* "AUTH PLAIN ****": the mechanism is no secret. */
static struct bytes public_part(struct transcript *transcript, char direction, struct bytes line)
{
    struct bytes shown = line;
    if (direction == '<') {
        transcript->secret_next = bytes_starts_nocase(line, "334");
    } else if (transcript->secret_next) {
        transcript->secret_next = false;
        shown.len = 0;
    } else if (bytes_starts_nocase(line, "AUTH ")) {
        size_t mechanism = bytes_find(bytes_from(line, strlen("AUTH ")), ' ');
        shown = bytes_first(line, strlen("AUTH ") + mechanism + 1);
    }
    return shown;
}

void transcript_line(struct transcript *transcript, int64_t now_us, char direction,
                     struct bytes line)
{
    struct bytes shown = public_part(transcript, direction, line);
    if (!has_room(transcript, TRANSCRIPT_NOTES_RESERVE))
        return;
    put_stamp(transcript, now_us, direction);
    put_printable(&transcript->text, shown);
    buffer_append_str(&transcript->text, shown.len < line.len ? "****\n" : "\n");
}

void transcript_note(struct transcript *transcript, int64_t now_us, const char *format, ...)
{
    char text[TRANSCRIPT_LINE_MAX];
    va_list args;
    if (!has_room(transcript, 0))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_stamp(transcript, now_us, '*');
    put_printable(&transcript->text, bytes_of(text));
    buffer_append_byte(&transcript->text, '\n');
}

void transcript_finish(struct transcript *transcript, struct log_file *file)
{
    if (transcript->num_dropped)
        buffer_printf(&transcript->text, "    [cut at 64 KiB: %" PRIu64 " lines left out]\n",
                      transcript->num_dropped);
    if (file)
        log_file_write(file, buffer_bytes(&transcript->text));
    buffer_fini(&transcript->text);
    *transcript = (struct transcript){0};
}

char *transcript_path(const struct config *config)
{
    const char *log_file = config->log.file;
    if (*config->log.transcript_file)
        return mem_strdup(config->log.transcript_file);
    if (*log_file && strcmp(log_file, "-") != 0)
        return mem_printf("%s.transcript", log_file);
    return mem_printf("%s/transcript.log", config->spool);
}
