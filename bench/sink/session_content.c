/* What happens to a message's octets: counted, scanned for an identifying field, stored.
 * It does not look for their end; see session.c. */
#include "base/memory.h"
#include "bench/sink/session_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* Where no size is advertised. */
static const uint64_t CONTENT_MAX = 1ull << 30;

enum { STORE_HEAD_MAX = 1024 * 1024 };

static void write_peer(const struct session *session, struct buffer *out)
{
    char host[INET6_ADDRSTRLEN] = "";
    uint16_t port;
    if (session->peer->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)session->peer;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        port = ntohs(six->sin6_port);
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)session->peer;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        port = ntohs(four->sin_port);
    }
    buffer_printf(out, "X-Sink-Peer: [%s]:%u\r\n", host, port);
}

static void write_head(struct session *session)
{
    struct buffer head;
    buffer_init(&head, STORE_HEAD_MAX);
    buffer_printf(&head, "X-Sink-Listener: %s\r\nX-Sink-Helo: %s\r\nX-Sink-Mail-From: <%s>\r\n",
                  session->listener->personality->name, session->helo, session->sender);
    if (session->parameters && *session->parameters)
        buffer_printf(&head, "X-Sink-Mail-Parameters: %s\r\n", session->parameters);
    const char *recipient = (const char *)session->recipients.at;
    for (unsigned i = 0; i < session->num_recipients; i++, recipient += strlen(recipient) + 1)
        buffer_printf(&head, "X-Sink-Rcpt-To: <%s>\r\n", recipient);
    buffer_append_bytes(&head, buffer_bytes(&session->rcpt_lines));
    if (session->security == SESSION_PLAINTEXT)
        buffer_append_str(&head, "X-Sink-TLS: none\r\n");
    else
        buffer_printf(&head, "X-Sink-TLS: %s %s %s\r\n", session->tls_version, session->tls_cipher,
                      session->security == SESSION_TLS_RESUMED ? "resumed" : "full");
    write_peer(session, &head);
    store_file_write(&session->file, buffer_bytes(&head));
    buffer_fini(&head);
}

void session_content_begin(struct session *session)
{
    session->at_line_start = true;
    session->content_len = 0;
    session->too_big = false;
    session->id.line_len = 0;
    session->id.hash = 0;
    session->id.value_len = 0;
    session->id.done = !session->sink->find_duplicates && !session->sink->ledger;
    if (session->sink->store) {
        store_file_begin(session->sink->store, &session->file);
        write_head(session);
    }
}

static void keep_id(struct session_id_scan *scan, struct bytes line)
{
    struct bytes value = bytes_trim(bytes_from(line, bytes_find(line, ':') + 1));
    value = bytes_first(value, SESSION_ID_MAX);
    scan->hash = bytes_hash(line);
    scan->value_len = value.len;
    if (value.len)
        memcpy(scan->value, value.at, value.len);
}

/* X-Bench-Id wins over Message-ID, which resent or forwarded mail may share. */
static void scan_line(struct session_id_scan *scan, struct bytes line)
{
    line = bytes_trim(line);
    bool bench = bytes_starts_nocase(line, "X-Bench-Id:");
    if (line.len == 0)
        scan->done = true;
    else if (bench || (!scan->hash && bytes_starts_nocase(line, "Message-ID:")))
        keep_id(scan, line);
    if (bench)
        scan->done = true;
}

static void scan_piece(struct session_id_scan *scan, struct bytes piece)
{
    while (piece.len && !scan->done) {
        size_t end = bytes_find(piece, '\n');
        struct bytes line = bytes_first(piece, end);
        bool complete = end < piece.len;
        if (scan->line_len == 0 && complete) {
            scan_line(scan, line);
        } else {
            struct bytes room = bytes_first(line, SESSION_ID_LINE_MAX - scan->line_len);
            if (room.len)
                memcpy(scan->line + scan->line_len, room.at, room.len);
            scan->line_len += room.len;
            if (complete) {
                scan_line(scan, bytes_make(scan->line, scan->line_len));
                scan->line_len = 0;
            }
        }
        piece = bytes_from(piece, complete ? end + 1 : end);
    }
}

void session_content(struct session *session, struct bytes piece)
{
    uint64_t most = session->listener->personality->size;
    if (session->content_len == 0 && session->listener->personality->faults.num)
        session_fault_apply(session, session_fault_at(session, FAULT_CONTENT, bytes_of("")),
                            session->out->len);
    session->content_len += piece.len;
    if (session->content_len > (most ? most : CONTENT_MAX)) {
        session->too_big = true;
        return;
    }
    scan_piece(&session->id, piece);
    if (session->file.fd < 0)
        return;
    if (session->phase == PHASE_DATA)
        store_file_write_stuffed(&session->file, piece, session->at_line_start);
    else
        store_file_write(&session->file, piece);
}

/* A recipient that gets the same message again is the duplicate, not the message: the copies of
 * one message to several domains are different deliveries. */
static void count_duplicates(struct session *session)
{
    if (!session->id.hash || !session->sink->find_duplicates)
        return;
    const char *recipient = (const char *)session->recipients.at;
    for (unsigned i = 0; i < session->num_recipients; i++) {
        struct bytes address = bytes_of(recipient);
        uint64_t key = session->id.hash * 31 + bytes_hash(address);
        uint32_t before = tally_add(&session->sink->seen, key);
        if (before > 0 && before != TALLY_FULL)
            counters_add(session->counters, COUNT_DUPLICATES, 1);
        recipient += address.len + 1;
    }
}

static void count(struct session *session)
{
    static const enum counter by_security[] = {
        [SESSION_PLAINTEXT] = COUNT_MESSAGES_PLAINTEXT,
        [SESSION_TLS_FULL] = COUNT_MESSAGES_TLS_FULL,
        [SESSION_TLS_RESUMED] = COUNT_MESSAGES_TLS_RESUMED,
    };
    counters_add(session->counters, COUNT_MESSAGES, 1);
    counters_add(session->counters, by_security[session->security], 1);
    counters_add(session->counters, COUNT_RECIPIENTS, session->num_recipients);
    counters_add(session->counters, COUNT_OCTETS, session->content_len);
    count_duplicates(session);
    session->messages++;
}

/* Accepted content is stored before the reply says so. */
static const char *verdict(struct session *session, const struct fault *fault)
{
    const char *line = session_fault_reply(session, fault);
    unsigned code = session->listener->personality->final_code;
    if (line)
        return line;
    if (session->too_big)
        return "552 5.3.4 Message too big\r\n";
    if (code >= 500)
        return "554 5.7.1 Content refused by personality\r\n";
    if (code >= 400)
        return "451 4.7.1 Content deferred by personality\r\n";
    if (session->sink->store && !store_file_commit(session->sink->store, &session->file))
        return "452 4.3.1 Cannot store it\r\n";
    count(session);
    return "250 2.0.0 Ok\r\n";
}

/* Whether this final dot is one of those that get no answer. */
static bool takes_dropped_dot(struct listener *listener)
{
    unsigned left = atomic_load_explicit(&listener->dots_to_drop, memory_order_relaxed);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&listener->dots_to_drop, &left, left - 1))
            return true;
    }
    return false;
}

static void write_dot(struct session *session, const char *line, bool drops)
{
    struct ledger_dot dot = {
        .code = drops ? 0
                      : (unsigned)(line[0] - '0') * 100 + (unsigned)(line[1] - '0') * 10 +
                            (unsigned)(line[2] - '0'),
        .id = bytes_make(session->id.value, session->id.value_len),
        .recipients = (const char *)session->recipients.at,
        .num_recipients = session->num_recipients,
    };
    uint64_t number = ledger_write_dot(session->sink->ledger, &dot);
    if (!drops)
        buffer_append(&session->unreplied, &number, sizeof number);
}

void session_replies_sent(struct session *session)
{
    for (size_t at = 0; at < session->unreplied.len; at += sizeof(uint64_t)) {
        uint64_t number;
        memcpy(&number, session->unreplied.at + at, sizeof number);
        ledger_write_reply(session->sink->ledger, number);
    }
    buffer_clear(&session->unreplied);
}

void session_content_end(struct session *session)
{
    /* LMTP answers for each recipient (RFC 2033 4.2). */
    unsigned replies = session->listener->personality->lmtp ? session->num_recipients : 1;
    const struct fault *fault = session_fault_at(session, FAULT_FINAL, bytes_of(""));
    bool drops = session_fault_hides_reply(fault);
    const char *line = verdict(session, fault);
    size_t replies_at = session->out->len;
    for (unsigned i = 0; i < replies; i++)
        session_reply(session, line);
    if (*line == '4')
        counters_add(session->counters, COUNT_DEFERRED, session->num_recipients);
    else if (*line == '5')
        counters_add(session->counters, COUNT_REJECTED, session->num_recipients);
    else if (takes_dropped_dot(session->listener)) {
        drops = true;
        session->want = SESSION_DROP;
    }
    if (drops)
        counters_add(session->counters, COUNT_UNANSWERED, 1);
    session_fault_apply(session, fault, replies_at);
    if (session->sink->ledger)
        write_dot(session, line, drops);
    session->phase = PHASE_COMMAND;
    session_reset(session);
}
