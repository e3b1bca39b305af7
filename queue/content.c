/* Classifies content in one pass and counts its octets on the wire.
 * It alters nothing: content_reader.c does. */
#include "queue/content.h"

#include "base/check.h"
#include "queue/content_line.h"
#include "queue/utf8.h"

#include <stdlib.h>

void content_scan_init(struct content_scan *scan, const struct envelope *envelope,
                       enum content_long_lines long_lines)
{
    *scan = (struct content_scan){
        .cuts = envelope->cuts, .num_cuts = envelope->num_cuts, .long_lines = long_lines};
}

static void end_line(struct content_scan *scan)
{
    scan->class.wire_len += 2;
    scan->line_len = 0;
    scan->sequence_len = 0;
}

/* Octets of one line that cross its limit. */
static void scan_long(struct content_scan *scan, struct bytes text)
{
    scan->class.long_line = true;
    if (scan->long_lines == CONTENT_LONG_FOLD)
        scan->class.folded = true;
    while (scan->class.folded && scan->line_len + text.len > CONTENT_LINE_MAX) {
        struct bytes fits = bytes_first(text, CONTENT_LINE_MAX - (size_t)scan->line_len);
        unsigned sequence_len = content_sequence_len(scan->sequence_len, CONTENT_LINE_MAX, fits);
        text = bytes_from(text, fits.len);
        scan->line_len = 1 + content_fold_back(sequence_len, text.at[0]);
        scan->sequence_len = 0;
        scan->class.wire_len += CONTENT_FOLD_LEN;
    }
    scan->line_len += text.len;
    scan->sequence_len = content_sequence_len(scan->sequence_len, scan->line_len, text);
}

/* Octets without CR, LF and NUL. */
static void scan_text(struct content_scan *scan, struct bytes text)
{
    if (text.len == 0)
        return;
    scan->class.bare_cr |= scan->last_was_cr;
    scan->last_was_cr = false;
    scan->class.leading_dot |= scan->line_len == 0 && text.at[0] == '.';
    scan->class.wire_len += text.len;
    if (scan->line_len + text.len > CONTENT_LINE_MAX) {
        scan_long(scan, text);
        return;
    }
    scan->line_len += text.len;
    scan->sequence_len = content_sequence_len(scan->sequence_len, scan->line_len, text);
}

/* Octets without LF and NUL. */
static void scan_segment(struct content_scan *scan, struct bytes segment)
{
    for (;;) {
        size_t cr = bytes_find(segment, '\r');
        scan_text(scan, bytes_first(segment, cr));
        if (cr == segment.len)
            return;
        scan->class.bare_cr |= scan->last_was_cr;
        scan->last_was_cr = true;
        end_line(scan);
        segment = bytes_from(segment, cr + 1);
    }
}

/* Octets without NUL: memchr() finds line ends faster than a loop over octets looks at them. */
static void scan_lines(struct content_scan *scan, struct bytes run)
{
    for (;;) {
        size_t lf = bytes_find(run, '\n');
        scan_segment(scan, bytes_first(run, lf));
        if (lf == run.len)
            return;
        if (!scan->last_was_cr) {
            scan->class.bare_lf = true;
            end_line(scan);
        }
        scan->last_was_cr = false;
        run = bytes_from(run, lf + 1);
    }
}

static void scan_run(struct content_scan *scan, struct bytes run)
{
    scan->class.eight_bit = scan->class.eight_bit || utf8_has_high_bit(run);
    for (;;) {
        size_t nul = bytes_find(run, '\0');
        scan_lines(scan, bytes_first(run, nul));
        if (nul == run.len)
            return;
        scan->class.has_nul = true;
        run = bytes_from(run, nul + 1);
    }
}

/* A cut stands between whole lines: a CR before it and an LF behind it are two line ends. */
static void end_run(struct content_scan *scan)
{
    scan->class.bare_cr |= scan->last_was_cr;
    scan->last_was_cr = false;
}

void content_scan_feed(struct content_scan *scan, struct bytes part)
{
    while (part.len) {
        const struct envelope_cut *cut =
            scan->next_cut < scan->num_cuts ? &scan->cuts[scan->next_cut] : NULL;
        uint64_t ahead = cut && cut->offset > scan->offset ? cut->offset - scan->offset : 0;
        size_t len = part.len;
        if (!cut || ahead) {
            len = cut && ahead < len ? (size_t)ahead : len;
            scan_run(scan, bytes_first(part, len));
        } else {
            uint64_t rest = cut->offset + cut->len - scan->offset;
            len = rest < len ? (size_t)rest : len;
            end_run(scan);
            scan->next_cut += len == rest;
        }
        scan->offset += len;
        part = bytes_from(part, len);
    }
}

struct content_class content_scan_end(struct content_scan *scan, size_t prefix_len)
{
    end_run(scan);
    if (scan->line_len) {
        scan->class.no_final_eol = true;
        end_line(scan);
    }
    scan->class.wire_len += prefix_len;
    return scan->class;
}

bool content_is_unaltered(const struct content_class *class)
{
    return !class->bare_lf && !class->bare_cr && !class->has_nul && !class->folded &&
           !class->no_final_eol;
}

void content_drop_file(struct content *content)
{
    free((void *)(uintptr_t)content->file.at);
    content->file = (struct bytes){0};
}

void content_fini(struct content *content)
{
    free((void *)(uintptr_t)content->prefix.at);
    content_drop_file(content);
    *content = (struct content){0};
}
