/* Reads the envelope of a dropped file: the block on top, the header section, what is cut.
 * Options are read in envelope_option.c, senders and recipients of headers in envelope_header.c. */
#include "queue/envelope.h"

#include "base/memory.h"
#include "queue/envelope_parser.h"
#include "queue/utf8.h"

#include <stdio.h>

enum { PRIORITY_DEFAULT = 5 };

/* The X- block. Without one all three are where the header section begins. */
struct block {
    size_t begin;      /* behind an mbox "From " line */
    size_t fields_end; /* behind its last field */
    size_t end;        /* behind an empty line of its own, too */
};

void envelope_fini(struct envelope *envelope)
{
    address_fini(&envelope->sender);
    address_list_fini(&envelope->recipients);
    free(envelope->tag);
    free(envelope->via);
    free(envelope->envid);
    free(envelope->cuts);
    *envelope = (struct envelope){0};
}

bool envelope_fail(struct envelope_parser *parser, size_t offset, const char *name, const char *why)
{
    unsigned long line = 1;
    for (size_t at = 0; at < offset; line++)
        at = header_line_end(parser->head, at);
    snprintf(parser->why, ENVELOPE_WHY_MAX, "line %lu: %s%s%s", line, name ? name : "",
             name ? ": " : "", why);
    return false;
}

static bool is_mbox_line(struct bytes head, size_t at)
{
    struct bytes rest = bytes_from(head, at);
    return rest.len >= 5 && memcmp(rest.at, "From ", 5) == 0;
}

static bool is_block_field(const struct header_field *field)
{
    return field->line == HEADER_FIELD &&
           (field->name_id == HEADER_NAME_X_SENDER || field->name_id == HEADER_NAME_X_RECEIVER ||
            field->name_id == HEADER_NAME_X_SLUICE);
}

/* An empty line behind the block is the block's own if a field comes next; otherwise it ends a
 * header section that has no fields. */
static struct block find_block(struct bytes head)
{
    struct block block = {.begin = is_mbox_line(head, 0) ? header_line_end(head, 0) : 0};
    struct header_field field = header_field_at(head, block.begin);
    for (; is_block_field(&field); field = header_field_at(head, field.offset + field.len))
        ;
    block.fields_end = block.end = field.offset;
    if (field.line == HEADER_EMPTY && block.fields_end > block.begin) {
        size_t next = field.offset + field.len;
        if (header_field_at(head, next).line == HEADER_FIELD || is_mbox_line(head, next))
            block.end = next;
    }
    return block;
}

static void add_cut(struct envelope_parser *parser, size_t begin, size_t end)
{
    struct envelope *out = parser->out;
    struct envelope_cut *last = out->num_cuts ? &out->cuts[out->num_cuts - 1] : NULL;
    if (begin == end)
        return;
    if (last && last->offset + last->len == begin) {
        last->len += end - begin;
        return;
    }
    if (out->num_cuts == parser->cap_cuts) {
        parser->cap_cuts = parser->cap_cuts ? 2 * parser->cap_cuts : 2;
        out->cuts = mem_realloc(out->cuts, parser->cap_cuts, sizeof *out->cuts);
    }
    out->cuts[out->num_cuts++] = (struct envelope_cut){begin, end - begin};
}

static bool read_receiver(struct envelope_parser *parser, const struct header_field *field)
{
    const char *why;
    struct address_list *list = &parser->out->recipients;
    struct address address;
    struct bytes path = field->body, parameters;
    envelope_split_parameters(&path, &parameters);
    if (list->num >= parser->max_recipients)
        return envelope_fail(parser, field->offset, NULL, "too many recipients");
    if (!address_parse_path(path, false, &address, &why))
        return envelope_fail(parser, field->offset, "X-Receiver", why);
    why = envelope_read_parameters(parameters, &address);
    if (why) {
        address_fini(&address);
        return envelope_fail(parser, field->offset, "X-Receiver", why);
    }
    if (list->num == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 1;
        list->items = mem_realloc(list->items, list->cap, sizeof *list->items);
    }
    list->items[list->num++] = address;
    return true;
}

static bool read_sender(struct envelope_parser *parser, const struct header_field *field)
{
    const char *why;
    if (parser->has_sender)
        return envelope_fail(parser, field->offset, NULL, "a second X-Sender");
    if (!address_parse_path(field->body, true, &parser->out->sender, &why))
        return envelope_fail(parser, field->offset, "X-Sender", why);
    parser->has_sender = true;
    return true;
}

static bool read_block(struct envelope_parser *parser, const struct block *block)
{
    size_t at = block->begin;
    while (at < block->fields_end) {
        struct header_field field = header_field_at(parser->head, at);
        bool ok = field.name_id == HEADER_NAME_X_SENDER     ? read_sender(parser, &field)
                  : field.name_id == HEADER_NAME_X_RECEIVER ? read_receiver(parser, &field)
                                                            : envelope_read_option(parser, &field);
        if (!ok)
            return false;
        at += field.len;
    }
    bool has_receiver = parser->out->recipients.num > 0;
    if (parser->has_sender != has_receiver)
        return envelope_fail(parser, block->begin, NULL,
                             has_receiver ? "X-Receiver without X-Sender"
                                          : "X-Sender without X-Receiver");
    parser->out->is_explicit = has_receiver;
    return true;
}

static bool is_address_field(enum header_name name)
{
    return name >= HEADER_NAME_TO && name <= HEADER_NAME_RESENT_MESSAGE_ID;
}

static bool keep_field(struct envelope_parser *parser, const struct header_field *field)
{
    if (parser->num_fields == ENVELOPE_FIELDS_MAX)
        return envelope_fail(parser, field->offset, NULL, "too many address fields");
    if (parser->num_fields == parser->cap_fields) {
        parser->cap_fields = parser->cap_fields ? 2 * parser->cap_fields : 8;
        parser->fields = mem_realloc(parser->fields, parser->cap_fields, sizeof *parser->fields);
    }
    parser->fields[parser->num_fields++] = (struct envelope_field){
        field->name_id, field->offset, field->offset + field->len, field->body};
    return true;
}

static bool is_secret(enum header_name name)
{
    return name == HEADER_NAME_BCC || name == HEADER_NAME_RESENT_BCC ||
           name == HEADER_NAME_RETURN_PATH;
}

/* RFC 6532 header fields need SMTPUTF8; octets in a legacy charset do not become better by it. */
static bool is_utf8(struct bytes head, const struct header_field *field)
{
    struct bytes text = bytes_first(bytes_from(head, field->offset), field->len);
    return utf8_has_high_bit(text) && utf8_is_valid(text);
}

static bool read_field(struct envelope_parser *parser, const struct header_field *field)
{
    struct envelope *out = parser->out;
    if (is_secret(field->name_id))
        add_cut(parser, field->offset, field->offset + field->len);
    else if (!out->needs_utf8)
        out->needs_utf8 = is_utf8(parser->head, field);
    out->has_date |=
        field->name_id == HEADER_NAME_DATE || field->name_id == HEADER_NAME_RESENT_DATE;
    out->has_message_id |= field->name_id == HEADER_NAME_MESSAGE_ID;
    out->num_received += field->name_id == HEADER_NAME_RECEIVED;
    if (out->is_explicit || !is_address_field(field->name_id))
        return true;
    return keep_field(parser, field);
}

/* RFC 8689 3: "No" is the only value, and more than one field must not be. What weakens protection
 * counts only as it is written there, above any line that makes doubtful where the header ends. */
static void read_tls_required(struct envelope_parser *parser, const struct header_field *field)
{
    bool says_no = bytes_equal_nocase(bytes_trim(field->body), bytes_of("No"));
    parser->num_tls_required++;
    parser->out->tls_optional = says_no && parser->num_tls_required == 1;
}

/* mbox's way to quote a "From " line, which some tools leave at the top of a header section. */
static bool is_quoted_mbox_line(struct bytes head, size_t at)
{
    return at < head.len && head.at[at] == '>' && is_mbox_line(head, at + 1);
}

/* From begin to the first empty line. A line that is no field makes doubtful what is below it: part
 * of the header section for some receivers, of the body for others. So below it Bcc is still cut,
 * and no recipient is taken from there. */
static bool read_header(struct envelope_parser *parser, size_t begin)
{
    struct envelope *out = parser->out;
    size_t other_at = SIZE_MAX;
    bool has_field = false; /* one that is sent, above any line that is none */
    struct header_field field = header_field_at(parser->head, begin);
    if (!out->is_explicit && field.line != HEADER_FIELD)
        return envelope_fail(parser, begin, NULL, "no header section, so no recipients");
    for (; field.line != HEADER_EMPTY && field.line != HEADER_END;
         field = header_field_at(parser->head, field.offset + field.len)) {
        if (field.line == HEADER_OTHER && other_at == SIZE_MAX)
            other_at = field.offset;
        if (field.line == HEADER_OTHER)
            continue;
        if (other_at != SIZE_MAX && !out->is_explicit && is_address_field(field.name_id))
            return envelope_fail(parser, other_at, NULL,
                                 "no header field, but address fields follow it");
        has_field |= other_at == SIZE_MAX && !is_secret(field.name_id);
        if (field.name_id == HEADER_NAME_TLS_REQUIRED && other_at == SIZE_MAX)
            read_tls_required(parser, &field);
        if (!read_field(parser, &field))
            return false;
    }
    bool has_end = field.line == HEADER_EMPTY;
    bool has_other = other_at != SIZE_MAX;
    out->lacks_header =
        !has_field && (has_other ? !is_quoted_mbox_line(parser->head, other_at) : !has_end);
    out->header_end =
        has_other && (!has_end || out->lacks_header) ? other_at : field.offset + field.len;
    return true;
}

struct rank {
    const char *mailbox; /* borrowed */
    size_t index;
};

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    int order = strcmp(x->mailbox, y->mailbox);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* By sorting, not by hashing: whoever writes the recipients cannot make it slow. */
static void drop_duplicates(struct address_list *list)
{
    if (list->num < 2)
        return;
    struct rank *ranks = mem_alloc(list->num * sizeof *ranks);
    for (size_t i = 0; i < list->num; i++)
        ranks[i] = (struct rank){list->items[i].mailbox, i};
    qsort(ranks, list->num, sizeof *ranks, compare_ranks);
    size_t first = 0; /* rank of the one that stays */
    for (size_t i = 1; i < list->num; i++) {
        if (address_equal(&list->items[ranks[first].index], &list->items[ranks[i].index]))
            address_fini(&list->items[ranks[i].index]);
        else
            first = i;
    }
    size_t kept = 0;
    for (size_t i = 0; i < list->num; i++)
        if (list->items[i].mailbox)
            list->items[kept++] = list->items[i];
    list->num = kept;
    free(ranks);
}

static bool finish(struct envelope_parser *parser)
{
    struct envelope *out = parser->out;
    if (!out->is_explicit && !envelope_read_header_form(parser))
        return false;
    drop_duplicates(&out->recipients);
    out->needs_utf8 |= out->sender.needs_utf8;
    for (size_t i = 0; i < out->recipients.num; i++) {
        struct address *recipient = &out->recipients.items[i];
        out->needs_utf8 |= recipient->needs_utf8;
        if (!recipient->notify)
            recipient->notify = out->notify;
    }
    return true;
}

bool envelope_parse(struct bytes head, const struct envelope_limits *limits, struct envelope *out,
                    char out_why[ENVELOPE_WHY_MAX])
{
    struct envelope_parser parser = {
        .head = head, .max_recipients = limits->max_recipients, .out = out, .why = out_why};
    struct block block = find_block(head);
    *out = (struct envelope){.priority = PRIORITY_DEFAULT};
    out_why[0] = '\0';
    bool ok = block.fields_end == block.begin || read_block(&parser, &block);
    if (ok) {
        size_t begin = block.end;
        /* An mbox "From " line, before the block or behind it, is no part of the message. */
        if (begin > block.begin && is_mbox_line(head, begin))
            begin = header_line_end(head, begin);
        add_cut(&parser, 0, begin);
        ok = read_header(&parser, begin) && finish(&parser);
    }
    free(parser.fields);
    if (!ok)
        envelope_fini(out);
    return ok;
}

/* The line at offset at, behind an empty line of the X- block, is there as far as it takes to tell
 * whether it is a field. */
static bool is_decided(struct bytes head, size_t at)
{
    if (at >= head.len)
        return false;
    size_t end = header_line_end(head, at);
    return end < head.len || head.at[end - 1] == '\n' || end - at > HEADER_NAME_MAX;
}

static bool is_line_start(struct bytes head, size_t at)
{
    if (at == 0)
        return true;
    return head.at[at - 1] == '\n' ||
           (head.at[at - 1] == '\r' && at < head.len && head.at[at] != '\n');
}

/* The line that ends at `at` has its line end, to which no LF can be added: behind a CR there is
 * more than NUL. */
static bool is_complete(struct bytes head, size_t at)
{
    if (head.at[at - 1] == '\n')
        return true;
    while (at < head.len && head.at[at] == '\0')
        at++;
    return at < head.len;
}

size_t envelope_header_end(struct bytes head, size_t from)
{
    struct block block = find_block(head);
    bool has_block = block.fields_end > block.begin;
    /* The empty line that could not be judged last time may have begun earlier than `from`: up to
     * three octets and what NUL is among them, or before the incomplete line behind an X- block. */
    size_t at = from < head.len ? from : head.len;
    while (at > 0 && head.at[at - 1] == '\0')
        at--;
    at = at > 4 ? at - 4 : 0;
    if (has_block && at > block.fields_end &&
        !is_decided(bytes_first(head, from), header_line_end(head, block.fields_end)))
        at = block.fields_end;
    while (at < head.len) {
        bool is_empty = is_line_start(head, at) && (head.at[at] == '\r' || head.at[at] == '\n');
        bool is_blocks = is_empty && has_block && at == block.fields_end;
        at = header_line_end(head, at);
        if (!is_complete(head, at) || (is_blocks && !is_decided(head, at)))
            return 0;
        if (is_empty && !(is_blocks && block.end == at))
            return at;
    }
    return 0;
}
