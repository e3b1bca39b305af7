/* Sender and recipients from header fields, as `sendmail -t`: RFC 5322 3.6.2, 3.6.3, 3.6.6.
 * It does not know the X- block. */
#include "base/memory.h"
#include "queue/envelope_parser.h"

enum { SENDERS_MAX = 100 /* mailboxes in one From, of which the first counts */ };

/* The fields [begin, end) of parser->fields; other fields may stand between them. */
struct range {
    size_t begin;
    size_t end;
};

static bool is_resent(enum header_name name)
{
    return name >= HEADER_NAME_RESENT_TO && name <= HEADER_NAME_RESENT_MESSAGE_ID;
}

static bool is_resent_recipient(enum header_name name)
{
    return name == HEADER_NAME_RESENT_TO || name == HEADER_NAME_RESENT_CC ||
           name == HEADER_NAME_RESENT_BCC;
}

static bool is_plain_recipient(enum header_name name)
{
    return name == HEADER_NAME_TO || name == HEADER_NAME_CC || name == HEADER_NAME_BCC;
}

static size_t count(const struct envelope_parser *parser, enum header_name name)
{
    size_t num = 0;
    for (size_t i = 0; i < parser->num_fields; i++)
        num += parser->fields[i].name == name;
    return num;
}

/* A message may have been resent more than once. Each time has fields of its own, grouped and on
 * top of the older ones (RFC 5322 3.6.6): only the newest recipients are meant. */
static bool is_resent_again(const struct envelope_parser *parser)
{
    return count(parser, HEADER_NAME_RESENT_FROM) > 1 ||
           count(parser, HEADER_NAME_RESENT_SENDER) > 1 ||
           count(parser, HEADER_NAME_RESENT_DATE) > 1 ||
           count(parser, HEADER_NAME_RESENT_MESSAGE_ID) > 1;
}

/* The newest of several groups: it ends where another field comes between or a name comes again. If
 * it is not complete there, nobody can tell what belongs to it. */
static bool find_newest(struct envelope_parser *parser, struct range *out)
{
    const struct envelope_field *fields = parser->fields;
    const uint32_t complete =
        UINT32_C(1) << HEADER_NAME_RESENT_FROM | UINT32_C(1) << HEADER_NAME_RESENT_DATE;
    uint32_t seen = 0;
    size_t i = 0;
    while (!is_resent(fields[i].name))
        i++;
    out->begin = i;
    do {
        seen |= UINT32_C(1) << fields[i].name;
        i++;
    } while (i < parser->num_fields && is_resent(fields[i].name) &&
             fields[i].offset == fields[i - 1].end && !(seen & UINT32_C(1) << fields[i].name));
    out->end = i;
    if ((seen & complete) == complete)
        return true;
    return envelope_fail(parser, fields[out->begin].offset, NULL,
                         "resent more than once, and not clear which Resent fields are the newest");
}

static bool read_recipients(struct envelope_parser *parser, struct range range,
                            bool (*is_recipient)(enum header_name))
{
    struct address_list *list = &parser->out->recipients;
    for (size_t i = range.begin; i < range.end; i++) {
        const struct envelope_field *field = &parser->fields[i];
        const char *why;
        if (is_recipient(field->name) &&
            !address_parse_list(field->body, parser->max_recipients - list->num, list, &why))
            return envelope_fail(parser, field->offset, header_name_text(field->name), why);
    }
    if (list->num)
        return true;
    memcpy(parser->why, "no recipients", sizeof "no recipients");
    return false;
}

/* The topmost field of that name, or NULL. */
static const struct envelope_field *find(const struct envelope_parser *parser, struct range range,
                                         enum header_name name)
{
    for (size_t i = range.begin; i < range.end; i++)
        if (parser->fields[i].name == name)
            return &parser->fields[i];
    return NULL;
}

static bool read_first_mailbox(struct envelope_parser *parser, const struct envelope_field *field)
{
    struct address_list list;
    const char *why = NULL;
    address_list_init(&list);
    bool ok = address_parse_list(field->body, SENDERS_MAX, &list, &why) && list.num > 0;
    if (ok) {
        parser->out->sender = list.items[0];
        list.items[0] = (struct address){0};
    }
    address_list_fini(&list);
    return ok || envelope_fail(parser, field->offset, header_name_text(field->name),
                               why ? why : "no address");
}

static bool read_return_path(struct envelope_parser *parser, const struct envelope_field *field)
{
    const char *why;
    return address_parse_path(field->body, true, &parser->out->sender, &why) ||
           envelope_fail(parser, field->offset, "Return-Path", why);
}

static bool read_sender(struct envelope_parser *parser, struct range all, struct range resent)
{
    const struct envelope_field *field = find(parser, all, HEADER_NAME_RETURN_PATH);
    if (field)
        return read_return_path(parser, field);
    field = find(parser, resent, HEADER_NAME_RESENT_SENDER);
    if (!field)
        field = find(parser, resent, HEADER_NAME_RESENT_FROM);
    if (!field)
        field = find(parser, all, HEADER_NAME_SENDER);
    if (!field)
        field = find(parser, all, HEADER_NAME_FROM);
    if (field)
        return read_first_mailbox(parser, field);
    memcpy(parser->why, "no sender", sizeof "no sender");
    return false;
}

bool envelope_read_header_form(struct envelope_parser *parser)
{
    struct range all = {0, parser->num_fields};
    struct range resent = all;
    bool has_resent = count(parser, HEADER_NAME_RESENT_TO) ||
                      count(parser, HEADER_NAME_RESENT_CC) || count(parser, HEADER_NAME_RESENT_BCC);
    if (has_resent && is_resent_again(parser) && !find_newest(parser, &resent))
        return false;
    return read_recipients(parser, has_resent ? resent : all,
                           has_resent ? is_resent_recipient : is_plain_recipient) &&
           read_sender(parser, all, resent);
}
