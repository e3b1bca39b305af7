/* One address: its grammar (RFC 5321 4.1.2, RFC 5322 3.4.1 and 4.4), its canonical form, its life.
 * Lists of addresses are in address_list.c, domains in address_domain.c. */
#include "queue/address.h"

#include "base/memory.h"
#include "queue/address_scan.h"
#include "queue/utf8.h"

/* What an addr-spec says, decoded, before it is put into canonical form. */
struct draft {
    char local[ADDRESS_MAILBOX_MAX]; /* without quotes and quoted pairs */
    size_t local_len;
    char domain[ADDRESS_DOMAIN_TEXT_MAX];
    size_t domain_len;
    bool is_literal;
};

void address_fini(struct address *address)
{
    free(address->mailbox);
    free(address->orcpt);
    *address = (struct address){0};
}

bool address_equal(const struct address *a, const struct address *b)
{
    return strcmp(a->mailbox, b->mailbox) == 0;
}

/* Does the local part hold as a Dot-string (RFC 5321 4.1.2, RFC 6531 3.3), without quotes? */
static bool is_dot_string(struct bytes local)
{
    bool after_dot = true;
    for (size_t i = 0; i < local.len; i++) {
        uint8_t c = local.at[i];
        if (c == '.' ? after_dot : c <= ' ' || strchr("()<>[]:;@\\,\"", c) != NULL)
            return false;
        after_dot = c == '.';
    }
    return !after_dot;
}

/* No octet that could end or distort a command line ever gets into a mailbox. */
static const char *check_local(struct bytes local)
{
    for (size_t i = 0; i < local.len; i++) {
        uint8_t c = local.at[i];
        if (c < ' ' || c == 127)
            return "a control character in the part before the @";
        if (c == 0xC2 && i + 1 < local.len && local.at[i + 1] < 0xA0)
            return "a control character in the part before the @"; /* C1, U+0080 to U+009F */
    }
    return utf8_is_valid(local) ? NULL : "a part before the @ that is not valid UTF-8";
}

static void append_local(struct buffer *out, struct bytes local)
{
    bool quote = !is_dot_string(local);
    if (quote)
        buffer_append_byte(out, '"');
    for (size_t i = 0; i < local.len; i++) {
        if (quote && (local.at[i] == '"' || local.at[i] == '\\'))
            buffer_append_byte(out, '\\');
        buffer_append_byte(out, local.at[i]);
    }
    if (quote)
        buffer_append_byte(out, '"');
}

static const char *draft_finish(const struct draft *draft, struct address *out)
{
    char domain[ADDRESS_DOMAIN_MAX + 1];
    struct bytes local = bytes_make(draft->local, draft->local_len);
    struct bytes text = bytes_make(draft->domain, draft->domain_len);
    const char *why = check_local(local);
    if (!why)
        why = draft->is_literal ? address_literal_canonical(text, domain)
                                : address_domain_canonical(text, domain);
    if (why)
        return why;
    struct buffer mailbox;
    buffer_init(&mailbox, ADDRESS_MAILBOX_MAX + 1);
    append_local(&mailbox, local);
    buffer_append_byte(&mailbox, '@');
    size_t domain_at = mailbox.len;
    if (!buffer_append(&mailbox, domain, strlen(domain) + 1)) {
        buffer_fini(&mailbox);
        return "an address over 254 octets";
    }
    *out = (struct address){.mailbox = (char *)mailbox.at,
                            .domain = (char *)mailbox.at + domain_at,
                            .is_literal = draft->is_literal,
                            .needs_utf8 = utf8_has_high_bit(local)};
    return NULL;
}

static bool fail(struct address_scanner *scanner, const char *why)
{
    if (!scanner->why)
        scanner->why = why;
    return false;
}

static bool append(char *to, size_t *len, size_t max, uint8_t c)
{
    if (*len == max)
        return false;
    to[(*len)++] = (char)c;
    return true;
}

/* A fold inside a quoted string is only its white space (RFC 5322 3.2.4). */
static bool append_word(struct draft *draft, struct address_token token)
{
    bool is_quoted = token.kind == ADDRESS_TOKEN_QUOTED;
    for (size_t i = 0; i < token.text.len; i++) {
        uint8_t c = token.text.at[i];
        if (is_quoted && (c == '\r' || c == '\n'))
            continue;
        if (is_quoted && c == '\\' && i + 1 < token.text.len)
            c = token.text.at[++i];
        if (!append(draft->local, &draft->local_len, sizeof draft->local, c))
            return false;
    }
    return true;
}

static bool is_word(struct address_token token)
{
    return token.kind == ADDRESS_TOKEN_ATOM || token.kind == ADDRESS_TOKEN_QUOTED;
}

/* Words and dots up to the "@". Dots in odd places (a..b@c, a.@c) exist at some receivers and pass
 * where nothing else is odd: they are quoted in the mailbox. */
static bool parse_local(struct address_scanner *scanner, struct address_token token,
                        struct draft *draft)
{
    bool after_word = false, has_word = false, odd_dots = false, spaced = false;
    for (bool first = true; is_word(token) || token.kind == ADDRESS_TOKEN_DOT; first = false) {
        bool word = is_word(token);
        if (word && after_word)
            return fail(scanner, "words that are no address");
        if (token.is_encoded_word) /* RFC 2047 5: never within an addr-spec */
            return fail(scanner, "an encoded word where an address is expected");
        if (word ? !append_word(draft, token)
                 : !append(draft->local, &draft->local_len, sizeof draft->local, '.'))
            return fail(scanner, "an address over 254 octets");
        spaced |= token.spaced && !first;
        odd_dots |= !word && !after_word;
        has_word |= word;
        after_word = word;
        token = address_scanner_next(scanner);
    }
    if (token.kind == ADDRESS_TOKEN_OPEN && has_word)
        return fail(scanner, "words that are no address");
    if (token.kind != ADDRESS_TOKEN_AT)
        return fail(scanner, has_word ? "no domain" : "no address where one is expected");
    if (!has_word)
        return fail(scanner, "no part before the @");
    if ((odd_dots || !after_word) && (spaced || token.spaced))
        return fail(scanner, "dots in the wrong place");
    return true;
}

static bool parse_domain(struct address_scanner *scanner, struct draft *draft,
                         struct address_token *out_next)
{
    struct address_token token = address_scanner_next(scanner);
    draft->is_literal = token.kind == ADDRESS_TOKEN_LITERAL;
    bool after_atom = false, fits = true;
    if (draft->is_literal) {
        for (size_t i = 0; fits && i < token.text.len; i++)
            fits =
                append(draft->domain, &draft->domain_len, sizeof draft->domain, token.text.at[i]);
        token = address_scanner_next(scanner);
    }
    while (!draft->is_literal && fits &&
           (token.kind == ADDRESS_TOKEN_DOT || token.kind == ADDRESS_TOKEN_ATOM)) {
        bool is_atom = token.kind == ADDRESS_TOKEN_ATOM;
        if (is_atom && after_atom)
            return fail(scanner, "words behind an address");
        struct bytes text = is_atom ? token.text : bytes_of(".");
        for (size_t i = 0; fits && i < text.len; i++)
            fits = append(draft->domain, &draft->domain_len, sizeof draft->domain, text.at[i]);
        after_atom = is_atom;
        token = address_scanner_next(scanner);
    }
    if (!fits)
        return fail(scanner, "a domain that is too long");
    if (!draft->is_literal && draft->domain_len == 0)
        return fail(scanner, "no domain");
    *out_next = token;
    return token.kind != ADDRESS_TOKEN_BAD;
}

bool address_parse_addr_spec(struct address_scanner *scanner, struct address_token first,
                             struct address *out, struct address_token *out_next)
{
    struct draft draft;
    draft.local_len = draft.domain_len = 0;
    if (!parse_local(scanner, first, &draft) || !parse_domain(scanner, &draft, out_next))
        return false;
    const char *why = draft_finish(&draft, out);
    return why ? fail(scanner, why) : true;
}

/* obs-route of RFC 5322 4.4, A-d-l of RFC 5321 4.1.2: read and dropped (RFC 5321 appendix C). */
static bool skip_route(struct address_scanner *scanner, struct address_token *token)
{
    bool has_domain = false;
    while (token->kind != ADDRESS_TOKEN_COLON) {
        bool belongs = token->kind == ADDRESS_TOKEN_AT || token->kind == ADDRESS_TOKEN_COMMA ||
                       token->kind == ADDRESS_TOKEN_DOT || token->kind == ADDRESS_TOKEN_ATOM ||
                       token->kind == ADDRESS_TOKEN_LITERAL;
        if (!belongs)
            return fail(scanner, "a source route that is not understood");
        has_domain |= token->kind == ADDRESS_TOKEN_ATOM || token->kind == ADDRESS_TOKEN_LITERAL;
        *token = address_scanner_next(scanner);
    }
    if (!has_domain)
        return fail(scanner, "a source route that is not understood");
    *token = address_scanner_next(scanner);
    return true;
}

bool address_parse_angle(struct address_scanner *scanner, struct address_token first,
                         struct address *out)
{
    struct address_token token = first;
    bool has_route = token.kind == ADDRESS_TOKEN_AT || token.kind == ADDRESS_TOKEN_COMMA;
    if (has_route && !skip_route(scanner, &token))
        return false;
    if (!address_parse_addr_spec(scanner, token, out, &token))
        return false;
    if (token.kind == ADDRESS_TOKEN_CLOSE)
        return true;
    address_fini(out);
    return fail(scanner, "no \">\" where one is expected");
}

static bool parse_path(struct address_scanner *scanner, bool null_allowed, struct address *out)
{
    struct address_token token = address_scanner_next(scanner);
    bool ok;
    if (token.kind != ADDRESS_TOKEN_OPEN) {
        ok = address_parse_addr_spec(scanner, token, out, &token);
    } else {
        token = address_scanner_next(scanner);
        ok = token.kind != ADDRESS_TOKEN_CLOSE && address_parse_angle(scanner, token, out);
        if (token.kind == ADDRESS_TOKEN_CLOSE) {
            ok = null_allowed || fail(scanner, "the null address <> in the wrong place");
            if (ok) {
                *out = (struct address){.mailbox = mem_strdup("")};
                out->domain = out->mailbox;
            }
        }
        if (ok)
            token = address_scanner_next(scanner);
    }
    if (ok && token.kind != ADDRESS_TOKEN_END) {
        address_fini(out);
        return fail(scanner, "more text behind the address");
    }
    return ok;
}

bool address_parse_path(struct bytes text, bool null_allowed, struct address *out,
                        const char **out_why)
{
    struct address_scanner scanner = {.rest = text};
    *out = (struct address){0};
    bool ok = parse_path(&scanner, null_allowed, out);
    *out_why = scanner.why;
    return ok;
}
