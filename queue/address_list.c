/* Lists of addresses as header fields have them: RFC 5322 3.4 with the obsolete forms of 4.4.
 * What stands between the separators is read by address.c. */
#include "base/memory.h"
#include "queue/address_scan.h"

struct parser {
    struct address_scanner scanner;
    struct address_list *list; /* borrowed */
    size_t most;               /* list->num must not exceed it */
    unsigned group_depth;
    size_t group_begin; /* list->num when the outermost open group began */
};

void address_list_init(struct address_list *list)
{
    *list = (struct address_list){0};
}

void address_list_fini(struct address_list *list)
{
    for (size_t i = 0; i < list->num; i++)
        address_fini(&list->items[i]);
    free(list->items);
    *list = (struct address_list){0};
}

static bool fail(struct parser *parser, const char *why)
{
    if (!parser->scanner.why)
        parser->scanner.why = why;
    return false;
}

/* Takes the address over, also when it fails. */
static bool add(struct parser *parser, struct address *address)
{
    struct address_list *list = parser->list;
    if (list->num >= parser->most) {
        address_fini(address);
        return fail(parser, "too many addresses");
    }
    if (list->num == list->cap) {
        list->cap = list->cap ? 2 * list->cap : 4;
        list->items = mem_realloc(list->items, list->cap, sizeof *list->items);
    }
    list->items[list->num++] = *address;
    return true;
}

/* What may stand before "<", ":" or a separator: a phrase, or an addr-spec not yet looked at.
 * People leave dots, "@" and brackets unquoted in display names: "John Q. Public <j@example.com>",
 * "j@example.com <j@example.com>". The address is in the brackets all the same. */
static bool is_run_token(enum address_token_kind kind)
{
    return kind == ADDRESS_TOKEN_ATOM || kind == ADDRESS_TOKEN_QUOTED ||
           kind == ADDRESS_TOKEN_LITERAL || kind == ADDRESS_TOKEN_DOT || kind == ADDRESS_TOKEN_AT;
}

static bool begin_group(struct parser *parser, bool is_phrase)
{
    if (!is_phrase)
        return fail(parser, "a \":\" in the wrong place");
    if (parser->group_depth == ADDRESS_GROUP_DEPTH_MAX)
        return fail(parser, "groups nested too deeply");
    if (parser->group_depth++ == 0)
        parser->group_begin = parser->list->num;
    return true;
}

/* A group that is not closed is accepted when it is empty, as in "undisclosed-recipients:"; with
 * members it may be something else ("Re: x <a@b>"). */
static bool end_list(struct parser *parser)
{
    if (parser->group_depth && parser->list->num > parser->group_begin)
        return fail(parser, "a group that is not closed by \";\"");
    return true;
}

static bool is_separator(enum address_token_kind kind)
{
    return kind == ADDRESS_TOKEN_COMMA || kind == ADDRESS_TOKEN_SEMICOLON ||
           kind == ADDRESS_TOKEN_END;
}

static bool parse_angle(struct parser *parser, struct address_token *out_next)
{
    struct address address;
    struct address_token first = address_scanner_next(&parser->scanner);
    if (first.kind == ADDRESS_TOKEN_CLOSE)
        return fail(parser, "an empty address <>");
    if (!address_parse_angle(&parser->scanner, first, &address))
        return false;
    *out_next = address_scanner_next(&parser->scanner);
    return add(parser, &address);
}

/* The element from begin on is not followed by "<": so it is the address itself. */
static bool parse_bare(struct parser *parser, struct address_scanner begin,
                       struct address_token *out_next)
{
    struct address address;
    parser->scanner = begin;
    struct address_token first = address_scanner_next(&parser->scanner);
    if (!address_parse_addr_spec(&parser->scanner, first, &address, out_next))
        return false;
    return add(parser, &address);
}

/* One element and the separator behind it, which *out_end reports. */
static bool parse_element(struct parser *parser, enum address_token_kind *out_end)
{
    struct address_scanner begin = parser->scanner;
    struct address_token token = address_scanner_next(&parser->scanner);
    size_t run = 0;
    bool is_phrase = true, ok = true;
    for (; is_run_token(token.kind); run++) {
        is_phrase &= token.kind != ADDRESS_TOKEN_AT && token.kind != ADDRESS_TOKEN_LITERAL;
        token = address_scanner_next(&parser->scanner);
    }
    if (token.kind == ADDRESS_TOKEN_COLON) {
        *out_end = token.kind;
        return begin_group(parser, run > 0 && is_phrase);
    }
    if (token.kind == ADDRESS_TOKEN_OPEN)
        ok = parse_angle(parser, &token);
    else if (run && is_separator(token.kind))
        ok = parse_bare(parser, begin, &token);
    if (ok && !is_separator(token.kind))
        ok = fail(parser, "no comma where one is expected");
    *out_end = token.kind;
    return ok;
}

static bool parse_list(struct parser *parser)
{
    enum address_token_kind end;
    do {
        if (!parse_element(parser, &end))
            return false;
        /* Outside of groups ";" separates, too: some mail programs write lists so. */
        if (end == ADDRESS_TOKEN_SEMICOLON && parser->group_depth)
            parser->group_depth--;
    } while (end != ADDRESS_TOKEN_END);
    return end_list(parser);
}

bool address_parse_list(struct bytes body, size_t max, struct address_list *list,
                        const char **out_why)
{
    size_t before = list->num;
    struct parser parser = {.scanner = {.rest = body},
                            .list = list,
                            .most = max > SIZE_MAX - before ? SIZE_MAX : before + max};
    bool ok = parse_list(&parser);
    while (!ok && list->num > before)
        address_fini(&list->items[--list->num]);
    *out_why = parser.scanner.why;
    return ok;
}
