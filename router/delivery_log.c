/* One line per recipient and attempt; the order of fields is docs/log.md's.
 * It decides nothing: the outcome was made by outcome_table.c. */
#include "router/delivery_log.h"

#include "router/json_line.h"

#include <stdio.h>

static void put_message(struct json_line *json, const struct delivery *delivery,
                        const char *recipient)
{
    const struct message *message = delivery->message;
    json_line_text(json, "id", message->id_text);
    json_line_number(json, "attempt", delivery->attempt);
    json_line_text(json, "sender", message->envelope.sender.mailbox);
    json_line_text(json, "recipient", recipient);
    json_line_text(json, "domain", delivery->domain);
}

static void put_policy(struct json_line *json, const struct delivery *delivery)
{
    const struct envelope *envelope = &delivery->message->envelope;
    json_line_open(json, "policy", '{');
    json_line_text(json, "level", delivery->trace.tls_level);
    json_line_text(json, "source", delivery->trace.tls_source);
    if (envelope->require_tls)
        json_line_text(json, "message", delivery->requiretls_waived ? "waived" : "requiretls");
    else if (envelope->tls_optional)
        json_line_text(json, "message", "optional");
    json_line_close(json, '}');
}

static void put_sts(struct json_line *json, const struct delivery_trace *trace)
{
    json_line_open(json, "sts", '{');
    json_line_text(json, "mode", trace->sts_mode);
    json_line_text(json, "id", trace->sts_id);
    json_line_text(json, "result", trace->sts_result);
    json_line_close(json, '}');
}

static void put_host(struct json_line *json, const struct delivery *delivery)
{
    const struct delivery_trace *trace = &delivery->trace;
    char address[46];
    json_line_text(json, "mx", *trace->mx ? trace->mx : NULL);
    if (trace->port) {
        host_address_format(&trace->address, address);
        json_line_text(json, "address", address);
        json_line_number(json, "port", trace->port);
    } else {
        json_line_null(json, "address");
        json_line_null(json, "port");
    }
    put_policy(json, delivery);
    if (trace->sts_mode)
        put_sts(json, trace);
    if (!trace->tls_version) {
        json_line_null(json, "tls");
        return;
    }
    json_line_open(json, "tls", '{');
    json_line_text(json, "version", trace->tls_version);
    json_line_text(json, "cipher", trace->tls_cipher);
    json_line_truth(json, "resumed", trace->tls_resumed);
    json_line_truth(json, "verified", trace->tls_verified);
    json_line_close(json, '}');
}

static void put_outcome(struct json_line *json, const struct outcome *outcome)
{
    char enhanced[16];
    snprintf(enhanced, sizeof enhanced, "%u.%u.%u", outcome->enhanced[0], outcome->enhanced[1],
             outcome->enhanced[2]);
    json_line_text(json, "phase", outcome_phase_name(outcome->phase));
    if (outcome->code)
        json_line_number(json, "code", outcome->code);
    else
        json_line_null(json, "code");
    json_line_text(json, "enhanced", outcome->enhanced[0] ? enhanced : NULL);
    json_line_text(json, "reply", outcome->text);
    json_line_truth(json, "in_doubt", outcome->in_doubt);
}

/* Stages follow each other: one that was not reached takes no time, and the one in which the
 * attempt ended lasts until its end. */
static void put_delays(struct json_line *json, const struct delivery_stamps *stamps)
{
    const struct {
        const char *name;
        int64_t end_us;
    } stages[] = {{"queue", stamps->taken_us},
                  {"connect", stamps->ready_us},
                  {"transfer", stamps->content_us},
                  {"reply", stamps->done_us}};
    int64_t from = stamps->queued_us;
    json_line_open(json, "delays", '{');
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        int64_t to = stages[i].end_us ? stages[i].end_us : stamps->done_us;
        json_line_milli(json, stages[i].name, to > from ? to - from : 0);
        from = to > from ? to : from;
    }
    int64_t total = stamps->done_us - stamps->queued_us;
    json_line_milli(json, "total", total > 0 ? total : 0);
    json_line_close(json, '}');
}

void delivery_log_append(const struct delivery *delivery, uint32_t recipient, const char *site_name,
                         int64_t wall_us, int64_t next_wall_ms, struct buffer *out)
{
    const struct outcome *outcome = &delivery->recipients[recipient].outcome;
    const struct message *message = delivery->message;
    const struct delivery_trace *trace = &delivery->trace;
    struct json_line json;
    if (outcome->kind == OUTCOME_NONE || outcome->kind == OUTCOME_RETURNED)
        return;
    json_line_begin(&json, out);
    json_line_time(&json, "time", wall_us);
    json_line_text(&json, "event", outcome_kind_name(outcome->kind));
    put_message(&json, delivery, delivery_recipient_address(delivery, recipient)->mailbox);
    json_line_text(&json, "site", site_name);
    put_host(&json, delivery);
    json_line_truth(&json, "reused", trace->reused);
    json_line_number(&json, "hosts", trace->attempts_on_hosts);
    json_line_number(&json, "size", message->identity.size);
    json_line_number(&json, "sent", trace->sent_len);
    put_outcome(&json, outcome);
    put_delays(&json, &trace->stamps);
    json_line_milli(&json, "age", wall_us / 1000 - message->arrived_wall_ms);
    if (outcome->kind == OUTCOME_DEFERRED && next_wall_ms)
        json_line_time(&json, "next", next_wall_ms * 1000);
    if (message->envelope.tag)
        json_line_text(&json, "tag", message->envelope.tag);
    json_line_end(&json);
}
