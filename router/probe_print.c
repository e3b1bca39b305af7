/* A finding for people: what would happen to the mail, host by host, and why. */
#include "router/probe.h"
#include "router/text_columns.h"

#include <stdarg.h>
#include <string.h>

enum { LINE_COLUMNS_MAX = 300, SHOWN_CERTIFICATES_MAX = 5, SHOWN_NAMES_MAX = 8 };

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool truth(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* Whatever came from a peer or from DNS goes through here: no control characters on a terminal. */
static void put_text(struct buffer *out, const char *from)
{
    text_columns_put(out, bytes_of(from), LINE_COLUMNS_MAX, false);
}

static void put_list(struct buffer *out, const json_t *list, size_t max, const char *between)
{
    size_t num = json_array_size(list);
    for (size_t i = 0; i < num && i < max; i++) {
        buffer_append_str(out, i ? between : "");
        put_text(out, json_string_value(json_array_get(list, i)));
    }
    if (num > max)
        buffer_printf(out, "%sand %zu more", between, num - max);
}

static void put_certificates(struct buffer *out, const json_t *certificates)
{
    size_t i;
    const json_t *certificate;
    json_array_foreach(certificates, i, certificate)
    {
        if (i == SHOWN_CERTIFICATES_MAX)
            return;
        buffer_printf(out, "      %s ", i ? "issuer     " : "certificate");
        put_text(out, text(certificate, "subject"));
        buffer_printf(out, ", %s, until %s\n", text(certificate, "key"),
                      text(certificate, "not_after"));
        if (i == 0 && json_array_size(json_object_get(certificate, "names"))) {
            buffer_append_str(out, "      names       ");
            put_list(out, json_object_get(certificate, "names"), SHOWN_NAMES_MAX, " ");
            buffer_append_str(out, "\n");
        }
        if (i == 0) {
            buffer_append_str(out, "      issued by   ");
            put_text(out, text(certificate, "issuer"));
            buffer_append_str(out, "\n");
        }
    }
}

static void put_tls(struct buffer *out, const json_t *tls)
{
    buffer_printf(out, "      TLS         %s, %s, %s, %.1f ms\n", text(tls, "version"),
                  text(tls, "cipher"), text(tls, "group"), number(tls, "handshake_ms"));
    put_certificates(out, json_object_get(tls, "certificates"));
    const char *policy;
    json_t *verdict;
    json_object_foreach(json_object_get(tls, "verification"), policy, verdict)
    {
        buffer_printf(out, "      %-11s ", policy);
        put_text(out, json_string_value(verdict));
        buffer_append_str(out, "\n");
    }
    buffer_printf(out, "      tickets     %.0f; a second session ", number(tls, "tickets"));
    if (json_is_null(json_object_get(tls, "second_resumed")))
        buffer_append_str(out, "failed\n");
    else
        buffer_printf(out, "%s, %.1f ms\n",
                      truth(tls, "second_resumed") ? "resumes" : "does a full handshake again",
                      number(tls, "second_handshake_ms"));
}

static void put_session(struct buffer *out, const json_t *session)
{
    const json_t *extensions = json_object_get(session, "extensions");
    const json_t *tls = json_object_get(session, "tls");
    buffer_printf(out, "    %s: %s", text(session, "address"), text(session, "fate"));
    if (*text(session, "why")) {
        buffer_append_str(out, " (");
        put_text(out, text(session, "why"));
        buffer_append_str(out, ")");
    }
    buffer_append_str(out, "\n");
    if (json_is_null(json_object_get(session, "connect_ms")))
        return;
    buffer_printf(out, "      times       connected %.1f ms, greeted %.1f ms, ready %.1f ms\n",
                  number(session, "connect_ms"), number(session, "greeting_ms"),
                  number(session, "ready_ms"));
    if (json_array_size(extensions)) {
        buffer_append_str(out, "      EHLO        ");
        put_list(out, extensions, json_array_size(extensions), ", ");
        buffer_append_str(out, "\n");
    }
    if (json_is_object(tls))
        put_tls(out, tls);
}

static void put_sts(struct buffer *out, const json_t *sts)
{
    buffer_append_str(out, "  MTA-STS: ");
    if (*text(sts, "mode")) {
        buffer_printf(out, "%s, id %s, max_age %.0f s", text(sts, "mode"), text(sts, "id"),
                      number(sts, "max_age"));
        if (json_array_size(json_object_get(sts, "mx"))) {
            buffer_append_str(out, ", mx ");
            put_list(out, json_object_get(sts, "mx"), SHOWN_NAMES_MAX, " ");
        }
    } else if (*text(sts, "failure")) {
        buffer_printf(out, "no policy (%s: ", text(sts, "failure"));
        put_text(out, text(sts, "why"));
        buffer_append_str(out, ")");
    } else if (strcmp(text(sts, "record"), "failed") == 0) {
        buffer_append_str(out, "the look-up of the TXT record failed");
    } else {
        buffer_printf(out, "no policy%s",
                      strcmp(text(sts, "record"), "invalid") == 0 ? ": the TXT record is not valid"
                                                                  : "");
    }
    buffer_append_str(out, "\n");
}

static void put_host(struct buffer *out, const json_t *host)
{
    const json_t *policy = json_object_get(host, "policy"), *tlsa = json_object_get(host, "tlsa");
    buffer_append_str(out, "  ");
    put_text(out, text(host, "name"));
    buffer_printf(out, " (preference %.0f): %s\n", number(host, "preference"), text(host, "fate"));
    buffer_printf(out, "    policy: %s, by %s%s%s%s\n", text(policy, "level"),
                  text(policy, "source"),
                  truth(policy, "wrapper") ? ", TLS from the first octet" : "",
                  *text(policy, "unusable") ? "; not to be used: " : "", text(policy, "unusable"));
    buffer_printf(out, "    TLSA: %s%s\n", text(tlsa, "state"),
                  truth(host, "secure") ? "" : " (DNSSEC does not vouch for the way to this host)");
    const json_t *allows = json_object_get(host, "sts_allows");
    if (json_is_boolean(allows))
        buffer_printf(out, "    MTA-STS: the policy %s this host\n",
                      json_is_true(allows) ? "allows" : "does not allow");
    size_t i;
    const json_t *record, *session;
    json_array_foreach(json_object_get(tlsa, "records"), i, record) buffer_printf(
        out, "      %s%s\n", text(record, "record"), truth(record, "usable") ? "" : " (unusable)");
    json_array_foreach(json_object_get(host, "sessions"), i, session) put_session(out, session);
}

void probe_print(const json_t *finding, struct buffer *out)
{
    static const struct {
        const char *fate, *words;
    } results[] = {
        {"authenticated", "mail would be delivered over TLS to an authenticated host"},
        {"encrypted", "mail would be delivered over TLS, to a host that is not authenticated"},
        {"plaintext", "mail would be delivered in plaintext"},
        {"refused", "mail would be deferred: no host can be used now"},
        {"bounced", "mail would bounce"},
    };
    const json_t *route = json_object_get(finding, "route");
    const json_t *host;
    size_t i;
    put_text(out, text(finding, "domain"));
    buffer_printf(out, ": %s, port %.0f, level %s", text(route, "transport"), number(route, "port"),
                  text(finding, "local_level"));
    if (*text(finding, "destination")) {
        buffer_append_str(out, ", destination ");
        put_text(out, text(finding, "destination"));
    }
    buffer_append_str(out, "\n");
    if (*text(route, "why")) {
        buffer_append_str(out, "  route: ");
        put_text(out, text(route, "why"));
        buffer_append_str(out, "\n");
    }
    if (json_is_object(json_object_get(finding, "sts")))
        put_sts(out, json_object_get(finding, "sts"));
    json_array_foreach(json_object_get(finding, "hosts"), i, host) put_host(out, host);
    for (i = 0; i < sizeof results / sizeof *results; i++)
        if (strcmp(text(finding, "fate"), results[i].fate) == 0)
            buffer_printf(out, "%s\n", results[i].words);
}
