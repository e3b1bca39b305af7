/* A message's content: classified once at pickup, sent as wire bytes by a pull iterator.
 *
 * Rules (docs/spool.md): line ends become CRLF, a bare CR too; NUL is removed; a missing final line
 * end is added; lines over 998 octets are folded, sent or bounced by configuration; leading dots
 * are doubled for DATA framing. The clean case is handed out from the memory it was read into,
 * without a copy.
 *
 * struct content is immutable after content_classify() and may be read by any thread. A reader
 * belongs to one thread. */
#ifndef SLUICE_QUEUE_CONTENT_H
#define SLUICE_QUEUE_CONTENT_H

#include "queue/envelope.h"

enum { CONTENT_LINE_MAX = 998 }; /* octets without CRLF, RFC 5322 2.1.1 */

enum content_long_lines { CONTENT_LONG_FOLD, CONTENT_LONG_SEND, CONTENT_LONG_BOUNCE };

/* What the scan found in the part of the file that is sent (cuts excluded). */
struct content_class {
    bool bare_lf;
    bool bare_cr;
    bool has_nul;
    bool eight_bit;
    bool leading_dot;
    bool long_line;
    bool no_final_eol;
    bool folded;       /* a long line is folded (long_line and CONTENT_LONG_FOLD) */
    uint64_t wire_len; /* octets after all rules but dot-stuffing, prefix included: for SIZE= */
};

struct content {
    struct bytes prefix; /* owned: trace fields and what we add on top, CRLF lines */
    struct bytes file; /* owned copy of the whole file; at == NULL when it is streamed from an fd */
    uint64_t file_len; /* octets of the file */
    const struct envelope_cut *cuts; /* borrowed from the message's envelope */
    size_t num_cuts;
    enum content_long_lines long_lines;
    struct content_class class;
};

/* Incremental scan, so that a large file needs no memory: feed the file from its first to its last
 * octet. */
struct content_scan {
    struct content_class class;
    const struct envelope_cut *cuts; /* borrowed */
    size_t num_cuts;
    size_t next_cut;
    uint64_t offset;       /* of the next octet to be fed */
    uint64_t line_len;     /* octets of the current line on the wire */
    unsigned sequence_len; /* octets of the UTF-8 sequence under way at its end; 0: none */
    bool last_was_cr;
    enum content_long_lines long_lines;
};

void content_scan_init(struct content_scan *scan, const struct envelope *envelope,
                       enum content_long_lines long_lines);
void content_scan_feed(struct content_scan *scan, struct bytes part);
/* Ends the scan: closes the last line. prefix_len is added to wire_len. */
struct content_class content_scan_end(struct content_scan *scan, size_t prefix_len);

/* No rule but dot-stuffing alters a single octet: what the log calls "unaltered". */
bool content_is_unaltered(const struct content_class *class);
/* Its octets in memory, if there are any: from then on they are read from the file. */
void content_drop_file(struct content *content);
void content_fini(struct content *content);

enum content_framing {
    CONTENT_DATA, /* dot-stuffed; the caller sends the final ".\r\n" (content always ends with CRLF)
                   */
    CONTENT_CHUNKS /* as it is, for BDAT */
};
enum content_status {
    CONTENT_MORE,
    CONTENT_END,
    CONTENT_FAILED /* read error, or the file is shorter or longer than when it was classified;
                      errno says */
};

struct content_reader {
    const struct content *content; /* borrowed */
    enum content_framing framing;
    int fd;          /* borrowed; -1 when content->file holds all */
    uint64_t offset; /* next octet of the file */
    size_t next_cut;
    bool prefix_done;
    bool end_checked; /* the file has no octet behind file_len */
    bool last_was_cr;
    uint64_t line_len;     /* octets of the current line on the wire; 0: at a line's start */
    unsigned sequence_len; /* as in struct content_scan */
    struct bytes window;   /* what is there and not yet consumed: inside raw or content->file */
    uint8_t *raw;          /* owned, CONTENT_WINDOW octets; only for fd */
    struct buffer encoded; /* owned: for what has to be altered */
    size_t num_handed_out; /* octets of encoded that the caller has */
};
enum { CONTENT_WINDOW = 64 * 1024 };

void content_reader_init(struct content_reader *reader, const struct content *content,
                         enum content_framing framing, int fd);
/* The next run of wire bytes, borrowed until the next call. With CONTENT_MORE *out is not empty. A
 * file whose length has changed fails with ESTALE, before the last of its octets are followed by
 * CONTENT_END; content that is as long as before but not the same is framed safely all the same. */
enum content_status content_reader_next(struct content_reader *reader, struct bytes *out)
    __attribute__((warn_unused_result));
void content_reader_fini(struct content_reader *reader);

#endif
