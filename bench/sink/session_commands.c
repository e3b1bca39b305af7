/* The commands: what is in order, what the personality refuses, and the replies.
 * It is strict where a client's mistake would pass unnoticed elsewhere. */
#include "base/memory.h"
#include "bench/sink/session_internal.h"

void session_reset(struct session *session)
{
    session->has_sender = false;
    session->wants_utf8 = false;
    session->chunked = false;
    session->num_recipients = 0;
    buffer_clear(&session->recipients);
    buffer_clear(&session->rcpt_lines);
    free(session->parameters);
    session->parameters = NULL;
    if (session->sink->store)
        store_file_abort(session->sink->store, &session->file);
}

static void refuse(struct session *session, const char *line)
{
    counters_add(session->counters, COUNT_BAD_COMMANDS, 1);
    if (++session->bad_commands < SESSION_BAD_COMMANDS_MAX) {
        session_reply(session, line);
        return;
    }
    session_reply(session, "421 4.7.0 Too many errors\r\n");
    session->want = SESSION_CLOSE;
}

/* Takes the next word (up to SP) off the front. */
static struct bytes take_word(struct bytes *text)
{
    while (text->len && *text->at == ' ')
        *text = bytes_from(*text, 1);
    struct bytes word = bytes_first(*text, bytes_find(*text, ' '));
    *text = bytes_from(*text, word.len);
    return word;
}

static bool has_8bit(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] >= 0x80)
            return true;
    }
    return false;
}

static bool has_control(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < 0x20 || text.at[i] == 0x7f)
            return true;
    }
    return false;
}

static bool take_helo(struct session *session, struct bytes argument)
{
    argument = bytes_trim(argument);
    if (argument.len == 0 || argument.len > SESSION_NAME_MAX) {
        refuse(session, "501 5.5.4 A host name is needed\r\n");
        return false;
    }
    session_reset(session);
    memcpy(session->helo, argument.at, argument.len);
    session->helo[argument.len] = '\0';
    session->greeted = true;
    return true;
}

static void on_helo(struct session *session, struct bytes argument)
{
    if (session->listener->personality->lmtp) {
        refuse(session, "500 5.5.1 This is LMTP: say LHLO\r\n");
        return;
    }
    if (!take_helo(session, argument))
        return;
    session->extended = false;
    buffer_printf(session->out, "250 %s\r\n", session->listener->personality->name);
}

static void greet_extended(struct session *session, struct bytes argument)
{
    const struct personality *p = session->listener->personality;
    if (!take_helo(session, argument))
        return;
    session->extended = true;
    buffer_printf(session->out, "250-%s\r\n", p->name);
    if (session->listener->tls && session->security == SESSION_PLAINTEXT && !p->wrapper)
        session_reply(session, "250-STARTTLS\r\n");
    if (!p->no_pipelining)
        session_reply(session, "250-PIPELINING\r\n");
    if (!p->no_8bitmime)
        session_reply(session, "250-8BITMIME\r\n");
    if (!p->no_utf8)
        session_reply(session, "250-SMTPUTF8\r\n");
    if (!p->no_chunking)
        session_reply(session, "250-CHUNKING\r\n");
    if (!p->no_dsn)
        session_reply(session, "250-DSN\r\n");
    if (p->size)
        buffer_printf(session->out, "250-SIZE %llu\r\n", (unsigned long long)p->size);
    session_reply(session, "250 ENHANCEDSTATUSCODES\r\n");
}

static void on_ehlo(struct session *session, struct bytes argument)
{
    const struct personality *p = session->listener->personality;
    if (p->lmtp)
        refuse(session, "500 5.5.1 This is LMTP: say LHLO\r\n");
    else if (p->no_ehlo)
        refuse(session, "500 5.5.1 Unknown command\r\n");
    else
        greet_extended(session, argument);
}

static void on_lhlo(struct session *session, struct bytes argument)
{
    if (session->listener->personality->lmtp)
        greet_extended(session, argument);
    else
        refuse(session, "500 5.5.1 This is SMTP: say EHLO\r\n");
}

static void on_starttls(struct session *session, struct bytes argument)
{
    if (argument.len || !session->listener->tls || session->security != SESSION_PLAINTEXT) {
        refuse(session, "502 5.5.1 No STARTTLS here\r\n");
        return;
    }
    /* Anything that came behind STARTTLS was injected or is a blunder: the connection is worth
     * nothing any more (RFC 3207 5). */
    session->want = session->more_follows ? SESSION_DROP : SESSION_TLS;
    session_reply(session, "220 2.0.0 Ready to start TLS\r\n");
}

/* "<path>" at the front, quoted local parts included. Leaves the parameters in *text. */
static bool take_path(struct bytes *text, struct bytes *out)
{
    bool quoted = false;
    if (text->len == 0 || *text->at != '<')
        return false;
    for (size_t i = 1; i < text->len; i++) {
        uint8_t c = text->at[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (c == '>' && !quoted) {
            *out = bytes_make(text->at + 1, i - 1);
            *text = bytes_from(*text, i + 1);
            return out->len <= SESSION_PATH_MAX && (text->len == 0 || *text->at == ' ');
        }
    }
    return false;
}

static const char *check_size(const struct session *session, struct bytes value)
{
    uint64_t size;
    const struct personality *p = session->listener->personality;
    if (!p->size || !bytes_to_u64(value, UINT64_MAX / 2, &size))
        return "501 5.5.4 Bad SIZE\r\n";
    return size > p->size ? "552 5.3.4 Message too big\r\n" : NULL;
}

/* NULL: fine. What was not advertised is refused (RFC 5321 4.1.1.11). */
static const char *check_mail_parameter(struct session *session, struct bytes word)
{
    const struct personality *p = session->listener->personality;
    if (bytes_starts_nocase(word, "SIZE="))
        return check_size(session, bytes_from(word, 5));
    if (bytes_equal_nocase(word, bytes_of("BODY=8BITMIME")) ||
        bytes_equal_nocase(word, bytes_of("BODY=7BIT")))
        return p->no_8bitmime ? "555 5.5.4 8BITMIME is not offered\r\n" : NULL;
    if (bytes_equal_nocase(word, bytes_of("SMTPUTF8"))) {
        session->wants_utf8 = true;
        return p->no_utf8 ? "555 5.5.4 SMTPUTF8 is not offered\r\n" : NULL;
    }
    if (bytes_starts_nocase(word, "RET=") || bytes_starts_nocase(word, "ENVID="))
        return p->no_dsn ? "555 5.5.4 DSN is not offered\r\n" : NULL;
    return "555 5.5.4 Unknown parameter\r\n";
}

static const char *check_mail_parameters(struct session *session, struct bytes text)
{
    struct bytes word;
    session->wants_utf8 = false;
    if (text.len && !session->extended)
        return "555 5.5.4 Parameters need EHLO\r\n";
    while ((word = take_word(&text)).len > 0) {
        const char *trouble = check_mail_parameter(session, word);
        if (trouble)
            return trouble;
    }
    return NULL;
}

static void begin_transaction(struct session *session, struct bytes path, struct bytes parameters)
{
    memcpy(session->sender, path.at, path.len);
    session->sender[path.len] = '\0';
    session->has_sender = true;
    if (session->sink->store)
        session->parameters = mem_strndup(parameters.at, parameters.len);
    if (!session->sent_mail && session->security == SESSION_PLAINTEXT)
        counters_add(session->counters, COUNT_PLAINTEXT_SESSIONS, 1);
    session->sent_mail = true;
    session_reply(session, "250 2.1.0 Ok\r\n");
}

static void on_mail(struct session *session, struct bytes argument)
{
    unsigned until_421 = session->listener->personality->messages_until_421;
    struct bytes path;
    if (until_421 && session->messages >= until_421) {
        session_reply(session, "421 4.3.2 Enough for this connection\r\n");
        session->want = SESSION_CLOSE;
        return;
    }
    if (!session->greeted || session->has_sender) {
        refuse(session, "503 5.5.1 MAIL is out of order\r\n");
        return;
    }
    if (!bytes_starts_nocase(argument, "FROM:")) {
        refuse(session, "501 5.5.4 MAIL FROM:<path>\r\n");
        return;
    }
    struct bytes text = bytes_from(argument, 5);
    if (!take_path(&text, &path)) {
        refuse(session, "501 5.1.7 Bad sender address\r\n");
        return;
    }
    text = bytes_trim(text);
    const char *trouble = check_mail_parameters(session, text);
    if (!trouble && has_8bit(path) && !session->wants_utf8)
        trouble = "553 5.6.7 A UTF-8 address needs SMTPUTF8\r\n";
    if (trouble)
        refuse(session, trouble);
    else
        begin_transaction(session, path, text);
}

static bool defers_attempt(struct session *session, struct bytes path)
{
    struct listener *listener = session->listener;
    uint8_t lower[SESSION_PATH_MAX];
    if (listener->personality->defer_first == 0)
        return false;
    for (size_t i = 0; i < path.len; i++)
        lower[i] = ascii_lower(path.at[i]);
    uint32_t before = tally_add(&listener->deferrals, bytes_hash(bytes_make(lower, path.len)));
    return before < listener->personality->defer_first; /* TALLY_FULL is above any such number */
}

/* What the personality has against a recipient; NULL: nothing. */
static const char *objection(struct session *session, struct bytes path)
{
    const struct personality *p = session->listener->personality;
    const struct personality_rule *rule = personality_rule_for(p, path);
    if (rule && rule->reject)
        return "550 5.1.1 No such user here\r\n";
    if (rule)
        return "451 4.2.1 Mailbox deferred by personality\r\n";
    if (session->num_recipients >= (p->limit ? p->limit : SESSION_RCPT_MAX) ||
        session->num_recipients >= SESSION_RCPT_MAX)
        return "452 4.5.3 Too many recipients\r\n";
    if (defers_attempt(session, path))
        return "451 4.7.1 Deferred at first, try again\r\n";
    return NULL;
}

static bool rcpt_parameters_fit(const struct session *session, struct bytes text)
{
    struct bytes word;
    while ((word = take_word(&text)).len > 0) {
        bool dsn = bytes_starts_nocase(word, "NOTIFY=") || bytes_starts_nocase(word, "ORCPT=");
        if (!dsn || session->listener->personality->no_dsn || !session->extended)
            return false;
    }
    return true;
}

static void on_rcpt(struct session *session, struct bytes argument)
{
    struct bytes path;
    if (!session->has_sender || session->chunked) {
        refuse(session, "503 5.5.1 RCPT is out of order\r\n");
        return;
    }
    struct bytes text = bytes_from(argument, 3);
    if (!bytes_starts_nocase(argument, "TO:") || !take_path(&text, &path) || path.len == 0) {
        refuse(session, "501 5.1.3 Bad recipient address\r\n");
        return;
    }
    if (!rcpt_parameters_fit(session, text)) {
        refuse(session, "555 5.5.4 Unknown parameter\r\n");
        return;
    }
    if (has_8bit(path) && !session->wants_utf8) {
        refuse(session, "553 5.6.7 A UTF-8 address needs SMTPUTF8\r\n");
        return;
    }
    const char *trouble = objection(session, path);
    if (trouble) {
        counters_add(session->counters, *trouble == '4' ? COUNT_DEFERRED : COUNT_REJECTED, 1);
        session_reply(session, trouble);
        return;
    }
    buffer_append_bytes(&session->recipients, path);
    buffer_append_byte(&session->recipients, '\0');
    text = bytes_trim(text);
    if (session->sink->store && text.len)
        buffer_printf(&session->rcpt_lines, "X-Sink-Rcpt-Parameters: <%.*s> %.*s\r\n",
                      (int)path.len, (const char *)path.at, (int)text.len, (const char *)text.at);
    session->num_recipients++;
    session_reply(session, "250 2.1.5 Ok\r\n");
}

static void on_data(struct session *session, struct bytes argument)
{
    if (!session->has_sender || session->chunked || argument.len) {
        refuse(session, "503 5.5.1 DATA is out of order\r\n");
        return;
    }
    if (session->num_recipients == 0) {
        session_reply(session, "554 5.5.1 No valid recipients\r\n");
        return;
    }
    /* Content must wait for the 354 (RFC 5321 4.1.1.4). */
    if (session->more_follows)
        counters_add(session->counters, COUNT_PIPELINING_VIOLATIONS, 1);
    session->phase = PHASE_DATA;
    session_content_begin(session);
    session_reply(session, "354 End data with <CR><LF>.<CR><LF>\r\n");
}

static void on_bdat(struct session *session, struct bytes argument)
{
    struct bytes number = take_word(&argument);
    struct bytes last = take_word(&argument);
    uint64_t size;
    if (session->listener->personality->no_chunking ||
        !bytes_to_u64(number, UINT64_MAX / 2, &size) ||
        (last.len && !bytes_equal_nocase(last, bytes_of("LAST")))) {
        /* Where the chunk ends cannot be known: what follows would be taken for commands. */
        session_reply(session, "501 5.5.4 BDAT size [LAST]\r\n");
        session->want = SESSION_CLOSE;
        return;
    }
    session->phase = PHASE_CHUNK;
    session->chunk_left = size;
    session->chunk_last = last.len > 0;
    session->chunk_refused = session->num_recipients == 0;
    if (!session->chunk_refused && !session->chunked)
        session_content_begin(session);
    session->chunked = !session->chunk_refused;
    if (size == 0)
        session_chunk_end(session);
}

static void on_rset(struct session *session, struct bytes argument)
{
    (void)argument;
    session_reset(session);
    session_reply(session, "250 2.0.0 Ok\r\n");
}

static void on_noop(struct session *session, struct bytes argument)
{
    (void)argument;
    session_reply(session, "250 2.0.0 Ok\r\n");
}

static void on_vrfy(struct session *session, struct bytes argument)
{
    (void)argument;
    session_reply(session, "252 2.1.5 Send some mail and see\r\n");
}

static void on_help(struct session *session, struct bytes argument)
{
    (void)argument;
    session_reply(session, "214 2.0.0 See sluice-sink --help\r\n");
}

static void on_quit(struct session *session, struct bytes argument)
{
    (void)argument;
    session_reply(session, "221 2.0.0 Bye\r\n");
    session->want = SESSION_CLOSE;
}

static const struct command {
    const char *name;
    void (*run)(struct session *session, struct bytes argument);
    enum fault_stage stage;
} commands[] = {
    {"MAIL", on_mail, FAULT_MAIL},    {"RCPT", on_rcpt, FAULT_RCPT},
    {"DATA", on_data, FAULT_DATA},    {"BDAT", on_bdat, FAULT_NOWHERE},
    {"EHLO", on_ehlo, FAULT_EHLO},    {"STARTTLS", on_starttls, FAULT_STARTTLS},
    {"LHLO", on_lhlo, FAULT_EHLO},    {"HELO", on_helo, FAULT_EHLO},
    {"RSET", on_rset, FAULT_NOWHERE}, {"NOOP", on_noop, FAULT_NOWHERE},
    {"QUIT", on_quit, FAULT_NOWHERE}, {"VRFY", on_vrfy, FAULT_NOWHERE},
    {"HELP", on_help, FAULT_NOWHERE},
};

/* What a fault compares: the address of MAIL and RCPT, however badly written. */
static struct bytes address_in(struct bytes argument)
{
    struct bytes path;
    argument = bytes_from(argument, bytes_find(argument, '<'));
    return take_path(&argument, &path) ? path : bytes_of("");
}

static void run(struct session *session, const struct command *command, struct bytes argument)
{
    const struct fault *fault = NULL;
    size_t replies_at = session->out->len;
    if (command->stage != FAULT_NOWHERE && session->listener->personality->faults.num)
        fault = session_fault_at(session, command->stage, address_in(argument));
    const char *line = session_fault_reply(session, fault);
    if (line)
        session_reply(session, line);
    else
        command->run(session, argument);
    session_fault_apply(session, fault, replies_at);
}

void session_command(struct session *session, struct bytes line)
{
    struct bytes word = bytes_first(line, bytes_find(line, ' '));
    struct bytes argument = bytes_from(line, word.len + 1);
    if (session->more_follows &&
        (session->listener->personality->no_pipelining || !session->extended) &&
        !bytes_equal_nocase(word, bytes_of("BDAT")))
        counters_add(session->counters, COUNT_PIPELINING_VIOLATIONS, 1);
    if (has_control(line)) {
        refuse(session, "500 5.5.2 Control characters\r\n");
        return;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (bytes_equal_nocase(word, bytes_of(commands[i].name))) {
            run(session, &commands[i], argument);
            return;
        }
    }
    refuse(session, "500 5.5.1 Unknown command\r\n");
}
